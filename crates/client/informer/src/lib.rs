//! Caches of API objects that follow the server.
//!
//! [`reflect`] lists and watches one resource and feeds a [`Sink`], through every way in which a watch can end. A
//! [`Cache`] is the sink that most want: the objects, indexed, with handlers for changes and with the caller's own
//! writes overlaid until the watch has caught up. [`Informers`] is the process-wide collection of caches, so that each
//! kind is watched once however many components read it.
//!
//! Objects are shared (`Arc`): over the in-process transport they are the very values that the API server holds.

mod backoff;
mod cache;
mod index;
mod informers;
mod key;
mod reflector;
mod watched;

pub use backoff::Backoff;
pub use cache::{Cache, Change};
pub use informers::Informers;
pub use key::Key;
pub use reflector::{Reflection, Sink, reflect};
pub use watched::{Watched, revision};
