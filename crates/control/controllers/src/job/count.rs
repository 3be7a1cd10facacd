//! Counting pods that ended, each once.

use std::collections::HashSet;
use std::sync::Arc;

use meta::{List, Str};
use types::batch::v1::{Job, JobStatus};
use types::core::v1::Pod;

use super::indexes::{FAILURES, IGNORED_FAILURES, Indexes, failures, index_of};
use super::{finish, is_indexed, is_tracked};

/// How many ended, counted or about to be.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    /// Indexes that succeeded, of an Indexed Job.
    pub(super) completed: Indexes,
    /// Indexes that will not be tried again, where each index has a limit of its own.
    pub(super) failed_indexes: Option<Indexes>,
}

fn has_succeeded(pod: &Pod) -> bool {
    pod.status.phase == "Succeeded"
}

/// Whether the pod counts as failed: it failed, or is on its way out without having ended where only real ends are
/// waited for.
pub(super) fn has_failed(job: &Job, pod: &Pod) -> bool {
    let only_failed = job.spec.pod_replacement_policy.as_deref() == Some("Failed");
    pod.status.phase == "Failed"
        || (!only_failed && pod.metadata.deletion_timestamp.is_some() && !has_succeeded(pod))
}

/// Takes newly ended pods into `uncountedTerminatedPods`, and moves those whose finalizer is off into the counters.
pub(super) fn take(job: &Job, pods: &[Arc<Pod>], status: &mut JobStatus) -> Tally {
    let mut uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let held: HashSet<&Str> =
        pods.iter().filter(|pod| is_tracked(pod)).map(|pod| &pod.metadata.uid).collect();
    let counted = |list: &mut List<Str>| {
        let before = list.len();
        list.retain(|uid| held.contains(uid));
        (before - list.len()) as i32
    };
    status.succeeded += counted(&mut uncounted.succeeded);
    status.failed += counted(&mut uncounted.failed);

    let mut completed = Indexes::parse(&status.completed_indexes).below(job.spec.completions.unwrap_or(0));
    for pod in pods.iter().filter(|pod| is_tracked(pod)) {
        let uid = &pod.metadata.uid;
        if uncounted.succeeded.contains(uid) || uncounted.failed.contains(uid) {
            continue;
        }
        if has_succeeded(pod) {
            if is_indexed(job) {
                completed.extend(index_of(pod).filter(|index| *index < job.spec.completions.unwrap_or(0)));
            } else {
                uncounted.succeeded.push(uid.clone());
            }
        } else if has_failed(job, pod) && counts(job, pod) {
            uncounted.failed.push(uid.clone());
        }
    }
    let failed_indexes = job.spec.backoff_limit_per_index.filter(|_| is_indexed(job)).map(|limit| {
        let mut failed = Indexes::parse(status.failed_indexes.as_deref().unwrap_or_default());
        let lost = pods.iter().filter(|pod| has_failed(job, pod) && is_last_try(job, pod, limit));
        lost.for_each(|pod| failed.extend(index_of(pod)));
        failed.below(job.spec.completions.unwrap_or(0))
    });
    let tally = Tally {
        succeeded: if is_indexed(job) {
            completed.len() as i32
        } else {
            status.succeeded + uncounted.succeeded.len() as i32
        },
        failed: status.failed + uncounted.failed.len() as i32,
        completed,
        failed_indexes,
    };
    if is_indexed(job) {
        status.succeeded = tally.succeeded;
        status.completed_indexes = Str::from(tally.completed.to_string());
    }
    if let Some(failed) = &tally.failed_indexes {
        status.failed_indexes = Some(Str::from(failed.to_string()));
    }
    status.uncounted_terminated_pods = Some(uncounted);
    tally
}

/// Whether the failure of `pod` is counted: not where a policy ignores it, nor of an index that the Job has no longer.
fn counts(job: &Job, pod: &Pod) -> bool {
    let has_index = |index| index < job.spec.completions.unwrap_or(0);
    finish::counts(job, pod) && (!is_indexed(job) || index_of(pod).is_some_and(has_index))
}

/// Counts what still runs as failed, since the Job fails.
pub(super) fn give_up(job: &Job, pods: &[Arc<Pod>], status: &mut JobStatus) {
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    for pod in pods.iter().filter(|pod| is_tracked(pod) && !has_succeeded(pod) && counts(job, pod)) {
        if !uncounted.failed.contains(&pod.metadata.uid) {
            uncounted.failed.push(pod.metadata.uid.clone());
        }
    }
    status.uncounted_terminated_pods = Some(uncounted);
}

/// Whether the failure of `pod` is the end of its index.
fn is_last_try(job: &Job, pod: &Pod, limit: i32) -> bool {
    finish::fails_index(job, pod) || failures(pod, FAILURES) + i32::from(finish::counts(job, pod)) > limit
}

/// The last failed pod of an index that is to be tried again: its successor takes over the number of failures. Until
/// there is one, the pod must not go.
pub(super) fn last_failed<'a>(job: &Job, pods: &'a [Arc<Pod>], index: i32) -> Option<&'a Arc<Pod>> {
    let of_index = pods.iter().filter(|pod| index_of(pod) == Some(index) && has_failed(job, pod));
    of_index.max_by_key(|pod| {
        (
            failures(pod, FAILURES) + failures(pod, IGNORED_FAILURES),
            pod.metadata.creation_timestamp.map(|time| time.seconds),
        )
    })
}

/// Whether `pod` waits for a successor that knows of its failure.
fn awaits_successor(job: &Job, tally: &Tally, pods: &[Arc<Pod>], pod: &Arc<Pod>) -> bool {
    let (Some(failed), Some(index)) = (&tally.failed_indexes, index_of(pod)) else { return false };
    if !has_failed(job, pod) || failed.contains(index) || tally.completed.contains(index) {
        return false;
    }
    let tries = |pod: &Pod| failures(pod, FAILURES) + failures(pod, IGNORED_FAILURES);
    let succeeded = |other: &&Arc<Pod>| index_of(other) == Some(index) && tries(other) > tries(pod);
    !pods.iter().any(|other| succeeded(&other))
}

/// Pods whose finalizer may come off once `status` is stored: those that have ended, and all of them when the Job is at its
/// end, which is what `over` says.
pub(super) fn held(
    job: &Job,
    tally: &Tally,
    pods: &[Arc<Pod>],
    status: &JobStatus,
    over: bool,
) -> Vec<Arc<Pod>> {
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let ready = |pod: &&Arc<Pod>| {
        let uid = &pod.metadata.uid;
        let has_ended = || {
            uncounted.succeeded.contains(uid)
                || uncounted.failed.contains(uid)
                || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
        };
        is_tracked(pod) && (over || (has_ended() && !awaits_successor(job, tally, pods, pod)))
    };
    pods.iter().filter(ready).cloned().collect()
}
