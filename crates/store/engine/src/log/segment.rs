//! One file of the log: grows in steps, so that a sync seldom has to write more than the data itself.
//!
//! ```text
//! segment := magic [8] | number u64 | first block u64 | checksum u32 | zero u32 | block*
//! ```

use crate::EngineError;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes before the first block.
pub(super) const HEADER_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"FKLOG\0\0\x01";

/// The file grows by this much at a time: space that is already there needs no metadata written at each sync.
const GROWTH_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    number: u64,
    /// Where the next block goes.
    end: u64,
    /// Up to where space has been reserved.
    reserved: u64,
    /// True after a write or sync failed: bytes beyond `end` are then unknown.
    dirty: bool,
}

pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.log"))
}

/// What a segment's header says: its number and first block.
pub(super) fn parse_header(header: &[u8; HEADER_BYTES]) -> Option<(u64, u64)> {
    let (content, checksum) = header.split_at(24);
    let word = |at: usize| content[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let sum: [u8; 4] = checksum[..4].try_into().ok()?;
    if &content[..8] != MAGIC || u32::from_le_bytes(sum) != crc32c::crc32c(content) {
        return None;
    }
    Some((word(8)?, word(16)?))
}

impl Segment {
    /// Makes a new segment, durable under its name. What a crash left under that name held no acknowledged block.
    pub(super) fn create(directory: &Path, number: u64, first_block: u64) -> Result<Segment, EngineError> {
        let path = path(directory, number);
        let io = |error| EngineError::io(&path, error);
        let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let mut segment = Segment {
            path: path.clone(),
            file: open.map_err(io)?,
            number,
            end: 0,
            reserved: 0,
            dirty: false,
        };
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&first_block.to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        header.resize(HEADER_BYTES, 0);
        let written = segment.append(&header).and_then(|()| env::sync_dir(directory).map_err(io));
        if let Err(error) = written {
            // A segment without a block voids nothing, but an empty left-over would only confuse.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(segment)
    }

    /// Continues a segment whose last good block ends at `end`.
    pub(super) fn reopen(directory: &Path, number: u64, end: u64) -> Result<Segment, EngineError> {
        let path = path(directory, number);
        let io = |error| EngineError::io(&path, error);
        let file = OpenOptions::new().write(true).open(&path).map_err(io)?;
        let reserved = file.metadata().map_err(io)?.len();
        // A killed process may have left its last block in the page cache only; what has been read back counts.
        file.sync_data().map_err(io)?;
        Ok(Segment { path, file, number, end, reserved, dirty: false })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Writes a block at the end and returns once it is durable.
    pub(super) fn append(&mut self, block: &[u8]) -> Result<(), EngineError> {
        let end = self.end + block.len() as u64;
        if end > self.reserved {
            self.reserve(end)?;
        }
        let written = self.file.write_all_at(block, self.end).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.dirty = true;
            return Err(EngineError::io(&self.path, error));
        }
        self.end = end;
        Ok(())
    }

    fn reserve(&mut self, needed: u64) -> Result<(), EngineError> {
        let until = needed.next_multiple_of(GROWTH_BYTES);
        let (from, length) = (self.reserved as i64, (until - self.reserved) as i64);
        match fallocate(&self.file, FallocateFlags::empty(), from, length) {
            Ok(()) => self.reserved = until,
            // A file system that cannot reserve grows with each write instead.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.reserved = needed,
            Err(_) if until != needed => {
                // Too little space for a whole step may still be enough for this block.
                let length = (needed - self.reserved) as i64;
                fallocate(&self.file, FallocateFlags::empty(), from, length)
                    .map_err(|errno| EngineError::io(&self.path, errno.into()))?;
                self.reserved = needed;
            }
            Err(errno) => return Err(EngineError::io(&self.path, errno.into())),
        }
        Ok(())
    }

    /// Gives back the space that was reserved and not used. Only tidiness, so a failure does not matter.
    pub(super) fn trim(self) {
        if !self.dirty {
            let _ = self.file.set_len(self.end);
        }
    }
}
