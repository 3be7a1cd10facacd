//! The default engine: an append-only log and the checkpoint that it continues.
//!
//! A directory holds `<n>.checkpoint` (none at first) and the segments `<n>.log`, `<n+1>.log`, ... that follow it.
//! Each append is one block, one write and one `fdatasync` at the end of the last segment. Blocks are numbered, and
//! a block is written only after the one before it is durable. Hence on opening:
//!
//! * a block that fails its checksum at the very end was never acknowledged, and is dropped;
//! * a bad block that a good one follows was acknowledged, so the store refuses to open;
//! * a segment says in its header with which block it starts, which makes void what an earlier segment holds of
//!   that number or above: so a failed write that left bytes behind is abandoned by starting a new segment.

mod checkpoint;
mod open;
mod segment;

use crate::batch::Batch;
use crate::{Checkpoint, Engine, EngineError, Visit};
use checkpoint::LogCheckpoint;
use env::LockFile;
use segment::Segment;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module: an append-only log in a directory of its own.
#[derive(Debug)]
pub struct LogEngine {
    directory: PathBuf,
    segment: Segment,
    /// The number of the next block.
    sequence: u64,
    /// Set after a failed write: the segment's end is unknown, so the next append starts a new one.
    abandoned: bool,
    /// Bytes in segments that the next checkpoint replaces, apart from the current segment.
    earlier_bytes: u64,
    /// Bytes of the last finished checkpoint; its writer runs on another thread.
    checkpoint_bytes: Arc<AtomicU64>,
    _lock: LockFile,
}

impl LogEngine {
    /// Opens the store in `directory`, which is made (mode 0700) when missing, and shows `visit` every frame in it.
    ///
    /// # Errors
    /// [`EngineError::Locked`] names the process that has it open; [`EngineError::Corrupt`] when acknowledged
    /// frames are damaged or `visit` refuses one.
    pub fn open(directory: &Path, visit: &mut Visit<'_>) -> Result<LogEngine, EngineError> {
        env::create_private_dir(directory).map_err(|error| EngineError::io(directory, error))?;
        let lock = LockFile::acquire(&directory.join("LOCK"))?;
        let opened = open::replay(directory, visit)?;
        let number = opened.last_segment.map_or(opened.first_segment, |(last, _)| last + 1);
        let segment = match opened.last_segment {
            // A clean end is continued; a torn one is cut off by the header of the next segment.
            Some((last, end)) if !opened.torn => Segment::reopen(directory, last, end)?,
            _ => Segment::create(directory, number, opened.sequence)?,
        };
        let checkpoint_bytes = Arc::new(AtomicU64::new(opened.checkpoint_bytes));
        let earlier_bytes =
            opened.log_bytes.saturating_sub(if segment.number() == number { 0 } else { segment.end() });
        Ok(LogEngine {
            directory: directory.to_owned(),
            segment,
            sequence: opened.sequence,
            abandoned: false,
            earlier_bytes,
            checkpoint_bytes,
            _lock: lock,
        })
    }

    fn next_segment(&mut self) -> Result<(), EngineError> {
        let next = Segment::create(&self.directory, self.segment.number() + 1, self.sequence)?;
        let previous = std::mem::replace(&mut self.segment, next);
        self.earlier_bytes += previous.end();
        self.abandoned = false;
        previous.trim();
        Ok(())
    }
}

impl Engine for LogEngine {
    fn append(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        if self.abandoned {
            self.next_segment()?;
        }
        let block = batch.seal(self.segment.number(), self.sequence);
        if let Err(error) = self.segment.append(block) {
            // Nothing reached the file when only its growth failed: then its end is still known.
            self.abandoned = self.segment.is_dirty();
            return Err(error);
        }
        self.sequence += 1;
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        self.earlier_bytes + self.segment.end()
    }

    fn disk_bytes(&self) -> u64 {
        self.log_bytes() + self.checkpoint_bytes.load(Ordering::Relaxed)
    }

    fn begin_checkpoint(&mut self) -> Result<Box<dyn Checkpoint>, EngineError> {
        self.next_segment()?;
        let first = self.segment.number();
        let checkpoint = LogCheckpoint::create(&self.directory, first, self.checkpoint_bytes.clone())?;
        // Not yet true, but a failed checkpoint must not be begun again with every append: the caller waits
        // until as much has been appended once more.
        self.earlier_bytes = 0;
        Ok(Box::new(checkpoint))
    }
}

#[cfg(test)]
mod tests;
