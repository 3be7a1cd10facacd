//! Jobs: pods that run to their end, counted exactly once.
//!
//! A pod of a Job carries a finalizer until its end is counted, so that deleting it cannot lose the count. Counting takes
//! three steps, each of which survives a crash: the uid goes into `uncountedTerminatedPods`, the finalizer comes off,
//! the uid moves into the counter ([`count`]). [`manage`] makes and deletes pods, [`finish`] decides about the end.

mod backoff;
mod count;
mod finish;
mod indexes;
mod manage;
mod metrics;
#[cfg(test)]
mod tests;
mod ttl;

use std::sync::Arc;
use std::time::{Duration, Instant};

use call::PatchKind;
use informer::Key;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use serde_json::json;
use types::batch::v1::{Job, JobCondition};
use types::core::v1::Pod;

use crate::common::claim::{Claimant, claim, concerned};
use crate::common::owners::{controller_of, controller_ref};
use crate::common::pods;
use crate::common::selector::selects;
use crate::replicas::after;

pub(crate) use ttl::start as start_ttl;

/// Finalizer of pods whose end is not counted yet. A pod that no Job controls any more has nobody to count it, so it comes
/// off; such a pod is looked at by its own name.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("job", "job-controller", context.clone(), Jobs::default())
        .of::<Job>()
        .on::<Pod>(|pod, world| {
            let mut keys =
                concerned(pod, world, |job: &Job, labels| selects(job.spec.selector.as_deref(), labels));
            keys.extend(is_orphan(pod).then(|| Key::of(pod)));
            keys
        })
        .on_change::<Pod>(|change, _| {
            metrics::follow(change);
            Vec::new()
        })
        .start()
}

fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a JobCondition> {
    job.status.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn is_finished(job: &Job) -> bool {
    condition(job, "Complete").is_some() || condition(job, "Failed").is_some()
}

fn is_suspended(job: &Job) -> bool {
    job.spec.suspend == Some(true)
}

fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode.as_deref() == Some("Indexed")
}

fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|finalizer| finalizer == TRACKING)
}

/// Whether the pod waits to be counted by nobody.
fn is_orphan(pod: &Pod) -> bool {
    is_tracked(pod) && controller_of(&pod.metadata).is_none()
}

/// Takes off the finalizer that holds the pod, whatever else was written meanwhile.
fn untracked(pod: &Pod) -> Write {
    let (namespace, name, uid) = (&pod.metadata.namespace, &pod.metadata.name, pod.metadata.uid.as_str());
    let freed = json!({ "metadata": { "uid": uid, "$deleteFromPrimitiveList/finalizers": [TRACKING] } });
    let freed = freed.to_string().into();
    Write::patch::<Pod>(namespace, name, "", PatchKind::Strategic, freed).ignore(404)
}

/// The same of a pod whose end `job` has counted.
fn counted(job: &Job, pod: &Pod) -> Write {
    let handled = metrics::handled(job, pod);
    untracked(pod).measured(move |refusal| {
        if let Some(handled) = handled.filter(|_| refusal.is_none()) {
            handled.inc();
        }
    })
}

#[derive(Default)]
pub(crate) struct Jobs {
    backoffs: backoff::Backoffs,
}

impl Reconciler for Jobs {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if let Some(pod) = world.get_key::<Pod>(key).filter(|pod| is_orphan(pod)) {
            plan.push(untracked(&pod));
        }
        let Some(job) = world.get_key::<Job>(key) else {
            self.backoffs.forget(key);
            return orphans(key, world, plan);
        };
        if job.spec.managed_by.as_deref().is_some_and(|manager| manager != "kubernetes.io/job-controller") {
            return Next::Done;
        }
        let begun = Instant::now();
        let job = &*job;
        let claimant = Claimant {
            owner: &job.metadata,
            reference: &controller_ref(job),
            selector: job.spec.selector.as_deref(),
            finalizer: Some(TRACKING),
        };
        let owned = claim(world.list::<Pod>(&key.namespace), &claimant, plan, |_| true);
        if is_finished(job) {
            self.backoffs.forget(key);
            plan.all(owned.iter().filter(|pod| is_tracked(pod)).map(|pod| counted(job, pod)).collect());
            return Next::Done;
        }
        let now = world.now();
        let mut status = job.status.clone();
        if status.start_time.is_none() && !is_suspended(job) {
            status.start_time = Some(now);
        }
        let tally = count::take(job, &owned, &mut status);
        let active: Vec<Arc<Pod>> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        let terminating = owned.iter().filter(|pod| pods::is_terminating(pod)).count();

        let verdict = finish::judge(job, &tally, &active, &owned, &status, now);
        let ending = verdict.is_some();
        if verdict.as_ref().is_some_and(|verdict| !verdict.success) {
            count::give_up(job, &owned, &mut status);
        }
        let pause = self.backoffs.pause(key, job, &owned, now);
        let mut wanted = manage::Changes::default();
        if job.metadata.deletion_timestamp.is_none() {
            wanted = manage::decide(job, &tally, &active, terminating, &owned, ending, pause, now);
        }
        // What is about to be made or deleted counts already, so that one look needs one status.
        let ready = |pods: &[Arc<Pod>]| pods.iter().filter(|pod| pods::is_ready(pod)).count() as i32;
        status.active = (active.len() + wanted.create.len()) as i32 - wanted.delete.len() as i32;
        if wanted.create.is_empty() && wanted.wait_seconds.is_some() && ready(&active) == 0 {
            // As upstream tells it while it waits. More ready pods than active ones would be refused.
            status.active = 0;
        }
        status.ready = Some(ready(&active) - ready(&wanted.delete));
        status.terminating = Some((terminating + wanted.delete.len()) as i32);
        let mut suspension = None;
        if let Some(verdict) = verdict {
            finish::record(job, &owned, &mut status, &verdict, now, plan);
        } else {
            // What is decided is not suspended any more.
            suspension = finish::suspension(job, &mut status, now);
        }

        let uncounted =
            count::held(job, &tally, &owned, &status, ending || job.metadata.deletion_timestamp.is_some());
        let deadline = finish::seconds_to_deadline(job, &status, now);
        let next = match (wanted.wait_seconds, deadline) {
            (None, None) => Next::Done,
            (a, b) => Next::After(Duration::from_secs(
                a.unwrap_or(i64::MAX).min(b.unwrap_or(i64::MAX)).max(1) as u64,
            )),
        };
        if !ending {
            // Those that are too many have not failed: nobody is to count them.
            plan.all(wanted.delete.iter().filter(|pod| is_tracked(pod)).map(|pod| untracked(pod)).collect());
        }
        plan.all(wanted.delete.iter().map(|pod| manage::delete(job, pod)).collect());
        let (before, about, asked) = (job.status.clone(), job.clone(), wanted.create.len());
        let look = metrics::Look::new(job, begun, asked, wanted.delete.len());
        plan.then(move |outcome, plan| {
            if let Some(failed) = outcome.error() {
                look.end(false);
                return after(failed);
            }
            plan.slow_start(wanted.create);
            plan.then(move |made, plan| {
                let refused = made.error().cloned();
                // Those that were not made do not run.
                status.active -= (asked - made.succeeded().min(asked)) as i32;
                if let Some(note) = suspension {
                    plan.event(note);
                }
                let freed = uncounted.iter().map(|pod| counted(&about, pod)).collect();
                if status != before {
                    let mut told = about;
                    told.status = status;
                    let count = metrics::told(&told, &before);
                    let write = Write::update_status(told).ignore(404);
                    plan.push(write.measured(move |refusal| {
                        if refusal.is_none() {
                            count();
                        }
                    }));
                }
                plan.all(freed);
                plan.then(move |outcome, _| {
                    let failed = refused.as_ref().or(outcome.error());
                    look.end(failed.is_none());
                    failed.map_or(next, after)
                });
                next
            });
            next
        });
        Next::Done
    }
}

/// Pods whose Job is gone need not wait to be counted.
fn orphans(key: &Key, world: &World, plan: &mut Plan) -> Next {
    let of_job = |pod: &Pod| {
        controller_of(&pod.metadata).is_some_and(|owner| owner.kind == "Job" && owner.name == key.name)
    };
    let left = world.list::<Pod>(&key.namespace);
    plan.all(left.iter().filter(|pod| of_job(pod) && is_tracked(pod)).map(|pod| untracked(pod)).collect());
    Next::Done
}
