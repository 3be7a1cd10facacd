//! Durable engines under the MVCC layer.
//!
//! An engine keeps an ordered sequence of opaque *frames*. [`Engine::append`] makes a batch of them durable, all or
//! none; a [`Checkpoint`] replaces everything that was appended before it by fewer frames. What a frame means is
//! the MVCC layer's business, which holds all current values in memory and therefore never reads from an engine
//! except when it opens one.
//!
//! [`LogEngine`] is the default: one append-only file and a checkpoint beside it. Since nothing is ever looked up on
//! disk, a log-structured merge tree underneath would only keep a second copy of each value in its memtables
//! (ARCHITECTURE.md has the measurement). [`MemoryEngine`] keeps the same promises without files, for simulations,
//! and can be told to fail.

mod batch;
mod error;
mod log;
mod memory;

pub use batch::Batch;
pub use error::EngineError;
pub use log::LogEngine;
pub use memory::{MemoryDisk, MemoryEngine};

/// What an engine hands to its opener: each frame that was kept, in the order in which it was written; first those
/// of the last checkpoint, then those appended since. An error ends the opening.
pub type Visit<'a> = dyn FnMut(&[u8]) -> Result<(), String> + 'a;

/// A durable sequence of frames. One thread appends; engines need no locking of their own.
pub trait Engine: Send + 'static {
    /// Makes the batch durable. On success it survives the loss of power; on an error nothing of it counts,
    /// and the engine stays usable: a later call tries anew.
    ///
    /// # Errors
    /// [`EngineError::NoSpace`] when the disk is full; [`EngineError::Io`] for every other refusal.
    fn append(&mut self, batch: &mut Batch) -> Result<(), EngineError>;

    /// Bytes appended since the last checkpoint began: what the next opening would have to replay.
    fn log_bytes(&self) -> u64;

    /// Bytes on disk, for metrics.
    fn disk_bytes(&self) -> u64;

    /// Starts to replace what has been appended so far. The caller writes frames that say the same in fewer
    /// bytes into the returned checkpoint, from any thread, while appends go on; until it is finished, and if it
    /// never is, the old frames stay.
    ///
    /// # Errors
    /// As [`Engine::append`]; nothing has changed then.
    fn begin_checkpoint(&mut self) -> Result<Box<dyn Checkpoint>, EngineError>;
}

/// A checkpoint under construction. Dropping it unfinished leaves the engine as it was.
pub trait Checkpoint: Send {
    /// Adds a frame.
    ///
    /// # Errors
    /// As [`Engine::append`]; the checkpoint should then be dropped.
    fn frame(&mut self, frame: &[u8]) -> Result<(), EngineError>;

    /// Makes the checkpoint durable and frees what it replaces. Returns its size in bytes.
    ///
    /// # Errors
    /// As [`Engine::append`]; the old frames are then still there.
    fn finish(self: Box<Self>) -> Result<u64, EngineError>;
}
