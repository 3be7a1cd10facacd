//! The garbage collector: what is owned does not outlive its owners.
//!
//! [`monitor`] follows every deletable resource and keeps the [`graph`] of owners and dependents. [`decide`] is asked
//! about one object at a time: whether its owners are really gone, whether it waits for dependents, whether its
//! dependents are to be let go. The graph only says whom to ask about; before anything is deleted the server is asked
//! for the object and its owners, so a graph that lags does no harm.

mod decide;
mod graph;
mod kinds;
mod monitor;

use std::sync::Arc;

use parking_lot::Mutex;
use reconcile::{Context, Controller, Running};
use types::apiextensions::v1::CustomResourceDefinition;

use decide::Collector;
use graph::Graph;
use kinds::Kinds;
use monitor::Monitors;

/// A running collector: the workers, and the watches that feed them.
pub(crate) struct Garbage {
    _running: Running,
    _monitors: Arc<Monitors>,
}

/// Starts the collector.
pub(crate) fn start(context: &Context) -> Garbage {
    let graph = Arc::new(Mutex::new(Graph::default()));
    let kinds = Arc::new(Mutex::new(Kinds::default()));
    let collector = Collector { graph: graph.clone(), kinds: kinds.clone() };
    let controller = Controller::new(
        "garbage_collector_attempt_to_delete",
        "garbage-collector-controller",
        context.clone(),
        collector,
    )
    .reads::<CustomResourceDefinition>()
    .workers(20);
    let monitors = Monitors::start(context, graph, kinds, controller.queue().clone());
    Garbage { _running: controller.start(), _monitors: monitors }
}
