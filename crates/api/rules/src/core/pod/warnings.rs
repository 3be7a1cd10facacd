//! What to tell users about pods and templates that are accepted.

use super::app_armor;
use super::container::{View, visit};
use crate::Path;
use crate::check::{dns_label, ip, label_value};
use crate::core::{claim, names};
use meta::v1::ObjectMeta;
use meta::{Map, Quantity, Str};
use std::collections::BTreeSet;
use types::core::v1::*;

/// Labels of nodes that were replaced, and what to say of them.
pub(crate) const DEPRECATED_NODE_LABELS: [(&str, &str); 7] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
    ("kubernetes.io/cluster-service", "deprecated"),
];

const DEPRECATED_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// What is said of a label of nodes.
pub(crate) fn node_label(label: &str) -> Option<&'static str> {
    DEPRECATED_NODE_LABELS[..5].iter().find(|(l, _)| *l == label).map(|(_, text)| *text)
}

/// Warnings about a pod.
pub(super) fn pod(pod: &Pod) -> Vec<String> {
    let mut out = Vec::new();
    spec(&mut out, &Path::root("spec"), &Path::root("metadata"), &pod.spec, &pod.metadata, false);
    out
}

/// Warnings about a pod template at `at`.
pub(crate) fn template(at: &Path<'_>, template: &PodTemplateSpec) -> Vec<String> {
    let mut out = Vec::new();
    spec(&mut out, &at.child("spec"), &at.child("metadata"), &template.spec, &template.metadata, true);
    out
}

/// Warnings about the name of a workload, from which those of its pods are made.
pub(crate) fn workload_name(name: &str) -> Option<String> {
    let problems = dns_label(name);
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

/// Warnings about a pod's name, which becomes its host name.
pub(super) fn name(name: &str) -> Option<String> {
    let problems = dns_label(name);
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

fn spec(
    out: &mut Vec<String>,
    at: &Path<'_>,
    meta_at: &Path<'_>,
    spec: &PodSpec,
    meta: &ObjectMeta,
    template: bool,
) {
    node_labels(out, at, spec);
    let annotations = meta_at.child("annotations");
    for (key, text) in DEPRECATED_ANNOTATIONS {
        if meta.annotations.contains_key(key) {
            out.push(format!("{}: {text}", annotations.key(key)));
        }
    }
    volumes(out, at, spec);
    duplicates(out, &at.child("hostAliases"), "ip", spec.host_aliases.iter().map(|a| &a.ip));
    duplicates(out, &at.child("imagePullSecrets"), "name", spec.image_pull_secrets.iter().map(|s| &s.name));
    for (i, _) in spec.image_pull_secrets.iter().enumerate().filter(|(_, s)| s.name.is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", at.child("imagePullSecrets").index(i).child("name")));
    }
    fractions(out, &at.child("overhead"), &spec.overhead);
    let context = spec.security_context.as_ref();
    let seccomp = "seccomp.security.alpha.kubernetes.io/pod";
    if context.is_none_or(|s| s.seccomp_profile.is_none()) && meta.annotations.contains_key(seccomp) {
        out.push(format!("{}: {SECCOMP}", annotations.key(seccomp)));
    }
    visit(spec, at, |c, at| container(out, at, &annotations, &c, spec, meta, template));
    ports(out, at, spec);
    grace_and_addresses(out, at, spec);
}

fn node_labels(out: &mut Vec<String>, at: &Path<'_>, spec: &PodSpec) {
    for (key, _) in spec.node_selector.iter() {
        if let Some(text) = node_label(key) {
            out.push(format!("{}: {text}", at.child("nodeSelector").key(key)));
        }
    }
    if let Some(node) = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()) {
        let affinity = at.child("affinity");
        let at = affinity.child("nodeAffinity");
        let required = at.child("requiredDuringSchedulingIgnoredDuringExecution");
        let terms = required.child("nodeSelectorTerms");
        for s in node.required_during_scheduling_ignored_during_execution.iter() {
            for (i, term) in s.node_selector_terms.iter().enumerate() {
                node_term(out, &terms.index(i), term);
            }
        }
        let preferred = at.child("preferredDuringSchedulingIgnoredDuringExecution");
        for (i, term) in node.preferred_during_scheduling_ignored_during_execution.iter().enumerate() {
            let at = preferred.index(i).child("preference").to_string();
            node_term(out, &Path::root(&at), &term.preference);
            let list = Path::root(&at).child("matchExpressions").to_string();
            for (i, r) in term.preference.match_expressions.iter().enumerate() {
                for (j, value) in r.values.iter().enumerate() {
                    for problem in label_value(value) {
                        out.push(format!("{list}[{i}].values[{j}]: {value} is invalid, {problem}"));
                    }
                }
            }
        }
    }
    let list = at.child("topologySpreadConstraints");
    for (i, c) in spec.topology_spread_constraints.iter().enumerate() {
        if let Some(text) = node_label(&c.topology_key) {
            out.push(format!("{}: {} is {text}", list.index(i).child("topologyKey"), c.topology_key));
        }
        if c.label_selector.is_none() {
            out.push(format!(
                "{}: a null labelSelector results in matching no pod",
                list.index(i).child("labelSelector")
            ));
        }
    }
}

/// Warnings about the labels in a term of a node selector.
pub(crate) fn node_term(out: &mut Vec<String>, at: &Path<'_>, term: &NodeSelectorTerm) {
    let list = at.child("matchExpressions");
    for (i, r) in term.match_expressions.iter().enumerate() {
        if let Some(text) = node_label(&r.key) {
            out.push(format!("{}: {} is {text}", list.index(i).child("key"), r.key));
        }
    }
}

fn volumes(out: &mut Vec<String>, at: &Path<'_>, spec: &PodSpec) {
    let list = at.child("volumes");
    for (i, v) in spec.volumes.iter().enumerate() {
        let at = list.index(i);
        for (field, set, text) in [
            (
                "photonPersistentDisk",
                v.photon_persistent_disk.is_some(),
                "deprecated in v1.11, non-functional in v1.16+",
            ),
            ("gitRepo", v.git_repo.is_some(), "deprecated in v1.11, and disabled by default in v1.33+"),
            ("scaleIO", v.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
            ("flocker", v.flocker.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
            ("storageOS", v.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
            ("quobyte", v.quobyte.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
            ("glusterfs", v.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
        ] {
            if set {
                out.push(format!("{}: {text}", at.child(field)));
            }
        }
        if let Some(template) = v.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref()) {
            let ephemeral = at.child("ephemeral");
            claim::warnings(out, &ephemeral.child("volumeClaimTemplate").child("spec"), &template.spec);
        }
        for (field, set) in [("cephfs", v.cephfs.is_some()), ("rbd", v.rbd.is_some())] {
            if set {
                out.push(format!("{}: deprecated in v1.28, non-functional in v1.31+", at.child(field)));
            }
        }
    }
    super::overlaps::warnings(out, spec);
}

fn duplicates<'a>(out: &mut Vec<String>, at: &Path<'_>, field: &str, values: impl Iterator<Item = &'a Str>) {
    let mut seen = BTreeSet::new();
    for (i, value) in values.enumerate() {
        if !seen.insert(value) {
            out.push(format!("{}: duplicate {field} \"{value}\"", at.index(i).child(field)));
        }
    }
}

/// Bytes cannot be divided.
fn fractions(out: &mut Vec<String>, at: &Path<'_>, list: &Map<Quantity>) {
    for name in ["memory", "ephemeral-storage"] {
        fraction(out, at, list, name);
    }
}

/// A warning when the named amount has a fraction.
pub(crate) fn fraction(out: &mut Vec<String>, at: &Path<'_>, list: &Map<Quantity>, name: &str) {
    if let Some(value) = list.get(name).filter(|v| !names::is_whole(v)) {
        out.push(format!(
            "{}: fractional byte value \"{value}\" is invalid, must be an integer",
            at.key(name)
        ));
    }
}

fn container(
    out: &mut Vec<String>,
    at: &Path<'_>,
    annotations: &Path<'_>,
    c: &View<'_>,
    spec: &PodSpec,
    meta: &ObjectMeta,
    template: bool,
) {
    let key = format!("container.seccomp.security.alpha.kubernetes.io/{}", c.name);
    if c.security.is_none_or(|s| s.seccomp_profile.is_none()) && meta.annotations.contains_key(&key) {
        out.push(format!("{}: {SECCOMP}", annotations.key(&key)));
    }
    let key = format!("{}{}", app_armor::ANNOTATION, c.name);
    let has_field = c.security.is_some_and(|s| s.app_armor_profile.is_some());
    if let Some(annotation) = meta.annotations.get(key.as_str()).filter(|_| template && !has_field) {
        let shared = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_deref());
        // The pod may say the same.
        if shared.is_none() || shared != app_armor::meant(annotation).as_ref() {
            out.push(app_armor::deprecated(&annotations.key(&key).to_string()));
        }
    }
    let resources = at.child("resources");
    for name in ["memory", "ephemeral-storage"] {
        fraction(out, &resources.child("limits"), &c.resources.limits, name);
        fraction(out, &resources.child("requests"), &c.resources.requests, name);
    }
    let mut seen = BTreeSet::new();
    for (i, var) in c.env.iter().enumerate() {
        if seen.insert(&var.name) {
            continue;
        }
        let reference = format!("$({})", var.name);
        if var.value_from.is_some() || var.value == reference || !var.value.contains(&reference) {
            out.push(format!(
                "{}: hides previous definition of \"{}\", which may be dropped when using apply",
                at.child("env").index(i),
                var.name
            ));
        }
    }
}

fn ports(out: &mut Vec<String>, at: &Path<'_>, spec: &PodSpec) {
    let mut seen: Vec<(String, ContainerPort)> = Vec::new();
    visit(spec, at, |c, at| {
        let list = at.child("ports");
        for (i, port) in c.ports.iter().enumerate() {
            let here = list.index(i).to_string();
            if !port.host_ip.is_empty() && port.host_port == 0 {
                out.push(format!(
                    "{here}: hostIP set without hostPort: {{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
                    port.name, port.host_port, port.container_port, port.protocol, port.host_ip
                ));
            }
            let same =
                |p: &ContainerPort| p.container_port == port.container_port && p.protocol == port.protocol;
            for (there, other) in seen.iter().filter(|(_, p)| same(p)) {
                if port.host_ip == other.host_ip && port.host_port == other.host_port {
                    out.push(format!("{here}: duplicate port definition with {there}"));
                } else if port.host_port == 0 || other.host_port == 0 {
                    out.push(format!("{here}: overlapping port definition with {there}"));
                } else if port.host_port == other.host_port
                    && port.host_ip.is_empty() != other.host_ip.is_empty()
                {
                    out.push(format!("{here}: dangerously ambiguous port definition with {there}"));
                }
            }
            seen.push((here, port.clone()));
        }
    });
}

fn grace_and_addresses(out: &mut Vec<String>, at: &Path<'_>, spec: &PodSpec) {
    if spec.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            at.child("terminationGracePeriodSeconds")
        ));
    }
    let affinity = at.child("affinity");
    if let Some(a) = &spec.affinity {
        let terms = |required: &meta::List<PodAffinityTerm>,
                     preferred: &meta::List<WeightedPodAffinityTerm>| {
            (required.to_vec(), preferred.iter().map(|w| w.pod_affinity_term.clone()).collect::<Vec<_>>())
        };
        let mut null_selectors =
            |field: &str, (required, preferred): (Vec<PodAffinityTerm>, Vec<PodAffinityTerm>)| {
                let at = affinity.child(field);
                let list = at.child("requiredDuringSchedulingIgnoredDuringExecution");
                for (i, _) in required.iter().enumerate().filter(|(_, t)| t.label_selector.is_none()) {
                    out.push(format!(
                        "{}: a null labelSelector results in matching no pod",
                        list.index(i).child("labelSelector")
                    ));
                }
                let list = at.child("preferredDuringSchedulingIgnoredDuringExecution");
                for (i, _) in preferred.iter().enumerate().filter(|(_, t)| t.label_selector.is_none()) {
                    out.push(format!(
                        "{}: a null labelSelector results in matching no pod",
                        list.index(i).child("podAffinityTerm").child("labelSelector")
                    ));
                }
            };
        if let Some(p) = &a.pod_affinity {
            let lists = terms(
                &p.required_during_scheduling_ignored_during_execution,
                &p.preferred_during_scheduling_ignored_during_execution,
            );
            null_selectors("podAffinity", lists);
        }
        if let Some(p) = &a.pod_anti_affinity {
            let lists = terms(
                &p.required_during_scheduling_ignored_during_execution,
                &p.preferred_during_scheduling_ignored_during_execution,
            );
            null_selectors("podAntiAffinity", lists);
        }
    }
    if let Some(dns) = &spec.dns_config {
        let config = at.child("dnsConfig");
        let list = config.child("nameservers");
        out.extend(
            dns.nameservers.iter().enumerate().filter_map(|(i, s)| ip::address_warning(&list.index(i), s)),
        );
    }
    let list = at.child("hostAliases");
    out.extend(
        spec.host_aliases
            .iter()
            .enumerate()
            .filter_map(|(i, a)| ip::address_warning(&list.index(i).child("ip"), &a.ip)),
    );
}
