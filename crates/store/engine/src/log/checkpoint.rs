//! A checkpoint file: written beside the log under a temporary name, and renamed once it is whole.
//!
//! ```text
//! checkpoint := magic [8] | first segment u64 | block* | end
//! end        := a block without frames
//! ```

use super::{open, segment};
use crate::batch::Batch;
use crate::{Checkpoint, EngineError};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const MAGIC: &[u8; 8] = b"FKCHK\0\0\x01";

/// Frames are gathered into blocks of about this size, each with a checksum.
const BLOCK_BYTES: usize = 256 << 10;

/// The file is synced each time it has grown by this much: one sync of all of it at the end would keep the log's own
/// syncs waiting behind it.
const SYNC_BYTES: u64 = 8 << 20;

pub(super) fn path(directory: &Path, first_segment: u64) -> PathBuf {
    directory.join(format!("{first_segment:016x}.checkpoint"))
}

pub(super) struct LogCheckpoint {
    directory: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
    first_segment: u64,
    batch: Batch,
    blocks: u64,
    bytes: u64,
    synced_bytes: u64,
    finished_bytes: Arc<AtomicU64>,
}

impl LogCheckpoint {
    pub(super) fn create(
        directory: &Path,
        first_segment: u64,
        finished_bytes: Arc<AtomicU64>,
    ) -> Result<LogCheckpoint, EngineError> {
        let temporary = directory.join("checkpoint.tmp");
        let io = |error| EngineError::io(&temporary, error);
        let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut file = BufWriter::new(open.map_err(io)?);
        file.write_all(MAGIC).and_then(|()| file.write_all(&first_segment.to_le_bytes())).map_err(io)?;
        let directory = directory.to_owned();
        let (batch, bytes) = (Batch::new(), HEADER_BYTES as u64);
        Ok(LogCheckpoint {
            directory,
            temporary: temporary.clone(),
            file: Some(file),
            first_segment,
            batch,
            blocks: 0,
            bytes,
            synced_bytes: 0,
            finished_bytes,
        })
    }

    fn write_block(&mut self) -> Result<(), EngineError> {
        let block = self.batch.seal(self.first_segment, self.blocks);
        self.bytes += block.len() as u64;
        if let Some(file) = &mut self.file {
            let io = |error| EngineError::io(&self.temporary, error);
            file.write_all(block).map_err(io)?;
            if self.bytes - self.synced_bytes >= SYNC_BYTES {
                file.flush().and_then(|()| file.get_ref().sync_data()).map_err(io)?;
                self.synced_bytes = self.bytes;
            }
        }
        self.blocks += 1;
        self.batch.clear();
        Ok(())
    }
}

impl Checkpoint for LogCheckpoint {
    fn frame(&mut self, frame: &[u8]) -> Result<(), EngineError> {
        self.batch.frame(|buffer| buffer.extend_from_slice(frame));
        if self.batch.bytes() >= BLOCK_BYTES { self.write_block() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<u64, EngineError> {
        if !self.batch.is_empty() {
            self.write_block()?;
        }
        self.write_block()?;
        let io = |error| EngineError::io(&self.temporary, error);
        if let Some(file) = self.file.take() {
            let file = file.into_inner().map_err(|error| io(error.into_error()))?;
            file.sync_all().map_err(io)?;
        }
        let path = path(&self.directory, self.first_segment);
        std::fs::rename(&self.temporary, &path).map_err(io)?;
        env::sync_dir(&self.directory).map_err(|error| EngineError::io(&self.directory, error))?;
        self.finished_bytes.store(self.bytes, Ordering::Relaxed);
        remove_replaced(&self.directory, self.first_segment);
        Ok(self.bytes)
    }
}

impl Drop for LogCheckpoint {
    fn drop(&mut self) {
        // After `finish` the file has another name; before it, it is of no use to anybody.
        let _ = env::remove_optional(&self.temporary);
    }
}

/// Removes the files that the checkpoint before segment `first` replaces. What cannot be removed now is ignored at
/// the next opening and removed after the next checkpoint.
pub(super) fn remove_replaced(directory: &Path, first: u64) {
    let Ok(files) = open::list(directory) else { return };
    let segments =
        files.segments.iter().filter(|number| **number < first).map(|n| segment::path(directory, *n));
    let checkpoints = files.checkpoints.iter().filter(|number| **number < first).map(|n| path(directory, *n));
    for replaced in segments.chain(checkpoints) {
        if let Err(error) = env::remove_optional(&replaced) {
            tracing::warn!(path = %replaced.display(), %error, "cannot remove a replaced file of the store");
        }
    }
}
