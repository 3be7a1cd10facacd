//! The watch cache: one encoded event, many watchers.
//!
//! A [`Feed`] follows one prefix of the store, such as `/registry/pods/`. It holds each object once, as a shared typed
//! value with its encodings made at first need ([`Entry`]), serves lists from snapshots that cost one reference
//! count, and hands each change to exactly the watchers whose [`Scope`] it touches.
//!
//! Where to start: [`Codec`] says what a feed must know about its objects; [`Feed::snapshot`] and [`Feed::list_at`] read;
//! [`Feed::watch`] follows. `core.rs` holds the state and the one place that changes it.
//!
//! A slow watcher never holds anybody up: it has a bounded queue, and when that is full the watcher is cut off
//! with [`FeedError::Slow`].

mod audience;
mod codec;
mod core;
mod entry;
mod error;
mod feed;
mod metrics;
mod queue;
mod scope;
mod snapshot;
mod watcher;

pub use codec::{Codec, carried, payload, payload_in};
pub use entry::{Entry, Event, EventKind};
pub use error::FeedError;
pub use feed::{Feed, FeedOptions, ReadAt, Start, WatchOptions};
pub use metrics::Measured;
pub use queue::Item;
pub use scope::Scope;
pub use snapshot::{Page, Snapshot};
pub use watcher::Watcher;
