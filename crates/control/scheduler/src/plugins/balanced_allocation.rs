//! NodeResourcesBalancedAllocation: prefers nodes on which CPU and memory are used to a like degree.

use crate::plugin::{Plugin, SCORE_MAX, Wanted};
use crate::snapshot::{NodeRow, Snapshot};

pub struct NodeResourcesBalancedAllocation;

/// 100 when the used shares of CPU and memory are equal, less by their standard deviation.
fn balance(wanted: &Wanted<'_>, row: &NodeRow, with_pod: bool) -> i64 {
    let pod = |amount: i64| if with_pod { amount } else { 0 };
    let parts = [
        (row.allocatable.cpu_milli, row.requested.cpu_milli + pod(wanted.requests.cpu_milli)),
        (row.allocatable.memory_bytes, row.requested.memory_bytes + pod(wanted.requests.memory_bytes)),
    ];
    let shares: Vec<f64> = parts
        .into_iter()
        .filter(|(offered, _)| *offered > 0)
        .map(|(offered, used)| (used as f64 / offered as f64).min(1.0))
        .collect();
    let deviation = match shares[..] {
        [cpu, memory] => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, nodes: &[usize], scores: &mut [i64]) -> bool {
        // A pod that asks for nothing cannot change the balance.
        if wanted.requests.cpu_milli == 0 && wanted.requests.memory_bytes == 0 {
            return false;
        }
        for (index, score) in nodes.iter().zip(scores) {
            let row = snapshot.row(*index);
            let (with, without) = (balance(wanted, row, true), balance(wanted, row, false));
            // Half of the range for the balance before, moved by what the pod changes.
            *score = SCORE_MAX / 2 + (with - without) / 2;
        }
        true
    }
}
