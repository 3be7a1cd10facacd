//! The recorded state of a set.

use std::sync::Arc;

use meta::{Object, Status, Str, Time};
use types::core::v1::Pod;

use super::set::{Replicated, Set};
use crate::common::pods;

/// How many pods there are of each sort.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counts {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    /// `None` for kinds that do not tell.
    pub(crate) terminating: Option<i32>,
    pub(crate) observed_generation: i64,
}

/// Trouble with creating or deleting pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) reason: Str,
    pub(crate) message: Str,
    pub(crate) since: Option<Time>,
}

impl Failure {
    pub(crate) const TYPE: &'static str = "ReplicaFailure";
}

pub(crate) fn count(set: &Set, active: &[Arc<Pod>], terminating: usize, now: i64) -> Counts {
    let number = |keep: &dyn Fn(&Pod) -> bool| active.iter().filter(|pod| keep(pod)).count() as i32;
    Counts {
        replicas: active.len() as i32,
        fully_labeled: number(&|pod| pods::is_fully_labeled(pod, &set.template.metadata)),
        ready: number(&pods::is_ready),
        available: number(&|pod| pods::is_available(pod, set.min_ready_seconds, now)),
        terminating: Some(terminating as i32),
        observed_generation: 0,
    }
}

/// The object with its new state, `None` when that is what is recorded.
pub(crate) fn update<K: Replicated>(
    object: &K,
    counts: &Counts,
    difference: i64,
    error: Option<&Status>,
    now: Time,
) -> Option<K> {
    let known = object.failure();
    let known_counts = object.counts();
    let failure = match (error, known.clone()) {
        // The first trouble stays until it is over, so that its time and text do not change all the while.
        (Some(_), Some(known)) => Some(known),
        (Some(error), None) => Some(Failure {
            reason: if difference < 0 { "FailedCreate".into() } else { "FailedDelete".into() },
            message: error.message.clone(),
            since: Some(now),
        }),
        (None, _) => None,
    };
    let counts = Counts {
        observed_generation: object.meta().generation,
        // Kinds without the field report it neither way.
        terminating: if K::KIND == "ReplicaSet" { counts.terminating } else { None },
        ..counts.clone()
    };
    (counts != known_counts || failure != known).then(|| object.with_status(&counts, failure))
}

/// Seconds until the next ready pod becomes available by age alone.
pub(crate) fn next_available(set: &Set, active: &[Arc<Pod>], now: i64) -> Option<i64> {
    let waits = active.iter().filter_map(|pod| pods::seconds_to_available(pod, set.min_ready_seconds, now));
    waits.filter(|seconds| *seconds > 0).min()
}
