//! NodeRestriction: a kubelet writes its own Node, its own Lease and the pods bound to it, and nothing else.
//!
//! The Node authorizer lets a node's requests through by kind; what is inside the objects is checked here.

use authz::Attributes;
use meta::{Map, Object, Status, Str, go_quote};
use types::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use types::storage::v1::CSIDriver;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::{World, WorldExt};

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

/// See the module.
pub struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        check(review, Some(object), world)
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        // Deletions have no object to mutate, so they are checked here.
        if review.operation == Operation::Delete { check(review, object, world) } else { Ok(()) }
    }
}

fn check(review: &Review<'_>, object: Option<&dyn Object>, world: &dyn World) -> Result<(), Status> {
    let Some(node) = review.user.as_node() else { return Ok(()) };
    if node.is_empty() {
        let why = format!("could not determine node from user {}", go_quote(&review.user.name));
        return Err(forbidden(review, object, &why));
    }
    let target = review.target;
    let refusal = match (target.group.as_str(), target.resource.as_str(), target.subresource.as_str()) {
        ("", "pods", "") => pod(review, node, object),
        ("", "pods", "status") => pod_status(review, node),
        ("", "pods", "eviction") => eviction(review, node, world),
        ("", "nodes", _) => own_node(review, node, object),
        ("", "persistentvolumeclaims", "status") => None,
        ("", "serviceaccounts", "token") => token(review, node, object, world),
        ("coordination.k8s.io", "leases", _) => lease(review, node, object),
        ("storage.k8s.io", "csinodes", _) => {
            let text = "can only access CSINode with the same name as the requesting node";
            (name(review, object) != node).then(|| text.to_owned())
        }
        ("resource.k8s.io", "resourceslices", _) => slice(review, node, object),
        _ => None,
    };
    refusal.map_or(Ok(()), |why| Err(forbidden(review, object, &why)))
}

fn name<'a>(review: &'a Review<'_>, object: Option<&'a dyn Object>) -> &'a str {
    match object {
        Some(object) if review.target.name.is_empty() => &object.meta().name,
        _ => &review.target.name,
    }
}

fn pod(review: &Review<'_>, node: &str, object: Option<&dyn Object>) -> Option<String> {
    match review.operation {
        Operation::Create => {
            let pod = object.and_then(as_ref::<Pod>)?;
            if !pod.metadata.annotations.contains_key("kubernetes.io/config.mirror") {
                return Some(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                ));
            }
            if pod.spec.node_name.as_str() != node {
                return Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
            }
            if pod.metadata.owner_references.iter().any(|o| o.kind != "Node" || o.name.as_str() != node) {
                return Some(format!(
                    "node {node:?} can only create pods with an owner reference set to itself"
                ));
            }
            if !pod.spec.service_account_name.is_empty() {
                return Some(format!("node {node:?} can not create pods that reference a service account"));
            }
            for volume in &pod.spec.volumes {
                let what = if volume.secret.is_some() {
                    "secrets"
                } else if volume.config_map.is_some() {
                    "configmaps"
                } else if volume.persistent_volume_claim.is_some() {
                    "persistentvolumeclaims"
                } else {
                    continue;
                };
                return Some(format!("node {node:?} can not create pods that reference {what}"));
            }
            None
        }
        Operation::Delete => {
            let pod = review.old.and_then(as_ref::<Pod>)?;
            (pod.spec.node_name.as_str() != node)
                .then(|| format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        _ => {
            Some(format!("unexpected operation UPDATE, node {node:?} can only create and delete mirror pods"))
        }
    }
}

fn pod_status(review: &Review<'_>, node: &str) -> Option<String> {
    if review.operation != Operation::Update {
        return None;
    }
    let old = review.old.and_then(as_ref::<Pod>)?;
    (old.spec.node_name.as_str() != node).then(|| {
        format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
    })
}

fn eviction(review: &Review<'_>, node: &str, world: &dyn World) -> Option<String> {
    let pod = world.get::<Pod>(review.namespace(), &review.target.name)?;
    (pod.spec.node_name.as_str() != node)
        .then(|| format!("node {node:?} can only evict pods with spec.nodeName set to itself"))
}

fn own_node(review: &Review<'_>, node: &str, object: Option<&dyn Object>) -> Option<String> {
    let requested = name(review, object);
    if requested != node {
        return Some(format!("node {node:?} is not allowed to modify node {requested:?}"));
    }
    let new = object.and_then(as_ref::<Node>)?;
    match review.operation {
        Operation::Create => {
            let labels = forbidden_labels(&new.metadata.labels, &Map::default());
            (!labels.is_empty())
                .then(|| format!("is not allowed to set the following labels: {}", labels.join(", ")))
        }
        Operation::Update => {
            let old = review.old.and_then(as_ref::<Node>)?;
            if old.spec.config_source != new.spec.config_source && new.spec.config_source.is_some() {
                return Some(format!("node {node:?} is not allowed to update configSource"));
            }
            if old.spec.taints != new.spec.taints {
                return Some(format!("node {node:?} is not allowed to modify taints"));
            }
            let labels = forbidden_labels(&new.metadata.labels, &old.metadata.labels);
            (!labels.is_empty()).then(|| format!("is not allowed to modify labels: {}", labels.join(", ")))
        }
        _ => None,
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

fn lease(review: &Review<'_>, node: &str, object: Option<&dyn Object>) -> Option<String> {
    if review.namespace() != "kube-node-lease" {
        return Some("can only access leases in the \"kube-node-lease\" system namespace".into());
    }
    (name(review, object) != node)
        .then(|| "can only access node lease with the same name as the requesting node".into())
}

fn slice(review: &Review<'_>, node: &str, object: Option<&dyn Object>) -> Option<String> {
    let of = |o: &dyn Object| {
        as_ref::<types::resource::v1::ResourceSlice>(o).map(|s| s.spec.node_name.clone().unwrap_or_default())
    };
    let (found, text) = match review.operation {
        Operation::Create => (
            object.and_then(of),
            "can only create ResourceSlice with the same NodeName as the requesting node",
        ),
        Operation::Delete => (
            review.old.and_then(of),
            "can only delete ResourceSlice with the same NodeName as the requesting node",
        ),
        _ => (
            review.old.and_then(of),
            "can only update ResourceSlice with the same NodeName as the requesting node",
        ),
    };
    (found? != node).then(|| text.to_owned())
}

fn token(review: &Review<'_>, node: &str, object: Option<&dyn Object>, world: &dyn World) -> Option<String> {
    let request = object.and_then(as_ref::<types::authentication::v1::TokenRequest>)?;
    let Some(bound) = &request.spec.bound_object_ref else {
        return Some("node requested token not bound to a pod".into());
    };
    if bound.kind != "Pod" || bound.api_version != "v1" || bound.name.is_empty() {
        return Some("node requested token not bound to a pod".into());
    }
    if bound.uid.is_empty() {
        return Some("node requested token with a pod binding without a uid".into());
    }
    let Some(pod) = world.get::<Pod>(review.namespace(), &bound.name) else {
        return Some(format!("pod {:?} not found", bound.name.as_str()));
    };
    if pod.metadata.uid != bound.uid {
        return Some(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            bound.uid
        ));
    }
    if pod.spec.node_name.as_str() != node {
        return Some("node requested token bound to a pod scheduled on a different node".into());
    }
    audience(review, &request.spec.audiences, &pod, world)
}

/// A node gets tokens for the audiences that its pod's volumes ask for, and for those that its rights name
/// (ServiceAccountNodeAudienceRestriction).
fn audience(review: &Review<'_>, wanted: &[Str], pod: &Pod, world: &dyn World) -> Option<String> {
    let wanted = match wanted {
        [] => "",
        [one] => one.as_str(),
        _ => return Some("node may only request 0 or 1 audiences".into()),
    };
    if pod.spec.volumes.iter().any(|volume| asks_for(volume, wanted, pod, world)) {
        return None;
    }
    let verb = "request-serviceaccounts-token-audience";
    let mut question = Attributes::resource(verb, "", wanted, review.namespace(), &review.target.name);
    question.version = "v1".into();
    if world.allows(review.user, &question) {
        return None;
    }
    let user = review.user.name.as_str();
    Some(format!(
        "audience {wanted:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
    ))
}

fn asks_for(volume: &Volume, wanted: &str, pod: &Pod, world: &dyn World) -> bool {
    let projected = volume.projected.iter().flat_map(|projected| &projected.sources);
    let mut tokens = projected.filter_map(|source| source.service_account_token.as_deref());
    if tokens.any(|token| token.audience == wanted) {
        return true;
    }
    let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name, volume.name).into()),
        (None, None) => None,
    };
    let driver = match (&volume.csi, claim) {
        (Some(csi), _) => Some(csi.driver.clone()),
        (None, Some(claim)) => world
            .get::<PersistentVolumeClaim>(&pod.metadata.namespace, &claim)
            .and_then(|claim| world.get::<PersistentVolume>("", &claim.spec.volume_name))
            .and_then(|volume| Some(volume.spec.csi.as_ref()?.driver.clone())),
        (None, None) => None,
    };
    let driver = driver.and_then(|driver| world.get::<CSIDriver>("", &driver));
    driver.is_some_and(|driver| driver.spec.token_requests.iter().any(|token| token.audience == wanted))
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
