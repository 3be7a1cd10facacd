//! NodeUnschedulable: cordoned nodes take only pods that tolerate `node.kubernetes.io/unschedulable:NoSchedule`.

use types::core::v1::Taint;

use super::taint_toleration::tolerates;
use crate::plugin::{Candidates, ClusterEvent, Plugin, PreFilter, Rejection, Wanted};
use crate::snapshot::Snapshot;

pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn pre_filter(&self, wanted: &Wanted<'_>, _: &Snapshot) -> PreFilter {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        let tolerated = wanted.pod.spec.tolerations.iter().any(|toleration| tolerates(toleration, &cordon));
        if tolerated { PreFilter::Skip } else { PreFilter::Run }
    }

    fn filter(&self, _: &Wanted<'_>, snapshot: &Snapshot, candidates: &mut Candidates) {
        candidates.keep(|index| {
            let cordoned = snapshot.row(index).node().is_some_and(|node| node.spec.unschedulable);
            cordoned.then(|| Rejection::unresolvable(self.name(), "node(s) were unschedulable"))
        });
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodChanged)
    }
}
