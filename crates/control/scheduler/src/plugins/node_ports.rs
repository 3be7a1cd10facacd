//! NodePorts: two pods cannot bind the same host port of a node.

use crate::plugin::{About, ClusterEvent, Cx, Happening, Plugin, PreFilter, Rejection, local_filter};
use crate::pod_info::{PodInfo, host_ports};

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

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        let About::Pod(Some(gone), None) = happening.about else { return true };
        host_ports(gone).iter().any(|freed| pod.ports.iter().any(|port| port.conflicts(freed)))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodFreed)
    }
}
