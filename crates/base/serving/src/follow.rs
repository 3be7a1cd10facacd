//! Files that are read again when they change.

use std::path::PathBuf;

use env::FileWatch;
use sha2::{Digest, Sha256};

/// Some files, and what they held when they were last looked at: digests, so that no key is kept a second time.
#[derive(Debug)]
pub struct Followed {
    what: &'static str,
    paths: Vec<PathBuf>,
    seen: Vec<Option<[u8; 32]>>,
    watch: Option<FileWatch>,
}

impl Followed {
    /// Looks at the files. To be called before what they hold is used, so that no change falls between. `what` is for the
    /// log.
    pub fn new(what: &'static str, paths: Vec<PathBuf>) -> Followed {
        let seen = look(&paths);
        Followed { what, paths, seen, watch: None }
    }

    /// Waits until a file holds something else than when it was last looked at. Never returns when there is no file, or
    /// its folder cannot be watched. May be dropped and called again.
    pub async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            if let Some(watch) = &mut self.watch {
                if let Err(error) = watch.changed().await {
                    return self.blind(&error).await;
                }
            } else {
                match FileWatch::of(&self.paths) {
                    Ok(watch) => self.watch = Some(watch),
                    Err(error) => return self.blind(&error).await,
                }
            }
            // Looked at once without an event, since a file may have changed before the watch was there.
            let now = look(&self.paths);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    async fn blind(&self, error: &std::io::Error) {
        tracing::error!(%error, what = self.what, "changes of the files are not seen");
        std::future::pending().await
    }

    /// Says in the log what came of a change.
    pub fn tell<E: std::fmt::Display>(&self, outcome: Result<(), E>) {
        match outcome {
            Ok(()) => tracing::info!(what = self.what, "files changed and are in use"),
            Err(error) => {
                tracing::error!(what = self.what, %error, "files changed and are of no use; the old ones stay");
            }
        }
    }
}

fn look(paths: &[PathBuf]) -> Vec<Option<[u8; 32]>> {
    paths.iter().map(|path| std::fs::read(path).ok().map(|text| Sha256::digest(text).into())).collect()
}
