//! What becomes of Jobs and their pods, under upstream's names.

use std::sync::LazyLock;
use std::time::Instant;

use informer::Change;
use telemetry::{Counter, CounterFamily, Histogram, HistogramFamily};
use types::batch::v1::{Job, JobStatus};
use types::core::v1::Pod;

use super::indexes::Indexes;
use super::{finish, is_finished, is_indexed, is_tracked};

static SYNCS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Looks at Jobs, by what was done and how it ended.";
    telemetry::counter("job_controller_job_syncs_total", help, &["action", "completion_mode", "result"])
});
static SYNC_SECONDS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.004, 2.0, 15);
    let help = "Seconds that looks at Jobs take, with all that is written.";
    let labels = &["action", "completion_mode", "result"];
    telemetry::histogram("job_controller_job_sync_duration_seconds", help, labels, &limits)
});
static FINISHED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Jobs that ended, and why.";
    telemetry::counter("job_controller_jobs_finished_total", help, &["completion_mode", "reason", "result"])
});
static PODS_FINISHED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Pods of Jobs whose end was counted.";
    telemetry::counter("job_controller_job_pods_finished_total", help, &["completion_mode", "result"])
});
static INDEXES_FINISHED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Indexes that ended, by whether each has a limit of its own.";
    telemetry::counter("job_controller_job_finished_indexes_total", help, &["backoffLimit", "status"])
});
static PODS_CREATED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Pods that were made for Jobs, and why.";
    telemetry::counter("job_controller_job_pods_creation_total", help, &["reason", "status"])
});
static BY_POLICY: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Failed pods that a rule of the Job's failure policy is about, by what the rule does.";
    telemetry::counter("job_controller_pod_failures_handled_by_failure_policy_total", help, &["action"])
});
static TRACKED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Ended pods that came to have, or lost, the finalizer that has their end counted.";
    telemetry::counter("job_controller_terminated_pods_tracking_finalizer_total", help, &["event"])
});
static DELETED_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.1, 2.0, 14);
    let help = "Seconds from the moment in which a Job may go until it was deleted.";
    let name = "ttl_after_finished_controller_job_deletion_duration_seconds";
    telemetry::histogram(name, help, &[], &limits).with(&[])
});

fn mode(job: &Job) -> &'static str {
    if is_indexed(job) { "Indexed" } else { "NonIndexed" }
}

/// A look at a Job, from its beginning to the last write.
pub(super) struct Look {
    mode: &'static str,
    action: &'static str,
    begun: Instant,
}

impl Look {
    /// `begun` is when the look began.
    pub(super) fn new(job: &Job, begun: Instant, created: usize, deleted: usize) -> Look {
        let action = match (created, deleted) {
            (0, 0) => "tracking",
            (0, _) => "pods_deleted",
            _ => "pods_created",
        };
        Look { mode: mode(job), action, begun }
    }

    /// It is over.
    pub(super) fn end(self, good: bool) {
        let labels = [self.action, self.mode, if good { "success" } else { "error" }];
        SYNCS.with(&labels).inc();
        SYNC_SECONDS.with(&labels).observe_since(self.begun);
    }
}

/// What the status of `told` tells that `before` did not: counted once the status is stored.
pub(super) fn told(told: &Job, before: &JobStatus) -> impl FnOnce() + Send + 'static {
    let (now, mode) = (&told.status, mode(told));
    let more = |now: i32, before: i32| u64::try_from(now - before).unwrap_or(0);
    let pods =
        [("succeeded", more(now.succeeded, before.succeeded)), ("failed", more(now.failed, before.failed))];
    let count = |text: &str| Indexes::parse(text).len() as i32;
    let failed = |status: &JobStatus| count(status.failed_indexes.as_deref().unwrap_or_default());
    let indexes = [
        ("succeeded", more(count(&now.completed_indexes), count(&before.completed_indexes))),
        ("failed", more(failed(now), failed(before))),
    ];
    let limit = if told.spec.backoff_limit_per_index.is_some() { "perIndex" } else { "global" };
    let was = Job { status: before.clone(), ..Job::default() };
    let end = (is_finished(told) && !is_finished(&was)).then(|| {
        let success = super::condition(told, "Complete");
        let reason = success.or(super::condition(told, "Failed")).map(|end| end.reason.clone());
        (if success.is_some() { "succeeded" } else { "failed" }, reason.unwrap_or_default())
    });
    move || {
        for (result, more) in pods.into_iter().filter(|(_, more)| *more > 0) {
            PODS_FINISHED.with(&[mode, result]).add(more);
        }
        for (status, more) in indexes.into_iter().filter(|(_, more)| *more > 0) {
            INDEXES_FINISHED.with(&[limit, status]).add(more);
        }
        if let Some((result, reason)) = end {
            FINISHED.with(&[mode, &reason, result]).inc();
        }
    }
}

/// A pod is made, or not, since `failed` pods failed before and `terminating` ones are on their way out.
pub(super) fn creation(job: &Job, failed: i32, terminating: usize) -> impl FnOnce(bool) + Send + 'static {
    let only_failed = job.spec.pod_replacement_policy.as_deref() == Some("Failed");
    let reason = match (only_failed, failed > 0) {
        (true, true) => "recreate_failed",
        (false, again) if again || terminating > 0 => "recreate_terminating_or_failed",
        _ => "new",
    };
    move |good| PODS_CREATED.with(&[reason, if good { "succeeded" } else { "failed" }]).inc()
}

/// What a rule of the failure policy made of the pod's end, counted when the pod is let go.
pub(super) fn handled(job: &Job, pod: &Pod) -> Option<Counter> {
    finish::action(job, pod).map(|action| BY_POLICY.with(&[action]))
}

/// A pod changed.
pub(super) fn follow(change: &Change<Pod>) {
    let waits = |pod: &Pod| is_tracked(pod) && matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    let (before, now) = match change {
        Change::Added(pod) => (false, waits(pod)),
        Change::Updated { old, new } => (waits(old), waits(new)),
        Change::Deleted(pod) => (waits(pod), false),
    };
    match (before, now) {
        (false, true) => TRACKED.with(&["add"]).inc(),
        (true, false) => TRACKED.with(&["delete"]).inc(),
        _ => {}
    }
}

/// A Job was deleted this long after the moment from which on it might go.
pub(super) fn deleted(seconds: f64) {
    DELETED_SECONDS.observe(seconds);
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::batch::v1::JobCondition;

    #[test]
    fn an_end_is_counted_once_with_what_led_to_it() {
        let mut job = Job::default();
        job.spec.completion_mode = Some("Indexed".into());
        job.spec.backoff_limit_per_index = Some(0);
        let before = job.status.clone();
        job.status.succeeded = 3;
        job.status.completed_indexes = "0,2-3".into();
        job.status.failed_indexes = Some("1".into());
        job.status.failed = 1;
        let condition = |type_: &str| JobCondition {
            type_: type_.into(),
            status: "True".into(),
            reason: "FailedIndexes".into(),
            ..JobCondition::default()
        };
        job.status.conditions.push(condition("FailureTarget"));
        let middle = job.status.clone();
        told(&job, &before)();
        job.status.conditions.push(condition("Failed"));
        told(&job, &middle)();
        told(&job, &job.status)();
        let page = telemetry::render();
        for line in [
            "job_controller_job_pods_finished_total{completion_mode=\"Indexed\",result=\"succeeded\"} 3",
            "job_controller_job_pods_finished_total{completion_mode=\"Indexed\",result=\"failed\"} 1",
            "job_controller_job_finished_indexes_total{backoffLimit=\"perIndex\",status=\"succeeded\"} 3",
            "job_controller_job_finished_indexes_total{backoffLimit=\"perIndex\",status=\"failed\"} 1",
            "job_controller_jobs_finished_total{completion_mode=\"Indexed\",reason=\"FailedIndexes\",result=\"failed\"} 1",
        ] {
            assert!(page.lines().any(|known| known == line), "{line} in {page}");
        }
    }
}
