//! SchedulingGates: a pod with gates stays out of the queue until they are removed (KEP-3521).

use types::core::v1::Pod;

use crate::cluster::Cluster;
use crate::plugin::{ClusterEvent, Plugin, Rejection};

/// The plugin.
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn pre_enqueue(&self, pod: &Pod, _: &Cluster) -> Option<Rejection> {
        if pod.spec.scheduling_gates.is_empty() {
            return None;
        }
        let gates: Vec<&str> = pod.spec.scheduling_gates.iter().map(|gate| gate.name.as_str()).collect();
        let reason = format!("waiting for scheduling gates: [{}]", gates.join(" "));
        Some(Rejection::unresolvable(self.name(), reason))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::PodChanged
    }
}
