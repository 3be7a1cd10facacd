//! VolumeBinding: bound volumes must be reachable from the node, and unbound claims of classes that wait for their first
//! consumer must find a volume there, or room for one.
//!
//! What a claim would get on a node is a pure function ([`choose`]); Reserve and PreBind carry it out.

mod find;

use types::core::v1::PersistentVolumeClaim;
use types::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};

pub use find::{Choice, choose};

use crate::cluster::Cluster;
use crate::plugin::{ClusterEvent, Cx, Filter, Happening, Plugin, PreFilter, Rejection, What};
use crate::pod_info::PodInfo;
use std::sync::Arc;

/// The plugin.
pub struct VolumeBinding;

/// Its name.
pub const NAME: &str = "VolumeBinding";
/// In-tree plugins that a CSI driver of the node stands in for.
const MIGRATED: &str = "storage.alpha.kubernetes.io/migrated-plugins";

/// The pod's claims by what is to be done about them.
#[derive(Clone, Default)]
pub struct Claims {
    /// Bound: the volume must be reachable.
    pub bound: Vec<Arc<PersistentVolumeClaim>>,
    /// To be bound once a node is chosen.
    pub delayed: Vec<Arc<PersistentVolumeClaim>>,
    /// Somebody else is to bind them first.
    pub immediate: Vec<Arc<PersistentVolumeClaim>>,
}

/// Whether a claim has its volume, and both know it.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !claim.spec.volume_name.is_empty()
        && claim.metadata.annotations.contains_key("pv.kubernetes.io/bind-completed")
}

/// The name of the claim's class, which an annotation may give; empty without one.
pub fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let annotated = claim.metadata.annotations.get("volume.beta.kubernetes.io/storage-class");
    annotated.map(|class| class.as_str()).or(claim.spec.storage_class_name.as_deref()).unwrap_or_default()
}

/// Whether the pod uses the claim.
pub fn uses(pod: &PodInfo, claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.namespace == pod.pod.metadata.namespace
        && pod.claim_names().any(|(name, _)| name == claim.metadata.name)
}

/// Whether the claim's class waits for a first consumer.
fn is_delayed(cluster: &Cluster, claim: &PersistentVolumeClaim) -> bool {
    let found = cluster.storage_classes.get(class_of(claim));
    found.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Sorts the pod's claims.
///
/// # Errors
/// What is wrong with one of them.
pub fn claims(pod: &PodInfo, cluster: &Cluster) -> Result<Claims, String> {
    let mut claims = Claims::default();
    for (name, ephemeral) in pod.claim_names() {
        let claim = match cluster.claim(&pod.pod.metadata.namespace, &name) {
            None if ephemeral => {
                return Err(format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                ));
            }
            None => return Err(format!("persistentvolumeclaim \"{name}\" not found")),
            Some(claim) => claim,
        };
        if claim.status.phase == "Lost" {
            let volume = &claim.spec.volume_name;
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if ephemeral && !claim.metadata.is_controlled_by(pod.uid()) {
            let (namespace, owner) = (&pod.pod.metadata.namespace, &pod.pod.metadata.name);
            return Err(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{owner} (pod is not owner)"
            ));
        }
        if is_bound(claim) {
            claims.bound.push(claim.clone());
        } else if is_delayed(cluster, claim) && claim.spec.volume_name.is_empty() {
            claims.delayed.push(claim.clone());
        } else {
            claims.immediate.push(claim.clone());
        }
    }
    Ok(claims)
}

struct Binding(Claims);

impl Filter for Binding {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        let (_, reasons) = choose(cx, &self.0, node);
        (!reasons.is_empty()).then(|| Rejection {
            reasons: reasons.into_iter().map(Into::into).collect(),
            ..Rejection::unresolvable(NAME, "")
        })
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_own(&self, cx: &Cx<'_>) -> bool {
        cx.pod.has_volumes()
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        if cx.pod.claim_names().next().is_none() {
            return PreFilter::Skip;
        }
        match claims(cx.pod, cx.cluster()) {
            Err(reason) => PreFilter::Reject(Rejection::unresolvable(NAME, reason)),
            Ok(claims) if !claims.immediate.is_empty() => PreFilter::Reject(Rejection::unresolvable(
                NAME,
                "pod has unbound immediate PersistentVolumeClaims",
            )),
            Ok(claims) => PreFilter::Run(Box::new(Binding(claims))),
        }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        let known = [
            What::PersistentVolumeClaim,
            What::PersistentVolume,
            What::StorageClass,
            What::CSINode,
            What::CSIStorageCapacity,
        ];
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels)
            || event == ClusterEvent::Updated(What::CSIDriver)
            || known.into_iter().any(|what| event.brings(what))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        if let Some((_, Some(claim))) = happening.object::<PersistentVolumeClaim>() {
            return uses(pod, claim);
        }
        if let Some((Some(old), Some(new))) = happening.object::<StorageClass>() {
            return old.allowed_topologies != new.allowed_topologies;
        }
        if let Some((Some(old), Some(new))) = happening.object::<CSINode>() {
            let migrated = |node: &CSINode| node.metadata.annotations.get(MIGRATED).cloned();
            return migrated(old) != migrated(new);
        }
        if let Some((Some(old), Some(new))) = happening.object::<CSIDriver>() {
            // Volumes are provisioned without a look at capacity from now on.
            return old.spec.storage_capacity == Some(true) && new.spec.storage_capacity != Some(true);
        }
        if let Some((Some(old), Some(new))) = happening.object::<CSIStorageCapacity>() {
            let limit = |one: &CSIStorageCapacity| one.maximum_volume_size.or(one.capacity);
            return old.node_topology != new.node_topology || limit(new) > limit(old);
        }
        true
    }
}
