//! Why a store refuses.

use crate::types::{LeaseId, Revision};
use std::sync::Arc;

/// The error of every operation of a store. A failed comparison is no error but a
/// [`crate::TxnResponse::Conflict`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The revision asked for has been compacted. Start over from the current state; retrying does not help.
    #[error("required revision has been compacted")]
    Compacted {
        /// The oldest revision that can still be read.
        compact_revision: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("required revision is a future revision")]
    FutureRevision {
        /// The current revision.
        revision: Revision,
    },
    /// The lease never existed, or has ended. Grant a new one.
    #[error("requested lease not found")]
    LeaseNotFound {
        /// Which lease.
        lease: LeaseId,
    },
    /// The transaction itself is wrong; retrying does not help.
    #[error("invalid transaction: {0}")]
    InvalidTxn(&'static str),
    /// The disk is full. Reads go on; writes succeed again once there is space.
    #[error("database space exceeded")]
    NoSpace,
    /// A value cannot be written as it should be: the key that it is to be encrypted with is not at hand.
    #[error("{0}")]
    Unsealed(String),
    /// The engine refused. Whether the write took place is known only after a read: retry with a comparison.
    #[error("{0}")]
    Engine(Arc<engine::EngineError>),
    /// The store is being closed, or could not be reached. The outcome of a write is unknown.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}

impl From<engine::EngineError> for StoreError {
    fn from(error: engine::EngineError) -> StoreError {
        match error {
            engine::EngineError::NoSpace { .. } => StoreError::NoSpace,
            other => StoreError::Engine(Arc::new(other)),
        }
    }
}
