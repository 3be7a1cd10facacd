//! DynamicResources: devices that pods claim (KEP-4381, structured parameters). A node will do when the pod's claims that
//! have devices can use them there, and devices for the others are free there.
//!
//! What a claim would get is a pure function ([`allocate::Allocator`]); Reserve and PreBind write it into the claims.

pub mod allocate;
mod capacity;
mod pools;
mod request;
pub mod selector;

use std::sync::Arc;

use types::core::v1::Pod;
use types::resource::v1::{AllocationResult, ResourceClaim};

use self::allocate::Allocator;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::plugin::{ClusterEvent, Cx, Filter, Plugin, PreFilter, Rejection, Scope, Score, normalize_by_max};
use crate::plugins::node_selector::any_term_selects;

/// The plugin.
pub struct DynamicResources;

/// Its name.
pub const NAME: &str = "DynamicResources";

const ELSEWHERE: &str = "resourceclaim not available on the node";

/// Most pods that may share a claim.
const RESERVED_MAX: usize = 256;

/// The claims that the pod names, as they are.
///
/// # Errors
/// Why one of them cannot be used yet.
pub fn claims(pod: &Pod, cluster: &Cluster) -> Result<Vec<Arc<ResourceClaim>>, String> {
    let mut claims = Vec::new();
    for wanted in &pod.spec.resource_claims {
        let generated = || {
            let status = pod.status.resource_claim_statuses.iter().find(|status| status.name == wanted.name);
            status.map(|status| status.resource_claim_name.clone())
        };
        let name = match (&wanted.resource_claim_name, &wanted.resource_claim_template_name) {
            (Some(name), _) => name.clone(),
            (None, Some(_)) => match generated() {
                Some(Some(name)) => name,
                // The template made no claim, and none is needed.
                Some(None) => continue,
                None => {
                    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
                    return Err(format!("pod \"{namespace}/{name}\": ResourceClaim not created yet"));
                }
            },
            (None, None) => continue,
        };
        let Some(claim) = cluster.resource_claims.get(&crate::cluster::key(&pod.metadata.namespace, &name))
        else {
            return Err(format!("resourceclaim.resource.k8s.io \"{name}\" not found"));
        };
        claims.push(claim.clone());
    }
    Ok(claims)
}

/// Whether an allocated claim can be used on the node.
fn available_on(allocation: &AllocationResult, cx: &Cx<'_>, node: usize) -> bool {
    let selector = allocation.node_selector.as_ref();
    selector.is_none_or(|selector| {
        cx.row(node).node().is_some_and(|node| any_term_selects(&selector.node_selector_terms, node))
    })
}

/// The pod's claims: those that have devices, and what finds devices for the others.
struct Devices {
    allocated: Vec<Arc<ResourceClaim>>,
    allocator: Allocator,
}

impl Filter for Devices {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        let unusable = self.allocated.iter().any(|claim| {
            claim.status.allocation.as_ref().is_some_and(|allocation| !available_on(allocation, cx, node))
        });
        if unusable {
            return Some(Rejection::unresolvable(NAME, ELSEWHERE));
        }
        if self.allocator.is_empty() {
            return None;
        }
        let row = cx.row(node);
        let name = row.node().map(|node| node.metadata.name.clone()).unwrap_or_default();
        match self.allocator.allocate(cx.cluster(), &name, row) {
            Err(error) => Some(Rejection::unresolvable(NAME, error)),
            Ok(Some(_)) => None,
            Ok(None) => Some(Rejection::unresolvable(NAME, "cannot allocate all claims")),
        }
    }
}

/// Prefers nodes on which earlier alternatives of `firstAvailable` are to be had.
struct Alternatives(Option<Allocator>);

impl Score for Alternatives {
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        let Some(allocator) = &self.0 else { return 0 };
        let row = cx.row(node);
        let name = row.node().map(|node| node.metadata.name.clone()).unwrap_or_default();
        match allocator.allocate(cx.cluster(), &name, row) {
            Ok(Some(found)) => found.iter().map(|allocation| allocation.preference).sum(),
            _ => 0,
        }
    }

    fn normalize(&self, _: &Cx<'_>, _: &[u32], scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }

    fn scope(&self) -> Scope {
        if self.0.is_none() { Scope::Row } else { Scope::Cluster }
    }
}

/// What the pod's unallocated claims get on a node: claims with their allocations.
///
/// # Errors
/// Why they get nothing.
pub fn choose(cx: &Cx<'_>, node: usize) -> Result<Vec<(Arc<ResourceClaim>, AllocationResult)>, String> {
    let claims = claims(cx.object(), cx.cluster())?;
    let pending: Vec<_> = claims.into_iter().filter(|claim| claim.status.allocation.is_none()).collect();
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let allocator = Allocator::new(cx.cluster(), pending.clone())?;
    let row = cx.row(node);
    let name = row.node().map(|node| node.metadata.name.clone()).unwrap_or_default();
    let found = allocator.allocate(cx.cluster(), &name, row)?.ok_or("cannot allocate all claims")?;
    Ok(pending.into_iter().zip(found.into_iter().map(|allocation| allocation.result)).collect())
}

/// PostFilter: what can be done for a pod whose claims are in the way. A claim that has devices elsewhere, and that nobody
/// else uses, gives them back.
pub fn post_filter(
    pod: &Pod,
    cluster: &Cluster,
    failure: &Failure,
) -> (&'static str, Option<Arc<ResourceClaim>>) {
    if pod.spec.resource_claims.is_empty() {
        return ("no new claims to deallocate", None);
    }
    let elsewhere = failure.rejected().any(|(_, refusal)| refusal.reasons.iter().any(|why| why == ELSEWHERE));
    let free = |claim: &&Arc<ResourceClaim>| {
        let status = &claim.status;
        // Only devices that are reachable from some nodes can be elsewhere.
        let bound = status.allocation.as_ref().is_some_and(|allocation| allocation.node_selector.is_some());
        bound && status.reserved_for.iter().all(|consumer| consumer.uid == pod.metadata.uid)
    };
    let claims = claims(pod, cluster).unwrap_or_default();
    match claims.iter().find(free).filter(|_| elsewhere) {
        Some(claim) => ("deallocation of ResourceClaim completed", Some(claim.clone())),
        None => ("still not schedulable", None),
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_enqueue(&self, pod: &Pod, cluster: &Cluster) -> Option<Rejection> {
        claims(pod, cluster).err().map(|reason| Rejection::unresolvable(NAME, reason))
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let pod = cx.object();
        if pod.spec.resource_claims.is_empty() {
            return PreFilter::Skip;
        }
        let reject = |reason: String| PreFilter::Reject(Rejection::unresolvable(NAME, reason));
        let claims = match claims(pod, cx.cluster()) {
            Ok(claims) => claims,
            Err(reason) => return reject(reason),
        };
        for claim in &claims {
            let name = &claim.metadata.name;
            if claim.metadata.deletion_timestamp.is_some() {
                return reject(format!("resourceclaim \"{name}\" is being deleted"));
            }
            let reserved = &claim.status.reserved_for;
            let ours = reserved.iter().any(|consumer| consumer.uid == pod.metadata.uid);
            if !ours && reserved.len() >= RESERVED_MAX {
                return reject("resourceclaim in use".into());
            }
        }
        let (allocated, pending): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| claim.status.allocation.is_some());
        match Allocator::new(cx.cluster(), pending) {
            Err(reason) => reject(reason),
            Ok(allocator) => PreFilter::Run(Box::new(Devices { allocated, allocator })),
        }
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        let claims = claims(cx.object(), cx.cluster()).ok()?;
        let pending: Vec<_> = claims.into_iter().filter(|claim| claim.status.allocation.is_none()).collect();
        let allocator = if pending.is_empty() { None } else { Allocator::new(cx.cluster(), pending).ok() };
        // Without alternatives every node scores 0.
        Some(Box::new(Alternatives(allocator.filter(Allocator::has_alternatives))))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeLabels
                | ClusterEvent::Devices
                | ClusterEvent::PodChanged
        )
    }
}
