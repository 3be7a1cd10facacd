//! TaintToleration: keeps pods off nodes whose NoSchedule and NoExecute taints they do not tolerate, and prefers nodes
//! with fewer PreferNoSchedule taints that they do not tolerate.

use types::core::v1::{Node, Taint, Toleration};

use crate::plugin::{
    About, ClusterEvent, Cx, Happening, Plugin, PreFilter, Rejection, Scope, Score, local_filter,
    normalize_by_max,
};
use crate::pod_info::PodInfo;

/// The plugin.
pub struct TaintToleration;

/// Its name.
pub const NAME: &str = "TaintToleration";

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
        // "Lt" and "Gt" are TaintTolerationComparisonOperators', an alpha feature that is off.
        _ => false,
    }
}

/// The taints that keep the pod away (NoSchedule or NoExecute).
pub fn all_untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
) -> impl Iterator<Item = &'a Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute")
        .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// The first of them.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    all_untolerated(taints, tolerations).next()
}

/// Counts the PreferNoSchedule taints that the pod does not tolerate.
struct Preference(Vec<Toleration>);

impl Score for Preference {
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        let taints = cx.row(node).taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
        taints.filter(|taint| !self.0.iter().any(|toleration| tolerates(toleration, taint))).count() as i64
    }

    fn normalize(&self, _: &Cx<'_>, _: &[u32], scores: &mut [i64]) {
        normalize_by_max(scores, true);
    }

    fn scope(&self) -> Scope {
        Scope::Row
    }
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, _: &Cx<'_>) -> PreFilter {
        PreFilter::Run(local_filter(|cx, row| {
            untolerated(row.taints(), &cx.object().spec.tolerations)
                .map(|_| Rejection::unresolvable(NAME, "node(s) had untolerated taint(s)"))
        }))
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        let softly = |toleration: &&Toleration| {
            toleration.effect.is_empty() || toleration.effect == "PreferNoSchedule"
        };
        Some(Box::new(Preference(cx.object().spec.tolerations.iter().filter(softly).cloned().collect())))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        let About::Node(old, Some(new)) = happening.about else { return true };
        let fits = |node: &Node| untolerated(&node.spec.taints, &pod.pod.spec.tolerations).is_none();
        fits(new) && old.is_none_or(|old| !fits(old))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodChanged)
    }
}
