//! What can go wrong between us and the disk.

use nix::errno::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Why an engine refused.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process has the store open, or the lock file cannot be made.
    #[error("cannot open the store: {0}")]
    Locked(#[from] env::LockError),
    /// The disk, or the quota on it, is full. Retrying helps once there is space again.
    #[error("no space left for the store at {}", path.display())]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// What is on disk cannot have been written by us in this way, and opening anyway would lose acknowledged
    /// writes. Retrying does not help: restore a backup.
    #[error("the store is damaged: {} at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A frame cannot be made, because a key is not at hand that its values are to be encrypted with. Retrying helps once
    /// it is.
    #[error("a value cannot be encrypted: {0}")]
    Unsealed(String),
    /// The operating system refused for another reason. Retrying may help.
    #[error("cannot access the store at {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl EngineError {
    /// Sorts an error of the operating system into full disks and the rest.
    pub(crate) fn io(path: &Path, source: io::Error) -> EngineError {
        let full = [Errno::ENOSPC as i32, Errno::EDQUOT as i32];
        if source.raw_os_error().is_some_and(|code| full.contains(&code)) {
            return EngineError::NoSpace { path: path.to_owned() };
        }
        EngineError::Io { path: path.to_owned(), source }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, reason: impl Into<String>) -> EngineError {
        EngineError::Corrupt { path: path.to_owned(), offset, reason: reason.into() }
    }
}
