//! NodeResourcesBalancedAllocation: prefers nodes whose resources the pod brings nearer to being used to a like degree.

use super::fit::offered_and_used;
use crate::plugin::{ClusterEvent, Cx, Plugin, SCORE_MAX, Scope, Score};
use crate::snapshot::NodeRow;
use meta::Str;

/// The plugin with the resources it balances.
pub struct NodeResourcesBalancedAllocation {
    /// What is balanced.
    pub resources: Vec<Str>,
}

impl Default for NodeResourcesBalancedAllocation {
    fn default() -> Self {
        NodeResourcesBalancedAllocation { resources: vec!["cpu".into(), "memory".into()] }
    }
}

struct Balance(Vec<Str>);

impl Balance {
    /// 100 when the used shares are equal, less by their standard deviation.
    fn degree(&self, cx: &Cx<'_>, row: &NodeRow, with_pod: bool) -> i64 {
        let shares = || {
            self.0.iter().filter_map(|resource| {
                let (offered, used) = offered_and_used(cx, row, resource, false, with_pod);
                (offered != 0).then(|| (used as f64 / offered as f64).min(1.0))
            })
        };
        let (count, sum) = shares().fold((0usize, 0.0), |(count, sum), share| (count + 1, sum + share));
        let deviation = match count {
            0 | 1 => 0.0,
            2 => shares().reduce(|one, other| ((one - other) / 2.0).abs()).unwrap_or(0.0),
            count => {
                let mean = sum / count as f64;
                (shares().map(|share| (share - mean) * (share - mean)).sum::<f64>() / count as f64).sqrt()
            }
        };
        ((1.0 - deviation) * SCORE_MAX as f64) as i64
    }
}

impl Score for Balance {
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        let row = cx.row(node);
        let gain = self.degree(cx, row, true) - self.degree(cx, row, false);
        // Between half and full marks, by what the pod changes.
        SCORE_MAX / 2 + (SCORE_MAX / 2 + gain) / 2
    }

    fn scope(&self) -> Scope {
        Scope::RowFinal
    }
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        let asked = |resource: &Str| match resource.as_str() {
            "cpu" => cx.pod.requests.cpu_milli,
            "memory" => cx.pod.requests.memory_bytes,
            "ephemeral-storage" => cx.pod.requests.ephemeral_bytes,
            name => cx.pod.requests.scalar(name),
        };
        // A pod that asks for nothing cannot change the balance.
        let asks = self.resources.iter().any(|resource| asked(resource) != 0);
        asks.then(|| Box::new(Balance(self.resources.clone())) as Box<dyn Score>)
    }

    fn may_help(&self, _: ClusterEvent) -> bool {
        false
    }
}
