//! Why a feed refuses, or ends a watch.

use mvcc::{Revision, StoreError};

/// The error of reads and watches.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FeedError {
    /// The events since the revision asked for have been forgotten (HTTP 410, reason Expired). List anew.
    #[error("too old resource version: {requested} ({oldest})")]
    Gone {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that a watch can start after, or a list be read at.
        oldest: Revision,
    },
    /// The revision asked for has not been reached within the time that upstream waits too (HTTP 504). Retrying
    /// helps if the revision exists.
    #[error("Too large resource version: {requested}, current: {current}")]
    TooLarge {
        /// What was asked for.
        requested: Revision,
        /// Where the feed is.
        current: Revision,
    },
    /// This watcher's queue was full: it was cut off so as not to hold up others. Watch again from the last
    /// revision that was received.
    #[error("the watch was too slow and has been ended")]
    Slow,
    /// The feed lost its own place in the store and has started over, or was closed. Watch again.
    #[error("the watch has been interrupted")]
    Interrupted,
    /// The scope names an index that the codec does not have. A programming error.
    #[error("there is no index {0}")]
    NoIndex(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}
