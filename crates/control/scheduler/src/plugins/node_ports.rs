//! NodePorts: two pods cannot bind the same host port of a node.

use crate::plugin::{Candidates, ClusterEvent, Plugin, PreFilter, Rejection, Wanted};
use crate::snapshot::{Snapshot, host_ports};

pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn pre_filter(&self, wanted: &Wanted<'_>, _: &Snapshot) -> PreFilter {
        if host_ports(wanted.pod).is_empty() { PreFilter::Skip } else { PreFilter::Run }
    }

    fn filter(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, candidates: &mut Candidates) {
        let ports = host_ports(wanted.pod);
        candidates.keep(|index| {
            let used = &snapshot.row(index).ports;
            let taken = ports.iter().any(|port| used.iter().any(|other| other.conflicts(port)));
            let reason = "node(s) didn't have free ports for the requested pod ports";
            taken.then(|| Rejection::unschedulable(self.name(), reason))
        });
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodFreed)
    }
}
