//! NodeUnschedulable: cordoned nodes take only pods that tolerate `node.kubernetes.io/unschedulable:NoSchedule`.

use types::core::v1::Taint;

use super::taint_toleration::tolerates;
use crate::plugin::{About, ClusterEvent, Cx, Happening, Plugin, PreFilter, Rejection, local_filter};
use crate::pod_info::PodInfo;

/// The plugin.
pub struct NodeUnschedulable;

/// Its name.
pub const NAME: &str = "NodeUnschedulable";

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        if cx.object().spec.tolerations.iter().any(|toleration| tolerates(toleration, &cordon)) {
            return PreFilter::Skip;
        }
        PreFilter::Run(local_filter(|_, row| {
            let cordoned = row.node().is_some_and(|node| node.spec.unschedulable);
            cordoned.then(|| Rejection::unresolvable(NAME, "node(s) were unschedulable"))
        }))
    }

    fn hint(&self, happening: &Happening<'_>, _: &PodInfo) -> bool {
        let About::Node(old, Some(new)) = happening.about else { return true };
        !new.spec.unschedulable && old.is_none_or(|old| old.spec.unschedulable)
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodChanged)
    }
}
