//! NodePorts: two pods cannot bind the same host port of a node.

use crate::plugin::{ClusterEvent, Cx, Plugin, PreFilter, Rejection, local_filter};

/// The plugin.
pub struct NodePorts;

/// Its name.
pub const NAME: &str = "NodePorts";

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        if cx.pod.ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Run(local_filter(|cx, row| {
            let taken = cx.pod.ports.iter().any(|port| row.ports.iter().any(|other| other.conflicts(port)));
            let reason = "node(s) didn't have free ports for the requested pod ports";
            taken.then(|| Rejection::unschedulable(NAME, reason))
        }))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodFreed)
    }
}
