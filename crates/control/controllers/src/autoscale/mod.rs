//! HorizontalPodAutoscalers: how many replicas a workload should have, by what its pods measure.
//!
//! Every autoscaler is looked at every 15 seconds, and never because of a change: the metrics change all the time. One
//! look is a [`pass::Pass`]: read the target's scale ([`target`]), ask for the metrics ([`metrics`]), let each of them
//! propose a number ([`propose`], with the arithmetic in [`calculate`]), take the largest, hold it against history and
//! limits ([`limits`]), write the scale, and tell all of it in the status.

mod calculate;
mod history;
mod limits;
mod measures;
mod metrics;
mod pass;
mod propose;
mod requests;
mod target;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use informer::Key;
use parking_lot::Mutex;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World};
use types::apiextensions::v1::CustomResourceDefinition;
use types::autoscaling::v2::HorizontalPodAutoscaler;
use types::core::v1::Pod;

use history::Memory;
use pass::Pass;

/// Pause between two looks at one autoscaler: `--horizontal-pod-autoscaler-sync-period`.
const PERIOD: Duration = Duration::from_secs(15);

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    let autoscalers = Autoscalers::default();
    let controller =
        Controller::new("horizontalpodautoscaler", "horizontal-pod-autoscaler", context.clone(), autoscalers)
            .reads::<HorizontalPodAutoscaler>()
            .reads::<Pod>()
            .reads::<CustomResourceDefinition>();
    // A new autoscaler waits for its turn like an old one: what it measures needs time to settle anyway. A change of one
    // that waits already changes nothing, because the turn that comes first counts.
    let queue = Arc::downgrade(controller.queue());
    measures::begin();
    context.informers.cache::<HorizontalPodAutoscaler>().subscribe(move |change| {
        if let Some(queue) = queue.upgrade() {
            measures::follow(change);
            queue.add_after(Key::of(&**change.object()), PERIOD);
        }
    });
    controller.start()
}

/// The decisions, and what was recommended and done lately for each autoscaler.
#[derive(Default)]
pub(crate) struct Autoscalers {
    memories: Memories,
}

/// What is remembered of each autoscaler. Lost on a restart, as upstream's: the first number after it is the current one.
type Memories = Arc<Mutex<HashMap<Key, Memory>>>;

impl Reconciler for Autoscalers {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(autoscaler) = world.get_key::<HorizontalPodAutoscaler>(key) else {
            self.memories.lock().remove(key);
            return Next::Done;
        };
        self.memories.lock().entry(key.clone()).or_default();
        Pass::new(&autoscaler, key, world.clone(), self.memories.clone()).begin(plan)
    }
}
