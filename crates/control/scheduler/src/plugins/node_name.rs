//! NodeName: a pod that names its node goes there or nowhere.

use crate::plugin::{ClusterEvent, Cx, Plugin, PreFilter, Rejection, local_filter};

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

    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::NodeAdded
    }
}
