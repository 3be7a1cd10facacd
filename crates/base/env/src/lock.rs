//! One process at a time: a lock file that names the process that holds it.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it; retrying helps once that process has ended.
    #[error("{} is in use by process {pid}", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, or `unknown` while it has not written its number yet.
        pid: String,
    },
    /// The lock file could not be made or read.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// An exclusive lock on a file, held until dropped. The kernel releases it when the process ends in any way, so
/// a crash leaves nothing to clean up.
#[derive(Debug)]
pub struct LockFile {
    _held: Flock<File>,
}

impl LockFile {
    /// Takes the lock without waiting and writes the own process id into the file.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it.
    pub fn acquire(path: &Path) -> Result<LockFile, LockError> {
        let io = |source: io::Error| LockError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                held.set_len(0).map_err(io)?;
                held.rewind().map_err(io)?;
                // On a full disk the lock still holds, only without a name on it.
                let _ = writeln!(held, "{}", std::process::id());
                Ok(LockFile { _held: held })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim();
                let pid = if pid.is_empty() { "unknown" } else { pid }.to_owned();
                Err(LockError::Held { path: path.to_owned(), pid })
            }
            Err((_, errno)) => Err(io(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_learns_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = LockFile::acquire(&path).unwrap();
        let refused = LockFile::acquire(&path).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{} is in use by process {}", path.display(), std::process::id())
        );
        drop(held);
        LockFile::acquire(&path).unwrap();
        assert!(matches!(LockFile::acquire(&path.join("x")), Err(LockError::Io { .. })));
    }
}
