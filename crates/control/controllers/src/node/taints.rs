//! Which taints the conditions of a node call for.

use meta::{List, Time};
use types::core::v1::{Node, Taint};

use super::condition;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(super) const NO_SCHEDULE: &str = "NoSchedule";
pub(super) const NO_EXECUTE: &str = "NoExecute";

/// Condition, its status, and the taint that it calls for.
const TABLE: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The node's taints with those of effect NoSchedule that conditions call for, and without those that they do not.
pub(super) fn no_schedule(node: &Node, now: Time) -> List<Taint> {
    let mut wanted: Vec<&str> = TABLE
        .iter()
        .filter(|(type_, status, _)| condition(node, type_) == *status)
        .map(|(_, _, key)| *key)
        .collect();
    if node.spec.unschedulable {
        wanted.push(UNSCHEDULABLE);
    }
    let managed = |taint: &Taint| {
        taint.effect == NO_SCHEDULE
            && (taint.key == UNSCHEDULABLE || TABLE.iter().any(|(_, _, key)| taint.key == *key))
    };
    with(&node.spec.taints, managed, &wanted, NO_SCHEDULE, now)
}

/// Whether the node has one of the two that evict.
pub(super) fn evicts(node: &Node) -> bool {
    let ours = |taint: &Taint| taint.key == NOT_READY || taint.key == UNREACHABLE;
    node.spec.taints.iter().any(|taint| taint.effect == NO_EXECUTE && ours(taint))
}

/// The node's taints with exactly `wanted` (or none) of the two that evict.
pub(super) fn no_execute(taints: &List<Taint>, wanted: Option<&str>, now: Time) -> List<Taint> {
    let managed =
        |taint: &Taint| taint.effect == NO_EXECUTE && (taint.key == NOT_READY || taint.key == UNREACHABLE);
    with(taints, managed, wanted.as_slice(), NO_EXECUTE, now)
}

fn with(
    taints: &List<Taint>,
    managed: impl Fn(&Taint) -> bool,
    wanted: &[&str],
    effect: &str,
    now: Time,
) -> List<Taint> {
    let mut result: List<Taint> = taints
        .iter()
        .filter(|taint| !managed(taint) || wanted.contains(&taint.key.as_str()))
        .cloned()
        .collect();
    for key in wanted {
        if !result.iter().any(|taint| taint.key == *key && taint.effect == effect) {
            result.push(Taint {
                key: (*key).into(),
                effect: effect.into(),
                time_added: Some(now),
                ..Taint::default()
            });
        }
    }
    result
}
