//! DynamicResources: devices that pods claim (KEP-4381, structured parameters). A node will do when the pod's claims that
//! have devices can use them there, and devices for the others are free there.
//!
//! What a claim would get is a pure function ([`allocate::Allocator`]); Reserve and PreBind write it into the claims.

pub mod allocate;
pub mod answers;
mod capacity;
pub mod extended;
mod pools;
mod request;
mod result;
pub mod selector;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meta::{Codec, Str, Time};
use parking_lot::Mutex;
use types::core::v1::{ContainerExtendedResourceRequest, Pod};
use types::resource::v1::{AllocationResult, DeviceRequestAllocationResult, ResourceClaim};

use self::allocate::{Allocator, Trouble};
use self::answers::{Answer, Sheet, ask};
use crate::cluster::{Cluster, key};
use crate::failure::Failure;
use crate::plugin::{
    About, ClusterEvent, Cx, Filter, Happening, Plugin, PreFilter, Rejection, Scope, Score, What,
    normalize_by_max,
};
use crate::plugins::node_selector::any_term_selects;
use crate::pod_info::PodInfo;
use crate::snapshot::NodeRow;

/// The plugin.
pub struct DynamicResources {
    /// How long the search for devices may take in one attempt; `None` as long as it takes.
    pub filter_timeout: Option<Duration>,
    /// How long drivers may take to prepare devices.
    pub binding_timeout: Duration,
}

/// Its name.
pub const NAME: &str = "DynamicResources";

const ELSEWHERE: &str = "resourceclaim not available on the node";
const STALE: &str = "cannot schedule extended resource claim";

/// So many nodes of one attempt may take as long as a node may take.
const NODES_AT_LENGTH: u32 = 10;

/// Most pods that may share a claim.
const RESERVED_MAX: usize = 256;

/// The claims that the pod names, as they are.
///
/// # Errors
/// Why one of them cannot be used yet.
pub fn claims(pod: &Pod, cluster: &Cluster) -> Result<Vec<Arc<ResourceClaim>>, String> {
    let mut claims = Vec::new();
    let (namespace, owner) = (&pod.metadata.namespace, &pod.metadata.name);
    for wanted in &pod.spec.resource_claims {
        let generated = || {
            let status = pod.status.resource_claim_statuses.iter().find(|status| status.name == wanted.name);
            status.map(|status| status.resource_claim_name.clone())
        };
        let (name, ours) = match (&wanted.resource_claim_name, &wanted.resource_claim_template_name) {
            (Some(name), _) => (name.clone(), false),
            (None, Some(_)) => match generated() {
                Some(Some(name)) => (name, true),
                // The template made no claim, and none is needed.
                Some(None) => continue,
                None => return Err(format!("pod \"{namespace}/{owner}\": ResourceClaim not created yet")),
            },
            (None, None) => {
                let name = &wanted.name;
                return Err(format!(
                    "pod \"{namespace}/{owner}\", spec.resourceClaim {name:?}: none of the supported fields are set"
                ));
            }
        };
        let Some(claim) = cluster.resource_claims.get(&key(namespace, &name)) else {
            return Err(format!("resourceclaim.resource.k8s.io \"{name}\" not found"));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim \"{name}\" is being deleted"));
        }
        if ours && !claim.metadata.is_controlled_by(&pod.metadata.uid) {
            return Err(format!(
                "ResourceClaim {namespace}/{name} was not created for Pod {namespace}/{owner} (Pod is not owner)"
            ));
        }
        claims.push(claim.clone());
    }
    Ok(claims)
}

/// Whether an allocated claim can be used on the node.
fn available_on(allocation: &AllocationResult, row: &NodeRow) -> bool {
    let selector = allocation.node_selector.as_ref();
    selector.is_none_or(|selector| {
        row.node().is_some_and(|node| any_term_selects(&selector.node_selector_terms, node))
    })
}

/// Whether all devices of the claim are as their binding conditions want them (KEP-5007).
///
/// # Errors
/// A device whose driver gave up.
pub fn is_ready(claim: &ResourceClaim) -> Result<bool, String> {
    let Some(allocation) = &claim.status.allocation else { return Ok(false) };
    let conditional = |result: &&DeviceRequestAllocationResult| !result.binding_conditions.is_empty();
    for result in allocation.devices.results.iter().filter(conditional) {
        let status = claim.status.devices.iter().find(|status| {
            status.driver == result.driver && status.pool == result.pool && status.device == result.device
        });
        let Some(status) = status else { return Ok(false) };
        let holds = |kind: &Str| {
            status.conditions.iter().find(|one| one.type_ == *kind).filter(|one| one.status == "True")
        };
        if let Some(failed) = result.binding_failure_conditions.iter().find_map(holds) {
            let (name, reason, message) = (&claim.metadata.name, &failed.reason, &failed.message);
            return Err(format!("claim {name} binding failed: reason={reason}, message={message:?}"));
        }
        if !result.binding_conditions.iter().all(|kind| holds(kind).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The pod's claims: those that have devices, and what finds devices for the others.
struct Devices {
    allocated: Vec<Arc<ResourceClaim>>,
    /// Why claims that have devices are of no use anywhere, by their place.
    failed: Vec<bool>,
    allocator: Allocator,
    sheet: Arc<Mutex<Sheet>>,
    extended: Option<Extended>,
    patience: Option<Duration>,
    /// When the attempt has taken so long that the other nodes are not searched any more.
    until: OnceCell<Option<Instant>>,
    fatal: OnceCell<String>,
}

/// Extended resources that may have to be claimed, depending on the node.
struct Extended {
    /// A claim that an earlier attempt left behind.
    stale: bool,
    /// What finds devices, by the resources that the node leaves to them.
    variants: Mutex<Vec<Variant>>,
}

type Variant = (BTreeSet<Str>, Arc<(Allocator, Arc<Mutex<Sheet>>)>);

/// What the claims of an allocator ask for.
fn sheet_of(allocator: &Allocator, cx: &Cx<'_>) -> Arc<Mutex<Sheet>> {
    let mut asked = Vec::new();
    for claim in allocator.claims() {
        asked.extend_from_slice(&claim.spec.to_json());
        // What separates one claim from the next.
        asked.push(0);
    }
    cx.cluster().answers.lock().sheet(asked.into(), cx.snapshot.rows())
}

impl Devices {
    fn answer(&self, cx: &Cx<'_>, node: usize) -> Result<Answer, Trouble> {
        let wrong = |error: String| Trouble::Fatal(error);
        let until = self.patience.map(|patience| patience.saturating_mul(NODES_AT_LENGTH));
        let until = *self.until.get_or_init(|| until.and_then(|until| Instant::now().checked_add(until)));
        let Some(extended) = &self.extended else {
            return match self.allocator.is_empty() {
                true => Ok(Answer::Fits(0)),
                false => ask(&self.allocator, &self.sheet, cx, node, until).map_err(wrong),
            };
        };
        if extended.stale {
            return Err(Trouble::Node(STALE));
        }
        let names = extended::wanted(cx.pod, cx.cluster(), cx.row(node)).map_err(Trouble::Node)?;
        if names.is_empty() {
            return match self.allocator.is_empty() {
                true => Ok(Answer::Fits(0)),
                false => ask(&self.allocator, &self.sheet, cx, node, until).map_err(wrong),
            };
        }
        let known =
            extended.variants.lock().iter().find(|(other, _)| *other == names).map(|(_, one)| one.clone());
        let variant = match known {
            Some(variant) => variant,
            None => {
                let allocator = self.variant(cx, &names).map_err(wrong)?;
                let sheet = sheet_of(&allocator, cx);
                let variant = Arc::new((allocator, sheet));
                extended.variants.lock().push((names, variant.clone()));
                variant
            }
        };
        ask(&variant.0, &variant.1, cx, node, until).map_err(wrong)
    }

    /// The claims with one more for extended resources.
    fn variant(&self, cx: &Cx<'_>, names: &BTreeSet<Str>) -> Result<Allocator, String> {
        let mut claims: Vec<_> = self.allocator.claims().cloned().collect();
        claims.push(Arc::new(extended::claim(cx.object(), names, cx.cluster())));
        Allocator::new(cx.cluster(), claims, self.patience)
    }
}

impl Filter for Devices {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        let answer = match self.answer(cx, node) {
            Ok(answer) => answer,
            Err(Trouble::Node(reason)) => return Some(Rejection::unresolvable(NAME, reason)),
            Err(Trouble::Fatal(error)) => {
                let refusal = Rejection::unresolvable(NAME, error.as_str());
                // The first one counts.
                let _ = self.fatal.set(error);
                return Some(refusal);
            }
        };
        match answer {
            Answer::Short => return Some(Rejection::unresolvable(NAME, "cannot allocate all claims")),
            Answer::Refused(reason) => return Some(Rejection::unresolvable(NAME, reason)),
            Answer::Fits(_) => {}
        }
        let row = cx.row(node);
        let unusable = self.allocated.iter().zip(&self.failed).any(|(claim, failed)| {
            *failed || claim.status.allocation.as_ref().is_some_and(|given| !available_on(given, row))
        });
        unusable.then(|| Rejection::unresolvable(NAME, ELSEWHERE))
    }

    fn fatal(&self) -> Option<&str> {
        self.fatal.get().map(String::as_str)
    }
}

/// Prefers nodes on which earlier alternatives of `firstAvailable` are to be had.
struct Alternatives(Option<(Allocator, Arc<Mutex<Sheet>>)>, Scope);

impl Score for Alternatives {
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        let Some((allocator, sheet)) = &self.0 else { return 0 };
        match ask(allocator, sheet, cx, node, None) {
            Ok(Answer::Fits(points)) => points,
            _ => 0,
        }
    }

    fn normalize(&self, _: &Cx<'_>, _: &[u32], scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }

    fn scope(&self) -> Scope {
        self.1
    }
}

/// What a claim gets.
#[derive(Clone, Debug)]
pub struct Given {
    /// The claim; one that does not exist yet where it is for extended resources.
    pub claim: Arc<ResourceClaim>,
    /// Its devices.
    pub result: AllocationResult,
    /// For extended resources: which request meets which container's.
    pub mappings: Vec<ContainerExtendedResourceRequest>,
}

/// What the pod's unallocated claims get on a node.
///
/// # Errors
/// Why they get nothing.
pub fn choose(cx: &Cx<'_>, node: usize) -> Result<Vec<Given>, String> {
    let (pod, cluster, row) = (cx.object(), cx.cluster(), cx.row(node));
    let mut pending = claims(pod, cluster)?;
    pending.retain(|claim| claim.status.allocation.is_none());
    let names = extended::wanted(cx.pod, cluster, row)?;
    if !names.is_empty() {
        pending.push(Arc::new(extended::claim(pod, &names, cluster)));
    }
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let allocator = Allocator::new(cluster, pending.clone(), None)?;
    let name = row.node().map(|node| node.metadata.name.clone()).unwrap_or_default();
    let found = match allocator.allocate(cluster, &name, row, &mut Vec::new()) {
        Ok(found) => found.ok_or("claim allocation not found for node")?,
        Err(Trouble::Node(reason)) => return Err(reason.into()),
        Err(Trouble::Fatal(error)) => return Err(error),
    };
    let each = pending.into_iter().zip(found).map(|(claim, found)| Given {
        mappings: match extended::is_unborn(&claim) {
            true => extended::mappings(pod, &claim, cluster),
            false => Vec::new(),
        },
        claim,
        result: found.result,
    });
    Ok(each.collect())
}

/// What PostFilter does for a pod whose claims are in the way.
#[derive(Clone, Debug)]
pub enum Remedy {
    /// The claim gives its devices back.
    Deallocate(Arc<ResourceClaim>),
    /// The claim for extended resources goes.
    Delete(Arc<ResourceClaim>),
}

impl DynamicResources {
    /// PostFilter: what can be done for a pod whose claims are in the way. A claim that has devices elsewhere, or devices
    /// that do not get ready, and that nobody else uses, gives them back.
    pub fn post_filter(&self, cx: &Cx<'_>, failure: &Failure) -> (&'static str, Option<Remedy>) {
        let (pod, cluster) = (cx.object(), cx.cluster());
        let concerned = extended::concerns(cx.pod, cluster);
        // A pod that was refused before its claims were looked at has none to give back, either.
        let refused = failure.pre_filter.is_some();
        if refused || pod.spec.resource_claims.is_empty() && !concerned {
            return ("no new claims to deallocate", None);
        }
        let elsewhere: Vec<u32> = failure
            .rejected()
            .filter(|(_, refusal)| refusal.reasons.iter().any(|why| why == ELSEWHERE))
            .map(|(node, _)| node)
            .collect();
        let is_unusable = |claim: &ResourceClaim| {
            claim.status.allocation.as_ref().is_some_and(|given| {
                self.has_failed(claim, cluster)
                    || elsewhere.iter().any(|node| !available_on(given, cx.row(*node as usize)))
            })
        };
        let free = |claim: &&Arc<ResourceClaim>| {
            claim.status.reserved_for.iter().all(|consumer| consumer.uid == pod.metadata.uid)
        };
        let claims = claims(pod, cluster).unwrap_or_default();
        if !elsewhere.is_empty()
            && let Some(claim) = claims.iter().find(|claim| is_unusable(claim) && free(claim))
        {
            return ("deallocation of ResourceClaim completed", Some(Remedy::Deallocate(claim.clone())));
        }
        match cluster.extended_claim(&pod.metadata.uid).filter(|_| concerned) {
            Some(claim) => ("deletion of ResourceClaim completed", Some(Remedy::Delete(claim.clone()))),
            None => ("still not schedulable", None),
        }
    }

    /// Whether the pod has to do with devices at all.
    pub fn concerns(cx: &Cx<'_>) -> bool {
        !cx.object().spec.resource_claims.is_empty() || extended::concerns(cx.pod, cx.cluster())
    }

    /// Whether the claim's devices will not get ready.
    fn has_failed(&self, claim: &ResourceClaim, cluster: &Cluster) -> bool {
        match is_ready(claim) {
            Err(_) => true,
            Ok(true) => false,
            Ok(false) => {
                let since = claim.status.allocation.as_ref().and_then(|given| given.allocation_timestamp);
                let now = Time::from_unix(cluster.unix_seconds);
                since.is_some_and(|since| now.seconds_since(since) > self.binding_timeout.as_secs() as i64)
            }
        }
    }

    fn allocator(&self, cx: &Cx<'_>, pending: Vec<Arc<ResourceClaim>>) -> Result<Allocator, String> {
        Allocator::new(cx.cluster(), pending, self.patience())
    }

    /// How long the search for one node may take: upstream searches many nodes at once, each as long as the timeout; here
    /// they come one after the other, and other pods wait.
    fn patience(&self) -> Option<Duration> {
        self.filter_timeout.map(|timeout| timeout / NODES_AT_LENGTH)
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_enqueue(&self, pod: &Pod, cluster: &Cluster) -> Option<Rejection> {
        claims(pod, cluster).err().map(|reason| Rejection::unresolvable(NAME, reason))
    }

    fn is_own(&self, cx: &Cx<'_>) -> bool {
        Self::concerns(cx)
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let (pod, cluster) = (cx.object(), cx.cluster());
        let concerned = extended::concerns(cx.pod, cluster);
        let reject = |reason: String| PreFilter::Reject(Rejection::unresolvable(NAME, reason));
        let claims = match claims(pod, cluster) {
            Ok(claims) => claims,
            Err(reason) => return reject(reason),
        };
        if claims.is_empty() && !concerned {
            return PreFilter::Skip;
        }
        for claim in &claims {
            let reserved = &claim.status.reserved_for;
            let ours = reserved.iter().any(|consumer| consumer.uid == pod.metadata.uid);
            if claim.status.allocation.is_some() && !ours && reserved.len() >= RESERVED_MAX {
                return reject("resourceclaim in use".into());
            }
            if cluster.in_flight.get(&claim.metadata.uid).is_some_and(|owner| *owner != pod.metadata.uid) {
                let name = request::full_name(claim);
                return reject(format!("resource claim {name} is in the process of being allocated"));
            }
        }
        let (allocated, pending): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| claim.status.allocation.is_some());
        let failed = allocated.iter().map(|claim| self.has_failed(claim, cluster)).collect();
        let extended = concerned.then(|| Extended {
            stale: cluster.extended_claim(&pod.metadata.uid).is_some(),
            variants: Mutex::default(),
        });
        match self.allocator(cx, pending) {
            Err(reason) => reject(reason),
            Ok(allocator) => PreFilter::Run(Box::new(Devices {
                allocated,
                failed,
                sheet: sheet_of(&allocator, cx),
                allocator,
                extended,
                patience: self.patience(),
                until: OnceCell::new(),
                fatal: OnceCell::new(),
            })),
        }
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        // Without alternatives every node scores 0.
        let own = if self.is_own(cx) { Scope::Cluster } else { Scope::Row };
        let mut pending = claims(cx.object(), cx.cluster()).ok()?;
        pending.retain(|claim| claim.status.allocation.is_none());
        let allocator = if pending.is_empty() { None } else { self.allocator(cx, pending).ok() };
        let preferring = allocator.filter(Allocator::has_alternatives);
        let with_sheet = preferring.map(|allocator| {
            let sheet = sheet_of(&allocator, cx);
            (allocator, sheet)
        });
        Some(Box::new(Alternatives(with_sheet, own)))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        let known = [What::ResourceClaim, What::ResourceSlice, What::DeviceClass];
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels | ClusterEvent::PodChanged)
            || event == ClusterEvent::Deleted(What::ResourceClaim)
            || known.into_iter().any(|what| event.brings(what))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        let named = || claims(&pod.pod, happening.cluster);
        if let Some((Some(gone), None)) = happening.object::<ResourceClaim>() {
            return gone.status.allocation.is_some() || gone.metadata.is_controlled_by(pod.uid());
        }
        if let Some((old, Some(new))) = happening.object::<ResourceClaim>() {
            let Ok(named) = named() else { return false };
            if old.is_some_and(|old| old.status.allocation.is_some()) && new.status.allocation.is_none() {
                return true;
            }
            return named.iter().any(|claim| claim.metadata.uid == new.metadata.uid)
                && old.is_none_or(|old| old.status != new.status);
        }
        match happening.about {
            About::Pod(..) => named().is_ok(),
            _ => true,
        }
    }
}
