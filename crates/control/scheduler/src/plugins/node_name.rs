//! NodeName: a pod that names its node goes there or nowhere.

use crate::plugin::{Candidates, ClusterEvent, Plugin, PreFilter, Rejection, Wanted};
use crate::snapshot::Snapshot;

pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn pre_filter(&self, wanted: &Wanted<'_>, _: &Snapshot) -> PreFilter {
        if wanted.pod.spec.node_name.is_empty() { PreFilter::Skip } else { PreFilter::Run }
    }

    fn filter(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, candidates: &mut Candidates) {
        candidates.keep(|index| {
            let other = snapshot.name(index) != wanted.pod.spec.node_name;
            other
                .then(|| Rejection::unresolvable(self.name(), "node(s) didn't match the requested node name"))
        });
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::NodeAdded
    }
}
