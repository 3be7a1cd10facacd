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
    /// The segment that is appended to. `None` in an empty store, and after a failed write, when the file's end is
    /// unknown: the next append then makes a new one.
    segment: Option<Segment>,
    /// The number of the next segment.
    next_number: u64,
    /// The number of the next block.
    sequence: u64,
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
        let next_number = opened.last_segment.map_or(opened.first_segment, |(last, _)| last + 1);
        // A clean end is continued; a torn one is cut off by the header of the next segment.
        let continued = opened.last_segment.filter(|_| !opened.torn);
        let segment = continued.map(|(last, end)| Segment::reopen(directory, last, end)).transpose()?;
        let current_bytes = segment.as_ref().map_or(0, Segment::end);
        Ok(LogEngine {
            directory: directory.to_owned(),
            segment,
            next_number,
            sequence: opened.sequence,
            earlier_bytes: opened.log_bytes.saturating_sub(current_bytes),
            checkpoint_bytes: Arc::new(AtomicU64::new(opened.checkpoint_bytes)),
            _lock: lock,
        })
    }

    /// Makes a new segment, after which the present one is only read.
    fn next_segment(&mut self) -> Result<(), EngineError> {
        let next = Segment::create(&self.directory, self.next_number, self.sequence)?;
        self.next_number += 1;
        if let Some(previous) = self.segment.replace(next) {
            self.earlier_bytes += previous.end();
            previous.trim();
        }
        Ok(())
    }
}

impl Engine for LogEngine {
    fn append(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        if self.segment.is_none() {
            self.next_segment()?;
        }
        let segment = self.segment.as_mut().expect("made just above when there was none");
        let appended = segment.append(batch.seal(segment.number(), self.sequence));
        // When only the file's growth failed, nothing has reached it, and its end is still known.
        if appended.is_err() && segment.is_dirty() {
            self.earlier_bytes += segment.end();
            self.segment = None;
        }
        appended?;
        self.sequence += 1;
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        self.earlier_bytes + self.segment.as_ref().map_or(0, Segment::end)
    }

    fn disk_bytes(&self) -> u64 {
        self.log_bytes() + self.checkpoint_bytes.load(Ordering::Relaxed)
    }

    fn begin_checkpoint(&mut self) -> Result<Box<dyn Checkpoint>, EngineError> {
        let first = self.next_number;
        let checkpoint = LogCheckpoint::create(&self.directory, first, self.checkpoint_bytes.clone())?;
        self.next_segment()?;
        // Not yet true, but a failed checkpoint must not be begun again with every append: the caller waits
        // until as much has been appended once more.
        self.earlier_bytes = 0;
        Ok(Box::new(checkpoint))
    }
}

#[cfg(test)]
mod tests;
