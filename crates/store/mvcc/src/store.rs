//! The contract: what Kubernetes needs from a store, whoever implements it.

use crate::error::StoreError;
use crate::range::KeyRange;
use crate::types::{
    Compare, GetResponse, LeaseId, Op, Put, RangeOptions, RangeResponse, Revision, StoreStatus, Txn,
    TxnResponse, WatchBatch,
};
use crate::watch::Progress;
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// A multi-version key-value store with etcd's semantics. All methods may be called from many tasks at once.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The version of a key at a revision; `None`: now. "Now" includes every write that was acknowledged before
    /// the call.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] or [`StoreError::FutureRevision`] for a revision that cannot be read.
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, StoreError>;

    /// The keys of a range, all as of one revision.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn range(&self, range: &KeyRange, options: RangeOptions) -> Result<RangeResponse, StoreError>;

    /// Decides and performs a transaction. The answer comes once everything is durable. Dropping the future does
    /// not undo what has been queued.
    ///
    /// # Errors
    /// Nothing was done on [`StoreError::InvalidTxn`], [`StoreError::LeaseNotFound`] and
    /// [`StoreError::NoSpace`]; see the others for what they say about the outcome.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError>;

    /// Makes a lease: the keys put with it are deleted once `ttl` has passed. Leases survive a restart.
    ///
    /// # Errors
    /// As [`Store::txn`].
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Ends a lease now and deletes its keys.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`], and as [`Store::txn`].
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Forgets what can only be seen by reading before `revision`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when that has happened before; [`StoreError::FutureRevision`].
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// The current revision.
    ///
    /// # Errors
    /// When a remote store cannot be reached.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Revisions and sizes.
    ///
    /// # Errors
    /// When a remote store cannot be reached.
    async fn status(&self) -> Result<StoreStatus, StoreError>;

    /// Starts a watch that delivers every event of the range from revision `from` on (inclusive); `None`: those
    /// after the current revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when events since `from` may have been forgotten.
    async fn watch(&self, range: KeyRange, from: Option<Revision>) -> Result<Box<dyn Watch>, StoreError>;

    /// True when [`Put::stamp_at`] is honoured.
    fn stamps_revisions(&self) -> bool;

    /// Creates a key that must not exist.
    ///
    /// # Errors
    /// As [`Store::txn`].
    async fn create(&self, put: Put) -> Result<TxnResponse, StoreError> {
        self.replace(put, 0).await
    }

    /// Puts if the key is at `mod_revision` (0: does not exist).
    ///
    /// # Errors
    /// As [`Store::txn`].
    async fn replace(&self, put: Put, mod_revision: Revision) -> Result<TxnResponse, StoreError> {
        let compare = vec![Compare { key: put.key.clone(), mod_revision }];
        self.txn(Txn { compare, ops: vec![Op::Put(put)] }).await
    }

    /// Deletes the key if it is at `mod_revision`; `None`: whatever it is at.
    ///
    /// # Errors
    /// As [`Store::txn`].
    async fn delete(&self, key: Bytes, mod_revision: Option<Revision>) -> Result<TxnResponse, StoreError> {
        let compare = mod_revision.map(|mod_revision| Compare { key: key.clone(), mod_revision });
        self.txn(Txn { compare: compare.into_iter().collect(), ops: vec![Op::Delete(key)] }).await
    }
}

/// A running watch; dropping it ends it.
#[async_trait]
pub trait Watch: Send {
    /// The next events, or mere progress when that was requested. May be dropped and called again without
    /// losing anything.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when this watch was so slow that its next events have been forgotten;
    /// [`StoreError::Unavailable`] when the store was closed. Both end the watch.
    async fn next(&mut self) -> Result<WatchBatch, StoreError>;

    /// A handle to ask this watch for progress from elsewhere.
    fn progress(&self) -> Progress;
}
