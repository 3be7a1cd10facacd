//! What follows from the state of nodes: taints, evictions, pod address ranges, and pods that lost their node.

mod eviction;
mod ipam;
mod lifecycle;
mod metrics;
mod pod_gc;
mod taints;
mod ttl;

#[cfg(test)]
mod tests;

pub(crate) use eviction::start as start_taint_eviction;
pub(crate) use ipam::start as start_ipam;
pub(crate) use lifecycle::start as start_lifecycle;
pub(crate) use pod_gc::start as start_pod_gc;
pub(crate) use ttl::start as start_ttl;

use types::core::v1::{Node, Pod, PodCondition};

use meta::Time;

/// Index of pods by the node that they are bound to.
const BY_NODE: &str = "node";

fn node_of(pod: &Pod) -> Vec<meta::Str> {
    vec![pod.spec.node_name.clone()]
}

/// Why the cluster ends a pod, for whoever runs it.
fn disruption(pod: &Pod, reason: &str, message: &str, now: Time) -> PodCondition {
    PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        observed_generation: pod.metadata.generation,
        last_transition_time: Some(now),
        reason: reason.into(),
        message: message.into(),
        ..PodCondition::default()
    }
}

/// Status of a node's condition, empty when it is not told.
fn condition<'a>(node: &'a Node, type_: &str) -> &'a str {
    node.status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map_or("", |condition| &condition.status)
}
