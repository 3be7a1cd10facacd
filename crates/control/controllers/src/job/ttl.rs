//! Deletes Jobs that ended as long ago as they ask for.

use std::time::{Duration, Instant};

use call::DeleteOptions;
use informer::Key;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::batch::v1::Job;

use super::{condition, metrics};

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("ttl_jobs_to_delete", "ttl-after-finished-controller", context.clone(), Ttl)
        .on::<Job>(|job, _| match job.spec.ttl_seconds_after_finished {
            Some(_) => vec![Key::of(job)],
            None => Vec::new(),
        })
        .start()
}

pub(crate) struct Ttl;

impl Reconciler for Ttl {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let job = world.get_key::<Job>(key).filter(|job| job.metadata.deletion_timestamp.is_none());
        let Some(job) = job else { return Next::Done };
        let ended = condition(&job, "Complete")
            .or(condition(&job, "Failed"))
            .and_then(|end| end.last_transition_time);
        let (Some(ended), Some(ttl)) = (ended, job.spec.ttl_seconds_after_finished) else {
            return Next::Done;
        };
        let left = ended.seconds + i64::from(ttl) - world.unix_seconds();
        if left > 0 {
            return Next::After(Duration::from_secs(left as u64));
        }
        let options = DeleteOptions { propagation_policy: "Foreground".into(), ..DeleteOptions::default() };
        // Whole seconds are past already, and what the deletion takes comes to that.
        let (late, begun) = (-left, Instant::now());
        plan.push(Write::delete_with(&*job, options).measured(move |refusal| {
            if refusal.is_none() {
                metrics::deleted(late as f64 + begun.elapsed().as_secs_f64());
            }
        }));
        Next::Done
    }
}
