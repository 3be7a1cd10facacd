//! NodeName: a pod that names its node goes there or nowhere.

use crate::plugin::{About, ClusterEvent, Cx, Happening, Plugin, PreFilter, Rejection, local_filter};
use crate::pod_info::PodInfo;

/// The plugin.
pub struct NodeName;

/// Its name.
pub const NAME: &str = "NodeName";

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        if cx.object().spec.node_name.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Run(local_filter(|cx, row| {
            let here = row.node().is_some_and(|node| node.metadata.name == cx.object().spec.node_name);
            (!here).then(|| Rejection::unresolvable(NAME, "node(s) didn't match the requested node name"))
        }))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        let About::Node(_, Some(node)) = happening.about else { return true };
        let wanted = &pod.pod.spec.node_name;
        // A pod for which there was no node at all waits for any.
        wanted.is_empty() || node.metadata.name == *wanted
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::NodeAdded
    }
}
