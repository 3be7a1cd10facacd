//! How long a Job waits after failures before it makes more pods.
//!
//! Failures since the last success count, those of pods that are gone by now as well: the controller remembers
//! them. After its own restart it knows of the pods that are still there. Pods that the Job deleted itself have lost their
//! finalizer and have not failed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use informer::Key;
use meta::{Str, Time};
use parking_lot::Mutex;
use types::batch::v1::Job;
use types::core::v1::{ContainerStatus, Pod};

use super::count::has_failed;
use super::is_tracked;
use crate::common::pods;

/// Pause after the first failure; it doubles with each further one, up to the maximum.
const PAUSE_SECONDS: i64 = 10;
const PAUSE_MAX_SECONDS: i64 = 600;

/// What is remembered of all Jobs that have not ended.
#[derive(Default)]
pub(super) struct Backoffs(Mutex<HashMap<Key, Record>>);

#[derive(Default)]
struct Record {
    /// Of the Job, which may be another one of the same name.
    uid: Str,
    /// Since the last success.
    failures: i32,
    last_failure: Option<i64>,
    /// Pods that are reckoned in and still there.
    seen: HashSet<Str>,
}

impl Backoffs {
    /// Seconds to wait before a Job with these pods may make more, given all that it had.
    pub(super) fn pause(&self, key: &Key, job: &Job, pods: &[Arc<Pod>], now: Time) -> i64 {
        let mut all = self.0.lock();
        let record = all.entry(key.clone()).or_default();
        if record.uid != job.metadata.uid {
            *record = Record { uid: job.metadata.uid.clone(), ..Record::default() };
        }
        record.look(job, pods, now);
        match record.last_failure {
            Some(last) if record.failures > 0 => last + doubled(record.failures - 1) - now.seconds,
            _ => 0,
        }
    }

    /// The Job has ended or is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

impl Record {
    fn look(&mut self, job: &Job, pods: &[Arc<Pod>], now: Time) {
        let fresh = |pod: &&Arc<Pod>| !self.seen.contains(&pod.metadata.uid);
        let has_succeeded = |pod: &&Arc<Pod>| pod.status.phase == "Succeeded";
        let success = pods.iter().filter(has_succeeded).filter(fresh).map(|pod| ended(pod, now)).max();
        let has_failed =
            |pod: &&Arc<Pod>| has_failed(job, pod) && (is_tracked(pod) || pod.status.phase == "Failed");
        let failed: Vec<i64> =
            pods.iter().filter(has_failed).filter(fresh).map(|pod| ended(pod, now)).collect();
        if success.is_some() {
            (self.failures, self.last_failure) = (0, None);
        }
        let failed = failed.into_iter().filter(|end| success.is_none_or(|success| *end > success));
        for end in failed {
            self.failures += 1;
            self.last_failure = self.last_failure.max(Some(end));
        }
        let over = pods.iter().filter(|pod| has_succeeded(pod) || has_failed(pod));
        self.seen = over.map(|pod| pod.metadata.uid.clone()).collect();
    }
}

/// The pause after so many failures before the last one.
pub(super) fn doubled(failures: i32) -> i64 {
    PAUSE_SECONDS.saturating_mul(1 << failures.clamp(0, 16)).min(PAUSE_MAX_SECONDS)
}

/// When `pod` ended: its last container, or else when it was not ready any more, or began to go.
pub(super) fn ended(pod: &Pod, now: Time) -> i64 {
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    let unready = || {
        let ready = pods::condition(pod, "Ready").filter(|condition| condition.status == "False")?;
        ready.last_transition_time.map(|time| time.seconds)
    };
    let going = || pod.metadata.deletion_timestamp.map(|time| time.seconds - grace);
    last_end(pod)
        .or_else(unready)
        .or_else(going)
        .or(pod.metadata.creation_timestamp.map(|time| time.seconds))
        .unwrap_or(now.seconds)
}

/// When the last container ended, once all have, sidecars included.
fn last_end(pod: &Pod) -> Option<i64> {
    let is_sidecar = |status: &&ContainerStatus| {
        let always =
            |container: &&types::core::v1::Container| container.restart_policy.as_deref() == Some("Always");
        pod.spec.init_containers.iter().filter(always).any(|container| container.name == status.name)
    };
    let sidecars = pod.status.init_container_statuses.iter().filter(is_sidecar);
    let mut last = None;
    for status in pod.status.container_statuses.iter().chain(sidecars) {
        last = last.max(Some(status.state.terminated.as_ref()?.finished_at?.seconds));
    }
    last
}
