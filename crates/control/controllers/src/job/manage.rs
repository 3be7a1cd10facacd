//! Which pods a Job makes and deletes.

use std::collections::BTreeSet;
use std::sync::Arc;

use meta::{Str, Time};
use reconcile::{Note, Write};
use types::batch::v1::Job;
use types::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::backoff::{doubled, ended};
use super::count::{self, Tally};
use super::finish;
use super::indexes::{FAILURES, IGNORED_FAILURES, INDEX, failures, index_of};
use super::{TRACKING, is_indexed, is_suspended, metrics};
use crate::common::owners::controller_ref;
use crate::common::{pods, rank};

/// Most pods created in one go, as upstream.
const BURST: usize = 500;

/// What to do.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) create: Vec<Write>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Seconds after which more pods may be made.
    pub(super) wait_seconds: Option<i64>,
}

/// Decides how many pods should run; `pause` is the seconds to wait after failures.
#[expect(clippy::too_many_arguments, reason = "one look at a Job, which tests make up")]
pub(super) fn decide(
    job: &Job,
    tally: &Tally,
    active: &[Arc<Pod>],
    terminating: usize,
    all: &[Arc<Pod>],
    ending: bool,
    pause: i64,
    now: Time,
) -> Changes {
    let mut changes = Changes::default();
    let parallelism = job.spec.parallelism.unwrap_or(1).max(0) as usize;
    let wanted = if ending || is_suspended(job) {
        0
    } else {
        match job.spec.completions {
            // After the first success those that run may end, and no more come.
            None if tally.succeeded > 0 => active.len(),
            None => parallelism,
            Some(completions) => {
                let lost = tally.failed_indexes.as_ref().map_or(0, |failed| failed.len() as i32);
                ((completions - tally.succeeded - lost).max(0) as usize).min(parallelism)
            }
        }
    };
    let is_over = |index: i32| {
        index >= job.spec.completions.unwrap_or(0)
            || tally.completed.contains(index)
            || tally.failed_indexes.as_ref().is_some_and(|failed| failed.contains(index))
    };
    // Of an Indexed Job no two pods may have one index, and none an index that is over.
    let mut taken = BTreeSet::new();
    let mut surplus: Vec<Arc<Pod>> = Vec::new();
    let mut kept: Vec<Arc<Pod>> = Vec::new();
    for pod in active {
        let useless =
            is_indexed(job) && index_of(pod).is_none_or(|index| is_over(index) || !taken.insert(index));
        if useless { surplus.push(pod.clone()) } else { kept.push(pod.clone()) }
    }
    if kept.len() > wanted {
        let too_many = kept.len() - wanted;
        rank::sort(&mut kept, active, now.seconds);
        surplus.extend(kept.drain(..too_many));
    }
    changes.delete = surplus;
    if !changes.delete.is_empty() {
        return changes;
    }
    // Where only failed pods are replaced, those on their way out still hold their places.
    let holding = if job.spec.pod_replacement_policy.as_deref() == Some("Failed") { terminating } else { 0 };
    let missing = wanted.saturating_sub(kept.len() + holding).min(BURST);
    if missing == 0 {
        return changes;
    }
    let create = |index, last: Option<&Pod>| {
        create(job, index, last, metrics::creation(job, tally.failed, terminating))
    };
    let free =
        (0..job.spec.completions.unwrap_or(0)).filter(|index| !taken.contains(index) && !is_over(*index));
    if tally.failed_indexes.is_some() {
        retry_each(job, all, free, missing, now, create, &mut changes);
        return changes;
    }
    if pause > 0 {
        changes.wait_seconds = Some(pause);
        return changes;
    }
    changes.create = if is_indexed(job) {
        free.take(missing).map(|index| create(Some(index), None)).collect()
    } else {
        (0..missing).map(|_| create(None, None)).collect()
    };
    changes
}

/// Starts or starts again the indexes whose own pause is over.
fn retry_each(
    job: &Job,
    all: &[Arc<Pod>],
    free: impl Iterator<Item = i32>,
    missing: usize,
    now: Time,
    create: impl Fn(Option<i32>, Option<&Pod>) -> Write,
    changes: &mut Changes,
) {
    for index in free {
        if changes.create.len() >= missing {
            return;
        }
        let last = count::last_failed(job, all, index);
        let pause = last.map_or(0, |pod| {
            let before = failures(pod, FAILURES) + failures(pod, IGNORED_FAILURES);
            ended(pod, now) + doubled(before) - now.seconds
        });
        if pause > 0 {
            changes.wait_seconds = Some(changes.wait_seconds.map_or(pause, |have| have.min(pause)));
        } else {
            changes.create.push(create(Some(index), last.map(|pod| &**pod)));
        }
    }
}

/// A new pod; `last` is the failed pod of its index whose failures it inherits. `count` is told whether it was made.
fn create(
    job: &Job,
    index: Option<i32>,
    last: Option<&Pod>,
    count: impl FnOnce(bool) + Send + 'static,
) -> Write {
    let mut pod = pods::from_template(&job.spec.template, &job.metadata, controller_ref(job));
    pod.metadata.finalizers.push(TRACKING.into());
    if let Some(index) = index {
        let text = Str::from(index.to_string());
        pod.metadata.generate_name = Str::from(format!("{}-{index}-", job.metadata.name));
        pod.metadata.annotations.insert(INDEX, text.clone());
        pod.metadata.labels.insert(INDEX, text);
        if job.spec.backoff_limit_per_index.is_some() {
            let counts = last.is_some_and(|last| finish::counts(job, last));
            let before = |annotation| last.map_or(0, |last| failures(last, annotation));
            let counted = before(FAILURES) + i32::from(counts);
            let ignored = before(IGNORED_FAILURES) + i32::from(last.is_some() && !counts);
            pod.metadata.annotations.insert(FAILURES, Str::from(counted.to_string()));
            if ignored > 0 {
                pod.metadata.annotations.insert(IGNORED_FAILURES, Str::from(ignored.to_string()));
            }
        }
        pod.spec.hostname = Str::from(format!("{}-{index}", job.metadata.name));
        for container in pod.spec.init_containers.iter_mut().chain(pod.spec.containers.iter_mut()) {
            if !container.env.iter().any(|known| known.name == "JOB_COMPLETION_INDEX") {
                container.env.push(index_variable());
            }
        }
    }
    let (created, refused) = (job.clone(), job.clone());
    Write::create(pod)
        .on_success(move |pod| {
            Some(Note::normal(&created, "SuccessfulCreate", format!("Created pod: {}", pod?.meta().name)))
        })
        .on_failure(move |status| {
            Some(Note::warning(&refused, "FailedCreate", format!("Error creating: {}", status.message)))
        })
        .measured(move |refusal| count(refusal.is_none()))
}

fn index_variable() -> EnvVar {
    let field = ObjectFieldSelector {
        field_path: format!("metadata.labels['{INDEX}']").into(),
        ..Default::default()
    };
    EnvVar {
        name: "JOB_COMPLETION_INDEX".into(),
        value_from: Some(Box::new(EnvVarSource {
            field_ref: Some(Box::new(field)),
            ..EnvVarSource::default()
        })),
        ..EnvVar::default()
    }
}

/// Deletes a pod.
pub(super) fn delete(job: &Job, pod: &Pod) -> Write {
    let (deleted, refused, name) = (job.clone(), job.clone(), pod.metadata.name.clone());
    Write::delete(pod)
        .on_success(move |_| Some(Note::normal(&deleted, "SuccessfulDelete", format!("Deleted pod: {name}"))))
        .on_failure(move |status| {
            Some(Note::warning(&refused, "FailedDelete", format!("Error deleting: {}", status.message)))
        })
}
