//! What a scheduling plugin is: the extension points of upstream's framework, over all nodes at once.
//!
//! A plugin implements the points it takes part in and leaves the others at their defaults. It is one file in
//! [`crate::plugins`] and one line in [`crate::plugins::TABLE`].

use meta::Str;
use types::core::v1::Pod;

use crate::node_set::NodeSet;
use crate::resources::Resources;
use crate::snapshot::Snapshot;

/// Why a plugin says no, and whether removing other pods could change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Other pods are in the way: preemption may help.
    Unschedulable,
    /// The node itself does not fit, whatever runs on it.
    UnschedulableAndUnresolvable,
}

/// A refusal with the reasons that a person reads in events and conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Whether preemption may help.
    pub code: Code,
    /// Name of the plugin.
    pub plugin: &'static str,
    /// One or more reasons, in the plugin's order.
    pub reasons: Vec<Str>,
}

impl Rejection {
    /// A refusal that ends when other pods go.
    pub fn unschedulable(plugin: &'static str, reason: impl Into<Str>) -> Self {
        Rejection { code: Code::Unschedulable, plugin, reasons: vec![reason.into()] }
    }

    /// A refusal that lies in the node or the pod.
    pub fn unresolvable(plugin: &'static str, reason: impl Into<Str>) -> Self {
        Rejection { code: Code::UnschedulableAndUnresolvable, plugin, reasons: vec![reason.into()] }
    }
}

/// The pod being scheduled, with what every plugin needs of it computed once.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its requests.
    pub requests: Resources,
    /// Its requests with amounts for containers that ask for nothing.
    pub requests_nonzero: Resources,
}

impl<'a> Wanted<'a> {
    /// Computes what plugins need.
    pub fn new(pod: &'a Pod) -> Self {
        Wanted {
            pod,
            requests: crate::resources::pod_requests(pod),
            requests_nonzero: crate::resources::pod_requests_nonzero(pod),
        }
    }
}

/// What PreFilter came to.
#[derive(Debug, PartialEq)]
pub enum PreFilter {
    /// Filter is to be called.
    Run,
    /// The plugin has nothing to say about this pod: its Filter is not called.
    Skip,
    /// Only these nodes are worth a look.
    Only(NodeSet),
    /// No node will do.
    Reject(Rejection),
}

/// The nodes that are still in question, and why the others are not.
#[derive(Debug)]
pub struct Candidates {
    /// Nodes that no plugin refused so far.
    pub feasible: NodeSet,
    /// The refusals, by node index.
    pub rejected: Vec<(usize, Rejection)>,
}

impl Candidates {
    /// Asks `verdict` about every node still in question and drops those it refuses.
    pub fn keep(&mut self, mut verdict: impl FnMut(usize) -> Option<Rejection>) {
        let refused: Vec<_> = self
            .feasible
            .iter()
            .filter_map(|index| verdict(index).map(|rejection| (index, rejection)))
            .collect();
        for (index, _) in &refused {
            self.feasible.remove(*index);
        }
        self.rejected.extend(refused);
    }
}

/// What happened in the cluster that may make a waiting pod schedulable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A node appeared.
    NodeAdded,
    /// A node's allocatable amounts changed.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints or its `unschedulable` flag changed.
    NodeTaints,
    /// A pod that had a node is gone, or gave some of its resources back.
    PodFreed,
    /// The waiting pod itself changed.
    PodChanged,
}

/// A scheduling plugin. Every method is pure; what it needs of the cluster is in the snapshot.
pub trait Plugin: Send + Sync {
    /// The name in profiles, reasons and metrics.
    fn name(&self) -> &'static str;

    /// PreEnqueue: whether the pod may enter the queue at all.
    fn pre_enqueue(&self, _pod: &Pod) -> Option<Rejection> {
        None
    }

    /// PreFilter: a look at the pod alone, before any node.
    fn pre_filter(&self, _wanted: &Wanted<'_>, _snapshot: &Snapshot) -> PreFilter {
        PreFilter::Skip
    }

    /// Filter: drops nodes that will not do.
    fn filter(&self, _wanted: &Wanted<'_>, _snapshot: &Snapshot, _candidates: &mut Candidates) {}

    /// PreScore and Score: fills one raw score for each of `nodes` (indices, ascending) and answers `true`, or answers
    /// `false` when the plugin has no preference for this pod.
    fn score(
        &self,
        _wanted: &Wanted<'_>,
        _snapshot: &Snapshot,
        _nodes: &[usize],
        _scores: &mut [i64],
    ) -> bool {
        false
    }

    /// NormalizeScore: brings raw scores into 0..=100.
    fn normalize(&self, _scores: &mut [i64]) {}

    /// Queueing hint: whether the event may turn this plugin's refusal into a yes.
    fn may_help(&self, _event: ClusterEvent) -> bool {
        true
    }
}

/// Highest score after normalisation.
pub const SCORE_MAX: i64 = 100;

/// The usual normalisation: scale to 0..=100 by the greatest score, and turn it round where less is better.
pub fn normalize_by_max(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores.iter_mut() {
        *score = match (max, reverse) {
            (0, true) => SCORE_MAX,
            (0, false) => 0,
            (max, false) => SCORE_MAX * *score / max,
            (max, true) => SCORE_MAX - SCORE_MAX * *score / max,
        };
    }
}
