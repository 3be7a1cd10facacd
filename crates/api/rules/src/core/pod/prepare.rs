//! What the API server itself writes into pods.

use super::resources;
use meta::v1::{LabelSelector, LabelSelectorRequirement};
use meta::{List, Map, Str, Time, thin_vec};
use types::core::v1::*;

/// A new pod: pending, with its quality of service, and with label keys turned into selectors.
pub(super) fn create(pod: &mut Pod, now: Option<Time>) {
    pod.metadata.generation = 1;
    let told = std::mem::take(&mut pod.status.qos_class);
    *pod.status = PodStatus {
        phase: "Pending".into(),
        // A class that the client told stays, as upstream's computation starts from it.
        qos_class: if told.is_empty() { resources::qos_class(&pod.spec).into() } else { told },
        ..Default::default()
    };
    let labels = pod.metadata.labels.clone();
    if let Some(affinity) = &mut pod.spec.affinity {
        if let Some(a) = &mut affinity.pod_affinity {
            a.required_during_scheduling_ignored_during_execution
                .iter_mut()
                .for_each(|t| term_keys(t, &labels));
            for w in a.preferred_during_scheduling_ignored_during_execution.iter_mut() {
                term_keys(&mut w.pod_affinity_term, &labels);
            }
        }
        if let Some(a) = &mut affinity.pod_anti_affinity {
            a.required_during_scheduling_ignored_during_execution
                .iter_mut()
                .for_each(|t| term_keys(t, &labels));
            for w in a.preferred_during_scheduling_ignored_during_execution.iter_mut() {
                term_keys(&mut w.pod_affinity_term, &labels);
            }
        }
    }
    for c in pod.spec.topology_spread_constraints.iter_mut() {
        // A key that the selector already names is an error, which validation reports.
        let named = |s: &LabelSelector, k: &Str| {
            s.match_labels.contains_key(k) || s.match_expressions.iter().any(|r| r.key == *k)
        };
        if c.label_selector.as_ref().is_some_and(|s| c.match_label_keys.iter().any(|k| named(s, k))) {
            continue;
        }
        if let Some(selector) = &mut c.label_selector {
            let keys = c.match_label_keys.clone();
            add_keys(selector, &keys, "In", &labels);
        }
    }
    if !pod.spec.scheduling_gates.is_empty() {
        pod.status.conditions.push(PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: "SchedulingGated".into(),
            message: "Scheduling is blocked due to non-empty scheduling gates".into(),
            last_transition_time: now,
            ..Default::default()
        });
    }
}

fn term_keys(term: &mut PodAffinityTerm, labels: &Map<Str>) {
    if let Some(selector) = &mut term.label_selector {
        add_keys(selector, &term.match_label_keys, "In", labels);
        add_keys(selector, &term.mismatch_label_keys, "NotIn", labels);
    }
}

fn add_keys(selector: &mut LabelSelector, keys: &List<Str>, operator: &str, labels: &Map<Str>) {
    for key in keys.iter() {
        if let Some(value) = labels.get(key) {
            selector.match_expressions.push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.into(),
                values: thin_vec![value.clone()],
            });
        }
    }
}

/// A status: only the status, and what old kubelets drop from it is kept.
pub(super) fn status(pod: &mut Pod, old: &Pod) {
    pod.spec.clone_from(&old.spec);
    pod.metadata.deletion_timestamp = None;
    pod.metadata.owner_references.clone_from(&old.metadata.owner_references);
    if pod.status.qos_class.is_empty() {
        pod.status.qos_class = old.status.qos_class.clone();
    }
    if pod.status.observed_generation == 0 {
        pod.status.observed_generation = old.status.observed_generation;
    }
    keep_observed_generations(&mut pod.status.conditions, &old.status.conditions);
    super::status_resources::drop_disabled(&mut pod.status);
}

/// Conditions of one type, of which there may be several, are taken for each other in their order.
fn keep_observed_generations(new: &mut List<PodCondition>, old: &List<PodCondition>) {
    let mut unused: Vec<&PodCondition> = old.iter().collect();
    for condition in new.iter_mut() {
        let Some(nth) = unused.iter().position(|o| o.type_ == condition.type_) else { continue };
        let old = unused.remove(nth);
        if condition.observed_generation == 0 {
            condition.observed_generation = old.observed_generation;
        }
    }
}

/// An update through `ephemeralcontainers`: nothing else of the pod changes.
pub(super) fn ephemeral_containers(pod: &mut Pod, old: &Pod) {
    let added = std::mem::take(&mut pod.spec.ephemeral_containers);
    keep_all_but_metadata_version(pod, old);
    pod.spec.ephemeral_containers = added;
    count(pod, old);
}

/// An update through `resize`: resources of the pod, resources and resize policies of its containers. What adds, removes,
/// renames or moves containers is left for validation to refuse.
pub(super) fn resize(pod: &mut Pod, old: &Pod) {
    let same = pod.spec.containers.len() == old.spec.containers.len()
        && pod.spec.init_containers.len() == old.spec.init_containers.len();
    if !same {
        return;
    }
    let wanted = std::mem::take(&mut pod.spec);
    keep_all_but_metadata_version(pod, old);
    pod.spec.resources = wanted.resources;
    pod.spec.containers = resized(wanted.containers, &old.spec.containers);
    pod.spec.init_containers = resized(wanted.init_containers, &old.spec.init_containers);
    count(pod, old);
}

fn resized(wanted: List<Container>, old: &List<Container>) -> List<Container> {
    if wanted.iter().zip(old).any(|(wanted, old)| wanted.name != old.name) {
        return wanted;
    }
    let one = |(wanted, old): (Container, &Container)| Container {
        resources: wanted.resources,
        resize_policy: wanted.resize_policy,
        ..old.clone()
    };
    wanted.into_iter().zip(old).map(one).collect()
}

/// The stored object with the version and the field managers of the request.
fn keep_all_but_metadata_version(pod: &mut Pod, old: &Pod) {
    let sent = std::mem::replace(&mut pod.metadata, old.metadata.clone());
    pod.metadata.resource_version = sent.resource_version;
    pod.metadata.managed_fields = sent.managed_fields;
    pod.metadata.name = sent.name;
    pod.metadata.namespace = sent.namespace;
    pod.metadata.uid = sent.uid;
    pod.spec.clone_from(&old.spec);
    pod.status.clone_from(&old.status);
}

fn count(pod: &mut Pod, old: &Pod) {
    if pod.spec != old.spec {
        pod.metadata.generation = old.metadata.generation + 1;
    }
}

/// How long a deleted pod may take to end: what is asked for, else what the pod says; at once when nothing of it runs.
pub(super) fn grace_seconds(pod: &Pod, requested: Option<i64>) -> i64 {
    let seconds = requested.or(pod.spec.termination_grace_period_seconds).unwrap_or(0);
    let ended = pod.status.phase == "Failed" || pod.status.phase == "Succeeded";
    match seconds {
        _ if pod.spec.node_name.is_empty() || ended => 0,
        s if s < 0 => 1,
        s => s,
    }
}
