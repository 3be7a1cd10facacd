//! What every controller is made of, apart from its decisions.
//!
//! A [`Reconciler`] is a pure function: it reads a [`World`] of caches and appends calls to a [`Plan`]. A [`Controller`]
//! owns the rest: the [`Queue`] of keys with client-go's de-duplication and back-off, the workers, and the [`Executor`]
//! that performs plans, settles writes whose answer was lost, overlays what was written on the caches and records events.
//! [`elect`] makes one of several processes the leader.

mod controller;
mod events;
mod executor;
mod leader;
mod metrics;
mod plan;
mod queue;
mod world;

pub use controller::{Context, Controller, Next, Reconciler, Running};
pub use events::{EventType, Note, Recorder};
pub use executor::Executor;
pub use leader::{Election, Leadership, elect};
pub use plan::{Answer, Outcome, Plan, Write};
pub use queue::Queue;
pub use world::World;
