//! VolumeBinding: bound volumes must be reachable from the node, and unbound claims of classes that wait for their first
//! consumer must find a volume there, or room for one.
//!
//! What a claim would get on a node is a pure function ([`choose`]); Reserve and PreBind carry it out.

mod find;

use types::core::v1::PersistentVolumeClaim;

pub use find::{Choice, choose};

use crate::cluster::Cluster;
use crate::plugin::{ClusterEvent, Cx, Filter, Plugin, PreFilter, Rejection};
use std::sync::Arc;

/// The plugin.
pub struct VolumeBinding;

/// Its name.
pub const NAME: &str = "VolumeBinding";

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

/// Whether the claim's class waits for a first consumer.
fn is_delayed(cluster: &Cluster, claim: &PersistentVolumeClaim) -> bool {
    let class = claim
        .metadata
        .annotations
        .get("volume.beta.kubernetes.io/storage-class")
        .map(|class| class.as_str())
        .or(claim.spec.storage_class_name.as_deref());
    let found = class.and_then(|class| cluster.storage_classes.get(class));
    found.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Sorts the pod's claims.
///
/// # Errors
/// What is wrong with one of them.
pub fn claims(pod: &crate::pod_info::PodInfo, cluster: &Cluster) -> Result<Claims, String> {
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
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels | ClusterEvent::Storage)
    }
}
