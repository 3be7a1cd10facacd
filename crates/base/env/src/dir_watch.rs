//! Waits for changes of a directory's files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// A directory that is watched.
pub struct DirWatch(AsyncFd<Source>);

struct Source(Inotify);

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl DirWatch {
    /// Watches for whatever may change the content or the names of files.
    ///
    /// # Errors
    /// The directory is not there, or there are too many watches.
    pub fn new(dir: &Path) -> std::io::Result<DirWatch> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let what = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE;
        inotify.add_watch(dir, what)?;
        // SAFETY: `Source` owns its descriptor, always answers the same one, and closes it only when it is dropped.
        let source = unsafe { AsyncFd::register(Source(inotify)) };
        Ok(DirWatch(source?))
    }

    /// Resolves when something has changed since the last time. Never, if the kernel cannot tell.
    pub async fn changed(&self) {
        match self.0.readable().await {
            Ok(mut ready) => {
                while self.0.get_ref().0.read_events().is_ok_and(|events| !events.is_empty()) {}
                ready.clear_ready();
            }
            Err(_) => std::future::pending().await,
        }
    }
}
