//! NodeResourcesFit: a node must have room for the pod's requests; emptier nodes score higher (LeastAllocated).

use meta::Str;

use crate::plugin::{Candidates, ClusterEvent, Code, Plugin, PreFilter, Rejection, SCORE_MAX, Wanted};
use crate::resources::Resources;
use crate::snapshot::{NodeRow, Snapshot};

pub struct NodeResourcesFit;

/// The resources that do not fit, in upstream's order, and whether the node is too small even when empty.
fn lacking(requests: &Resources, row: &NodeRow) -> (Vec<Str>, bool) {
    let mut reasons = Vec::new();
    let mut hopeless = false;
    if row.pods + 1 > row.pods_max {
        reasons.push("Too many pods".into());
    }
    let mut check = |name: &str, asked: i64, offered: i64, used: i64| {
        if asked > 0 && asked > offered - used {
            reasons.push(Str::from(format!("Insufficient {name}")));
            hopeless |= asked > offered;
        }
    };
    let (offered, used) = (&row.allocatable, &row.requested);
    check("cpu", requests.cpu_milli, offered.cpu_milli, used.cpu_milli);
    check("memory", requests.memory_bytes, offered.memory_bytes, used.memory_bytes);
    check("ephemeral-storage", requests.ephemeral_bytes, offered.ephemeral_bytes, used.ephemeral_bytes);
    for (name, asked) in &requests.scalars {
        check(name, *asked, offered.scalar(name), used.scalar(name));
    }
    (reasons, hopeless)
}

/// The share of CPU and memory that stays free with the pod on the node, 0..=100, both counting the same.
fn least_allocated(wanted: &Wanted<'_>, row: &NodeRow) -> i64 {
    let parts = [
        (row.allocatable.cpu_milli, row.requested_nonzero.cpu_milli + wanted.requests_nonzero.cpu_milli),
        (
            row.allocatable.memory_bytes,
            row.requested_nonzero.memory_bytes + wanted.requests_nonzero.memory_bytes,
        ),
    ];
    let (mut sum, mut weights) = (0, 0);
    for (offered, used) in parts.into_iter().filter(|(offered, _)| *offered > 0) {
        sum += if used > offered { 0 } else { (offered - used) * SCORE_MAX / offered };
        weights += 1;
    }
    if weights == 0 { 0 } else { sum / weights }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn pre_filter(&self, _: &Wanted<'_>, _: &Snapshot) -> PreFilter {
        PreFilter::Run
    }

    fn filter(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, candidates: &mut Candidates) {
        candidates.keep(|index| {
            let (reasons, hopeless) = lacking(&wanted.requests, snapshot.row(index));
            let code = if hopeless { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable };
            (!reasons.is_empty()).then(|| Rejection { code, plugin: self.name(), reasons })
        });
    }

    fn score(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, nodes: &[usize], scores: &mut [i64]) -> bool {
        for (index, score) in nodes.iter().zip(scores) {
            *score = least_allocated(wanted, snapshot.row(*index));
        }
        true
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeAllocatable
                | ClusterEvent::PodFreed
                | ClusterEvent::PodChanged
        )
    }
}
