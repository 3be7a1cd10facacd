//! Rolling a DaemonSet to a new template, a few nodes at a time.

use std::sync::Arc;

use types::apps::v1::DaemonSet;
use types::core::v1::{Node, Pod};

use super::ByNode;
use super::place::{Changes, fits};
use crate::common::numbers::scaled;
use crate::common::pods;
use crate::common::revisions::HASH_LABEL;

fn wanted_nodes(set: &DaemonSet, nodes: &[Arc<Node>]) -> i32 {
    nodes.iter().filter(|node| fits(set, node).0).count() as i32
}

/// How many nodes may have a new pod beside the old one.
pub(super) fn max_surge(set: &DaemonSet, nodes: &[Arc<Node>]) -> i32 {
    let rolling = set.spec.update_strategy.rolling_update.as_deref();
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    if set.spec.update_strategy.type_ == "OnDelete" {
        return 0;
    }
    surge.and_then(|surge| scaled(surge, wanted_nodes(set, nodes), true)).unwrap_or(0)
}

fn max_unavailable(set: &DaemonSet, nodes: &[Arc<Node>]) -> i32 {
    let rolling = set.spec.update_strategy.rolling_update.as_deref();
    let value = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let unavailable =
        value.map_or(Some(1), |value| scaled(value, wanted_nodes(set, nodes), true)).unwrap_or(1);
    // At least one side has to move.
    if unavailable == 0 && max_surge(set, nodes) == 0 { 1 } else { unavailable }
}

/// Pods to replace now. Their successors are made when they are gone, or before when a surge is allowed.
pub(super) fn decide(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    by_node: &ByNode,
    hash: &str,
    now: i64,
) -> Changes {
    let mut changes = Changes::default();
    if set.spec.update_strategy.type_ == "OnDelete" {
        return changes;
    }
    let (surge, mut room) = (max_surge(set, nodes), max_unavailable(set, nodes));
    let mut surging = 0;
    let available = |pod: &Pod| pods::is_available(pod, set.spec.min_ready_seconds, now);
    let (mut idle, mut serving, mut doubles) = (Vec::new(), Vec::new(), Vec::new());
    for node in nodes.iter().filter(|node| fits(set, node).0) {
        let here = by_node.get(&node.metadata.name).map_or(&[][..], |pods| &pods[..]);
        let live: Vec<&Arc<Pod>> =
            here.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        let is_new = |pod: &&&Arc<Pod>| pod.metadata.label(HASH_LABEL) == hash;
        let new = live.iter().find(is_new);
        let old = live.iter().find(|pod| !is_new(pod));
        match (old, new) {
            (Some(_), Some(_)) => surging += 1,
            (None, Some(new)) if available(new) => {}
            (None, _) => room -= 1,
            (Some(old), None) if !available(old) => {
                room -= 1;
                if surge == 0 { idle.push((*old).clone()) } else { doubles.push(node.metadata.name.clone()) }
            }
            (Some(old), None) => {
                if surge == 0 {
                    serving.push((*old).clone())
                } else {
                    doubles.push(node.metadata.name.clone())
                }
            }
        }
    }
    if surge > 0 {
        changes.create = doubles.into_iter().take((surge - surging).max(0) as usize).collect();
        return changes;
    }
    // Pods that do not serve cost nothing to replace.
    changes.delete = idle;
    changes.delete.extend(serving.into_iter().take(room.max(0) as usize));
    changes
}
