//! Which pods a workload gives up first when it shrinks.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use meta::Str;
use types::core::v1::{ContainerStatus, Pod};

use super::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts so that the pods to give up come first. `related` are the pods of the same workload that share nodes with them:
/// of doubled-up pods the most crowded goes first. Ages are compared by powers of two, so that the victims spread.
pub(crate) fn sort(victims: &mut [Arc<Pod>], related: &[Arc<Pod>], now: i64) {
    let mut crowd: HashMap<&Str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *crowd.entry(&pod.spec.node_name).or_default() += 1;
    }
    let rank = |pod: &Pod| crowd.get(&pod.spec.node_name).copied().unwrap_or(0);
    victims.sort_by(|a, b| compare(a, b, rank(a), rank(b), now));
}

fn compare(a: &Pod, b: &Pod, crowd_a: usize, crowd_b: usize, now: i64) -> Ordering {
    let assigned = |pod: &Pod| !pod.spec.node_name.is_empty();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| crowd_b.cmp(&crowd_a))
        .then_with(|| {
            match (pods::is_ready(a) && pods::is_ready(b)).then(|| (ready_since(a), ready_since(b))) {
                Some((since_a, since_b)) => age(since_a, now).cmp(&age(since_b, now)),
                None => Ordering::Equal,
            }
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| age(created(a), now).cmp(&age(created(b), now)))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn phase(pod: &Pod) -> u8 {
    match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn cost(pod: &Pod) -> i32 {
    pod.metadata.annotations.get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<i64> {
    pods::condition(pod, "Ready").and_then(|ready| ready.last_transition_time).map(|time| time.seconds)
}

fn created(pod: &Pod) -> Option<i64> {
    pod.metadata.creation_timestamp.map(|time| time.seconds)
}

/// The power of two of an age; an unknown time counts as youngest.
fn age(since: Option<i64>, now: i64) -> i64 {
    since.map_or(-1, |since| i64::from((now - since).max(1).ilog2()))
}

/// Restarts of the main containers, then those of restartable init containers.
fn restarts(pod: &Pod) -> (i32, i32) {
    let most = |list: &[ContainerStatus]| list.iter().map(|status| status.restart_count).max().unwrap_or(0);
    (most(&pod.status.container_statuses), most(&pod.status.init_container_statuses))
}

/// Orders by creation, oldest first, then by name.
pub(crate) fn oldest_first(meta: &meta::ObjectMeta) -> (Option<i64>, Str) {
    (meta.creation_timestamp.map(|time| time.seconds), meta.name.clone())
}
