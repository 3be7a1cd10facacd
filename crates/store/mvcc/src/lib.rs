//! Revisions, ranges, compaction and leases over a storage engine.
//!
//! [`Store`] is etcd v3's data model as far as Kubernetes uses it: one global revision that every committed
//! transaction raises by one; keys with create revision, modification revision and version; reads at any revision
//! that is not compacted; transactions guarded by modification revisions; leases; watches from a revision.
//! [`Embedded`] is the implementation in this process; [`contract`] (feature `contract`) is the test suite that
//! every implementation passes.
//!
//! How a write travels through [`Embedded`]: callers queue transactions; one commit thread takes all that wait,
//! decides them in order, makes them durable with one sync ([`engine::Engine::append`]), applies them to the
//! index, raises the visible revision, wakes the watches, and answers the callers. A write is therefore visible to
//! anybody only once it is durable. Reads go to the index in memory, at a fixed revision, and wait neither for the
//! disk nor for the commit thread: the index is split by kind (`/registry/pods/` is one shard), and a long
//! list takes its shard's lock anew for every few thousand keys.

mod codec;
mod commit;
#[cfg(feature = "contract")]
pub mod contract;
mod embedded;
mod error;
mod history;
mod housekeeping;
mod lease;
mod load;
mod metrics;
mod policy;
mod range;
mod requests;
mod seal;
mod shard;
mod shards;
mod store;
mod types;
mod watch;

pub use embedded::{Embedded, Options};
pub use error::StoreError;
pub use lease::LeasePool;
pub use range::KeyRange;
pub use requests::{Operation, Requests};
pub use seal::{Opened, Seal, Unreadable};
pub use store::{Store, Watch};
pub use types::{
    Compare, Event, EventKind, GetResponse, KeyValue, LeaseId, NO_LEASE, Op, OpResult, Payload, Put,
    PutPayload, RangeOptions, RangeResponse, Revision, StoreStatus, Txn, TxnResponse, WatchBatch,
};
pub use watch::Progress;
