//! A kubelet's own Node.

use meta::{Map, Str, go_quote};
use types::core::v1::Node;

use super::{Case, Refusal};
use crate::review::{Operation, as_ref};

/// Labels under Kubernetes' domains that a kubelet may set on its own node.
const KUBELET_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/exclude-from-external-load-balancers",
];

pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    let (node, requested) = (case.quoted(), case.name());
    if requested != case.node {
        return Err(format!("node {node} is not allowed to modify node {}", go_quote(requested)).into());
    }
    let Some(new) = case.object.and_then(as_ref::<Node>) else { return Ok(()) };
    let refuse = |why: &str| Err(Refusal::Forbidden(format!("node {node} is not allowed to {why}")));
    match case.review.operation {
        Operation::Create => {
            if new.spec.config_source.is_some() {
                return refuse("create pods with a non-nil configSource");
            }
            match &forbidden_labels(&new.metadata.labels, &Map::default())[..] {
                [] => Ok(()),
                labels => refuse(&format!("set the following labels: {}", labels.join(", "))),
            }
        }
        Operation::Update => {
            let Some(old) = case.review.old.and_then(as_ref::<Node>) else { return Ok(()) };
            if new.spec.config_source.is_some() && old.spec.config_source != new.spec.config_source {
                return refuse("update configSource to a new non-nil configSource");
            }
            if old.spec.taints != new.spec.taints {
                return refuse("modify taints");
            }
            if old.metadata.owner_references != new.metadata.owner_references {
                return refuse("modify ownerReferences");
            }
            match &forbidden_labels(&new.metadata.labels, &old.metadata.labels)[..] {
                [] => Ok(()),
                labels => Err(format!("is not allowed to modify labels: {}", labels.join(", ")).into()),
            }
        }
        _ => Ok(()),
    }
}

/// Labels that differ and are not a kubelet's to set, sorted.
fn forbidden_labels(new: &Map<Str>, old: &Map<Str>) -> Vec<String> {
    let changed = new.iter().filter(|(k, v)| old.get(k) != Some(v)).map(|(k, _)| k);
    let gone = old.iter().filter(|(k, _)| !new.contains_key(k)).map(|(k, _)| k);
    let mut labels: Vec<String> =
        changed.chain(gone).filter(|k| !label_allowed(k)).map(|k| k.to_string()).collect();
    labels.sort();
    labels
}

fn label_allowed(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within =
        |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|p| p.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    let reserved = within("kubernetes.io") || within("k8s.io");
    !reserved
        || KUBELET_LABELS.contains(&key)
        || within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::label_allowed;

    #[test]
    fn labels_a_kubelet_may_set() {
        for key in [
            "x",
            "example.com/x",
            "kubernetes.io/hostname",
            "a.node.kubernetes.io/b",
            "kubelet.kubernetes.io/c",
        ] {
            assert!(label_allowed(key), "{key}");
        }
        for key in [
            "node-restriction.kubernetes.io/x",
            "a.node-restriction.kubernetes.io/x",
            "kubernetes.io/x",
            "k8s.io/y",
        ] {
            assert!(!label_allowed(key), "{key}");
        }
    }
}
