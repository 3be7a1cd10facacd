//! Which nodes get a pod, and what that pod looks like.

use std::sync::Arc;

use meta::{Str, thin_vec};
use types::apps::v1::DaemonSet;
use types::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};

use super::ByNode;
use super::failures::Failures;
use crate::common::owners::controller_ref;
use crate::common::revisions::HASH_LABEL;
use crate::common::scheduling::{selects_node, tolerates_all};
use crate::common::{pods, rank};

const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION: &str = "deprecated.daemonset.template.generation";
/// Taints that daemon pods stay through, with their effects.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Pods to delete, and names of nodes to make pods for.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) create: Vec<Str>,
    /// Pods that ended where they should run, which are deleted, with the node of each.
    pub(super) ended: Vec<(Arc<Pod>, Str)>,
    /// Seconds until a failed pod may go.
    pub(super) wait_seconds: Option<i64>,
}

/// The node that a pod is for: where it runs, or where its affinity sends it.
pub(super) fn node_of(pod: &Pod) -> Str {
    if !pod.spec.node_name.is_empty() {
        return pod.spec.node_name.clone();
    }
    let affinity = pod.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.into_iter().flat_map(|required| required.node_selector_terms.iter());
    let mut names =
        terms.flat_map(|term| term.match_fields.iter()).filter(|field| field.key == "metadata.name");
    names.next().and_then(|field| field.values.first().cloned()).unwrap_or_default()
}

/// Whether the node should get a pod, and whether one that is there may stay.
pub(super) fn fits(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let mut spec: PodSpec = (*set.spec.template.spec).clone();
    if !spec.node_name.is_empty() && spec.node_name != node.metadata.name {
        return (false, false);
    }
    add_tolerations(&mut spec);
    if !selects_node(&spec, node) {
        return (false, false);
    }
    let stays = tolerates_all(&spec.tolerations, node, &["NoExecute"]);
    (stays && tolerates_all(&spec.tolerations, node, &["NoSchedule"]), stays)
}

/// The pods that the set would make if it had none, each with its node.
pub fn daemon_pods<'a>(set: &DaemonSet, nodes: &'a [Arc<Node>]) -> Vec<(Pod, &'a Str)> {
    let wanted = nodes.iter().filter(|node| fits(set, node).0).map(|node| &node.metadata.name);
    wanted.map(|name| (pod_for(set, name, ""), name)).collect()
}

pub(super) fn decide(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    by_node: &ByNode,
    hash: &str,
    failures: &mut Failures,
    now: i64,
) -> Changes {
    let mut changes = Changes::default();
    let surge = super::update::max_surge(set, nodes);
    for node in nodes {
        let here = by_node.get(&node.metadata.name).map_or(&[][..], |pods| &pods[..]);
        let (should_run, may_stay) = fits(set, node);
        let live: Vec<&Arc<Pod>> =
            here.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        if here.is_empty() {
            if should_run {
                changes.create.push(node.metadata.name.clone());
            }
            continue;
        }
        if !may_stay {
            changes.delete.extend(live.into_iter().cloned());
            continue;
        }
        // A pod that ended is replaced; its place is free when it is gone.
        let (over, mut running): (Vec<Arc<Pod>>, Vec<Arc<Pod>>) =
            live.into_iter().cloned().partition(|pod| pods::is_finished(pod));
        let mut paused = false;
        for pod in over {
            let name = &node.metadata.name;
            let pause = if pod.status.phase == "Failed" { failures.pause(name, now) } else { 0 };
            if pause > 0 {
                changes.wait_seconds = Some(changes.wait_seconds.map_or(pause, |known| known.min(pause)));
                paused = true;
                continue;
            }
            changes.ended.push((pod.clone(), name.clone()));
            changes.delete.push(pod);
        }
        let mut allowed = 1;
        if surge > 0 && running.len() == 2 {
            // During a surge the old pod stays until the new one serves.
            let new = running.iter().find(|pod| pod.metadata.label(HASH_LABEL) == hash);
            let serves = new.is_some_and(|pod| pods::is_available(pod, set.spec.min_ready_seconds, now));
            let old = running.iter().any(|pod| pod.metadata.label(HASH_LABEL) != hash);
            if new.is_some() && old && !serves {
                allowed = 2;
            } else if new.is_some() && old {
                changes
                    .delete
                    .extend(running.iter().filter(|pod| pod.metadata.label(HASH_LABEL) != hash).cloned());
                continue;
            }
        }
        if running.len() > allowed {
            running.sort_by_key(|pod| (pod.spec.node_name.is_empty(), rank::oldest_first(&pod.metadata)));
            changes.delete.extend(running.drain(allowed..));
        }
        let all_ended =
            here.iter().all(|pod| pods::is_finished(pod) && pod.metadata.deletion_timestamp.is_some());
        // During a surge a new pod does not wait for the old one to be gone.
        if (all_ended || surge > 0 && running.is_empty() && !paused) && should_run {
            changes.create.push(node.metadata.name.clone());
        }
    }
    let gone = by_node.iter().filter(|(node, _)| !nodes.iter().any(|known| known.metadata.name == **node));
    for (_, pods) in gone {
        // Nobody will ever schedule these.
        let idle = pods
            .iter()
            .filter(|pod| pod.spec.node_name.is_empty() && pod.metadata.deletion_timestamp.is_none());
        changes.delete.extend(idle.cloned());
    }
    changes
}

fn add_tolerations(spec: &mut PodSpec) {
    let mut add = |key: &str, effect: &str| {
        let known = spec.tolerations.iter().any(|toleration| {
            toleration.key == key && toleration.effect == effect && toleration.operator == "Exists"
        });
        if !known {
            spec.tolerations.push(Toleration {
                key: key.into(),
                operator: "Exists".into(),
                effect: effect.into(),
                ..Toleration::default()
            });
        }
    };
    for (key, effect) in TOLERATED {
        add(key, effect);
    }
    if spec.host_network {
        add("node.kubernetes.io/network-unavailable", "NoSchedule");
    }
}

/// The pod of one node.
pub(super) fn pod_for(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let mut pod = pods::from_template(&set.spec.template, &set.metadata, controller_ref(set));
    let generation = set.metadata.annotations.get(GENERATION).cloned();
    let generation = generation.unwrap_or_else(|| Str::from(set.metadata.generation.to_string()));
    pod.metadata.labels.insert(GENERATION_LABEL, generation);
    pod.metadata.labels.insert(HASH_LABEL, hash.into());
    add_tolerations(&mut pod.spec);
    let here = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: thin_vec![Str::from(node)],
    };
    let affinity: &mut Box<Affinity> = pod.spec.affinity.get_or_insert_default();
    let affinity: &mut Box<NodeAffinity> = affinity.node_affinity.get_or_insert_default();
    let required: &mut Box<NodeSelector> =
        affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    // What the template selects was looked at when the node was chosen.
    for term in required.node_selector_terms.iter_mut() {
        term.match_expressions.clear();
        term.match_fields = thin_vec![here.clone()];
    }
    required.node_selector_terms.truncate(1);
    pod
}
