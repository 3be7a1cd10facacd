//! Counting pods that ended, each once.

use std::collections::HashSet;
use std::sync::Arc;

use meta::{List, Str};
use types::batch::v1::{Job, JobStatus};
use types::core::v1::Pod;

use super::indexes::{Indexes, index_of};
use super::{finish, is_indexed, is_tracked};

/// How many ended, counted or about to be.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    /// Indexes that succeeded, of an Indexed Job.
    pub(super) completed: Indexes,
}

fn has_succeeded(pod: &Pod) -> bool {
    pod.status.phase == "Succeeded"
}

/// Whether the pod counts as failed: it failed, or is on its way out without having ended where only real ends are
/// waited for.
fn has_failed(job: &Job, pod: &Pod) -> bool {
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

    let mut completed = Indexes::parse(&status.completed_indexes);
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
        } else if has_failed(job, pod) && finish::counts(job, pod) {
            uncounted.failed.push(uid.clone());
        }
    }
    let tally = Tally {
        succeeded: if is_indexed(job) {
            completed.len() as i32
        } else {
            status.succeeded + uncounted.succeeded.len() as i32
        },
        failed: status.failed + uncounted.failed.len() as i32,
        completed,
    };
    if is_indexed(job) {
        status.succeeded = tally.succeeded;
        status.completed_indexes = Str::from(tally.completed.to_string());
    }
    status.uncounted_terminated_pods = Some(uncounted);
    tally
}

/// Ended pods whose finalizer may come off once `status` is stored.
pub(super) fn held(pods: &[Arc<Pod>], status: &JobStatus) -> Vec<Arc<Pod>> {
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let ready = |pod: &&Arc<Pod>| {
        let uid = &pod.metadata.uid;
        is_tracked(pod)
            && (uncounted.succeeded.contains(uid)
                || uncounted.failed.contains(uid)
                || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"))
    };
    pods.iter().filter(ready).cloned().collect()
}
