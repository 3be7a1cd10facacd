//! Which pods are made and which end, one at a time or all at once as the set asks.

use std::cmp::Reverse;
use std::sync::Arc;

use meta::Str;
use types::apps::v1::StatefulSet;
use types::core::v1::{Pod, PodTemplateSpec};

use super::identity;
use crate::common::numbers::scaled;
use crate::common::pods;
use crate::common::revisions::HASH_LABEL;

/// The two revisions that a set can be between.
pub(super) struct Templates {
    pub(super) current_name: Str,
    /// `None` when it is the present one.
    pub(super) current: Option<Box<PodTemplateSpec>>,
    pub(super) update_name: Str,
}

/// What to do.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// uids of pods beyond the wanted number.
    pub(super) condemned: Vec<Str>,
}

fn is_healthy(set: &StatefulSet, pod: &Pod, now: i64) -> bool {
    pod.status.phase == "Running"
        && pod.metadata.deletion_timestamp.is_none()
        && pods::is_available(pod, set.spec.min_ready_seconds, now)
}

pub(super) fn decide(set: &StatefulSet, owned: &[Arc<Pod>], templates: &Templates, now: i64) -> Changes {
    let mut changes = Changes::default();
    let (first, wanted) = (identity::start(set), set.spec.replicas.unwrap_or(1));
    let in_range = |ordinal: i32| ordinal >= first && ordinal < first + wanted;
    let at = |ordinal: i32| owned.iter().find(|pod| identity::ordinal(set, pod) == Some(ordinal));
    let mut condemned: Vec<&Arc<Pod>> = owned
        .iter()
        .filter(|pod| identity::ordinal(set, pod).is_some_and(|ordinal| !in_range(ordinal)))
        .collect();
    condemned.sort_by_key(|pod| Reverse(identity::ordinal(set, pod)));
    changes.condemned = condemned.iter().map(|pod| pod.metadata.uid.clone()).collect();
    if set.metadata.deletion_timestamp.is_some() {
        return changes;
    }
    let in_order = set.spec.pod_management_policy != "Parallel";
    for ordinal in first..first + wanted {
        let Some(pod) = at(ordinal) else {
            changes.create.push(new_pod(set, ordinal, templates));
            if in_order {
                return changes;
            }
            continue;
        };
        if pods::is_finished(pod) {
            if pod.metadata.deletion_timestamp.is_none() {
                changes.delete.push(pod.clone());
            }
            if in_order {
                return changes;
            }
            continue;
        }
        // The next one waits until this one serves.
        if in_order && !is_healthy(set, pod, now) {
            return changes;
        }
    }
    let sick = |pod: &Pod| !is_healthy(set, pod, now);
    let first_sick = (first..first + wanted)
        .filter_map(at)
        .chain(condemned.iter().rev().copied())
        .find(|pod| sick(pod))
        .map(|pod| pod.metadata.uid.clone());
    for pod in condemned {
        if pod.metadata.deletion_timestamp.is_some() {
            if in_order {
                return changes;
            }
            continue;
        }
        // In order nothing is taken away while another one is sick.
        if in_order && first_sick.as_ref().is_some_and(|uid| *uid != pod.metadata.uid) {
            return changes;
        }
        changes.delete.push(pod.clone());
        if in_order {
            return changes;
        }
    }
    if set.spec.update_strategy.type_ != "OnDelete" && changes.create.is_empty() && changes.delete.is_empty()
    {
        roll(set, templates, first, wanted, at, now, &mut changes);
    }
    changes
}

/// Replaces pods of old revisions from the highest ordinal down to the partition.
fn roll<'a>(
    set: &StatefulSet,
    templates: &Templates,
    first: i32,
    wanted: i32,
    at: impl Fn(i32) -> Option<&'a Arc<Pod>>,
    now: i64,
    changes: &mut Changes,
) {
    let rolling = set.spec.update_strategy.rolling_update.as_deref();
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    let allowed = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let allowed = allowed.and_then(|value| scaled(value, wanted, true)).unwrap_or(1).max(1) as usize;
    let mut down = (first..first + wanted).filter_map(&at).filter(|pod| !is_healthy(set, pod, now)).count();
    for ordinal in (first + partition..first + wanted).rev() {
        let Some(pod) = at(ordinal) else { continue };
        let old = pod.metadata.label(HASH_LABEL) != templates.update_name.as_str();
        let healthy = is_healthy(set, pod, now);
        if old && pod.metadata.deletion_timestamp.is_none() {
            // One that does not serve costs nothing more.
            if healthy && down >= allowed {
                return;
            }
            down += usize::from(healthy);
            changes.delete.push(pod.clone());
            if down >= allowed {
                return;
            }
        } else if !healthy && down >= allowed {
            return;
        }
    }
}

/// Whether a new pod with this ordinal is to be of the current revision and not of the one rolled to.
pub(super) fn is_of_current(set: &StatefulSet, ordinal: i32) -> bool {
    let first = identity::start(set);
    if set.spec.update_strategy.type_ == "OnDelete" {
        return false;
    }
    match set.spec.update_strategy.rolling_update.as_deref().and_then(|rolling| rolling.partition) {
        None => ordinal < first + set.status.current_replicas,
        Some(partition) => ordinal < first + partition,
    }
}

fn new_pod(set: &StatefulSet, ordinal: i32, templates: &Templates) -> Pod {
    match &templates.current {
        Some(current) if is_of_current(set, ordinal) => {
            identity::pod(set, ordinal, current, &templates.current_name)
        }
        _ => identity::pod(set, ordinal, &set.spec.template, &templates.update_name),
    }
}
