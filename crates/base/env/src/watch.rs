//! Waits until files change.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// Changes that follow each other within this time are one: a certificate and its key, a file and the link to it.
const SETTLE: Duration = Duration::from_millis(100);

/// Files that are watched, by their folders, so that a file that is replaced, or a folder that is a link to another one, is
/// noticed too.
#[derive(Debug)]
pub struct FileWatch {
    inotify: AsyncFd<Raw>,
}

#[derive(Debug)]
struct Raw(Inotify);

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl FileWatch {
    /// Watches the folders of some files. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a folder is not there, or the system has no watches left.
    pub fn of(paths: &[PathBuf]) -> io::Result<FileWatch> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let folder = |path: &PathBuf| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => Path::new(".").to_owned(),
        };
        let folders: BTreeSet<PathBuf> = paths.iter().map(folder).collect();
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE;
        for folder in folders {
            inotify.add_watch(&folder, changes)?;
        }
        #[expect(
            deprecated,
            reason = "its successor is unsafe, and `Raw` owns its descriptor and never gives another"
        )]
        let inotify = AsyncFd::new(Raw(inotify))?;
        Ok(FileWatch { inotify })
    }

    /// Waits until something in the folders has changed and no more changes for a moment. What changed is for the caller to
    /// see. May be dropped and called again.
    ///
    /// # Errors
    /// When the watch is broken.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.some().await?;
        while tokio::time::timeout(SETTLE, self.some()).await.is_ok_and(|some| some.is_ok()) {}
        Ok(())
    }

    async fn some(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            match ready.get_inner().0.read_events() {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_and_replacements_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "one").expect("written");
        let mut watch = FileWatch::of(std::slice::from_ref(&path)).expect("a watch");
        for step in 0..3 {
            match step {
                0 => std::fs::write(&path, "two").expect("written"),
                1 => crate::write_atomic(&path, b"three", 0o600).expect("replaced"),
                _ => std::fs::remove_file(&path).expect("removed"),
            }
            let changed = tokio::time::timeout(Duration::from_secs(10), watch.changed()).await;
            changed.expect("noticed").expect("a working watch");
        }
        let missing = folder.path().join("none").join("file");
        assert!(FileWatch::of(&[missing]).is_err());
    }
}
