//! What a DaemonSet tells about itself.

use std::sync::Arc;

use types::apps::v1::{DaemonSet, DaemonSetStatus};
use types::core::v1::{Node, Pod};

use super::ByNode;
use super::place::fits;
use crate::common::revisions::HASH_LABEL;
use crate::common::{pods, rank};

pub(super) fn of(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    by_node: &ByNode,
    hash: &str,
    now: i64,
) -> DaemonSetStatus {
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: set.status.collision_count,
        conditions: set.status.conditions.clone(),
        ..DaemonSetStatus::default()
    };
    for node in nodes {
        let here = by_node.get(&node.metadata.name).map_or(&[][..], |pods| &pods[..]);
        if !fits(set, node).0 {
            status.number_misscheduled += i32::from(!here.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        // The oldest pod that serves stands for its node.
        let mut here: Vec<&Arc<Pod>> = here.iter().collect();
        here.sort_by_key(|pod| (!pods::is_ready(pod), rank::oldest_first(&pod.metadata)));
        let Some(pod) = here.first() else { continue };
        status.current_number_scheduled += 1;
        if pods::is_ready(pod) {
            status.number_ready += 1;
            status.number_available += i32::from(pods::is_available(pod, set.spec.min_ready_seconds, now));
        }
        status.updated_number_scheduled += i32::from(pod.metadata.label(HASH_LABEL) == hash);
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    status
}
