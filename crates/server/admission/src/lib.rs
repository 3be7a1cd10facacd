//! Admission: what happens to an authorized change before it may be stored.
//!
//! [`Chain`] walks a static table of plugins in upstream's order, first those that mutate, later those that validate;
//! between the two the registry lets the kind's own rules prepare the object. A plugin is one file in `plugins` and
//! one line in its table. What users program (CEL policies, webhooks) runs after the plugins of each half, from sources that
//! are compiled when they change ([`Dynamic`]); quota comes last. Plugins are pure: they read the cluster through [`World`] and answer with a change to the
//! object, a warning, or a refusal.
//!
//! [`Mutated`] and [`Admitted`] are the proofs: only this crate makes them, and the registry commits nothing else.
#![expect(
    clippy::result_large_err,
    reason = "refusals are values that travel on; boxing them would cost each an allocation"
)]

mod chain;
mod configuration;
mod dynamic;
mod meter;
mod metrics;
mod notes;
mod plugins;
mod quota;
mod refuse;
mod review;
#[cfg(test)]
mod testing;
mod world;

pub use chain::{Admitted, Chain, ChainError, Choice, Mutated};
pub use configuration::{Configuration, ConfigurationError};
pub use dynamic::{Dynamic, Sources, WebhookEndpoint};
pub use notes::{Annotation, Notes};
pub use plugins::Plugin;
pub use quota::{Charge, Quota};
pub use refuse::{forbidden, forbidden_because};
pub use review::{NoCodec, ObjectCodec, Operation, Options, Review};
pub use world::{Equivalent, Place, World, WorldExt};
