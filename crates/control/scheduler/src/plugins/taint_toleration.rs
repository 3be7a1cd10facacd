//! TaintToleration: keeps pods off nodes whose NoSchedule and NoExecute taints they do not tolerate, and prefers nodes
//! with fewer PreferNoSchedule taints that they do not tolerate.

use types::core::v1::{Taint, Toleration};

use crate::plugin::{Candidates, ClusterEvent, Plugin, PreFilter, Rejection, Wanted, normalize_by_max};
use crate::snapshot::Snapshot;

pub struct TaintToleration;

/// Whether the toleration covers the taint (`Toleration.ToleratesTaint`). An empty key with `Exists` covers all, an
/// empty effect covers every effect.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        "Lt" | "Gt" => {
            let numbers = (toleration.value.parse::<i64>(), taint.value.parse::<i64>());
            let (Ok(bound), Ok(value)) = numbers else { return false };
            if toleration.operator == "Lt" { value < bound } else { value > bound }
        }
        _ => false,
    }
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn pre_filter(&self, _: &Wanted<'_>, _: &Snapshot) -> PreFilter {
        PreFilter::Run
    }

    fn filter(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, candidates: &mut Candidates) {
        let tolerations = &wanted.pod.spec.tolerations;
        candidates.keep(|index| {
            let untolerated = snapshot
                .row(index)
                .taints()
                .iter()
                .filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute")
                .any(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)));
            untolerated.then(|| Rejection::unresolvable(self.name(), "node(s) had untolerated taint(s)"))
        });
    }

    fn score(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, nodes: &[usize], scores: &mut [i64]) -> bool {
        let tolerations: Vec<_> = wanted
            .pod
            .spec
            .tolerations
            .iter()
            .filter(|toleration| toleration.effect.is_empty() || toleration.effect == "PreferNoSchedule")
            .collect();
        for (index, score) in nodes.iter().zip(scores) {
            let taints =
                snapshot.row(*index).taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
            *score = taints
                .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
                .count() as i64;
        }
        true
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_max(scores, true);
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodChanged)
    }
}
