//! Long work off the commit thread: forgetting what was compacted, writing checkpoints, and keeping time.

use crate::codec;
use crate::commit::Command;
use crate::history::Version;
use crate::seal::Seal;
use crate::shards::Shards;
use crate::types::Revision;
use engine::{Checkpoint, EngineError};
use env::Env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Work for the housekeeping thread, done in order; hence a checkpoint never meets a half-done compaction.
pub(crate) enum Chore {
    Prune { compact_revision: Revision },
    Checkpoint { checkpoint: Box<dyn Checkpoint>, head: Vec<Vec<u8>>, revision: Revision },
}

/// Runs the housekeeping thread until the commit thread has gone.
pub(crate) fn run(
    shards: &Shards,
    seal: &dyn Seal,
    chores: &mpsc::Receiver<Chore>,
    checkpointing: &AtomicBool,
) {
    for chore in chores {
        if shards.closed.load(Ordering::Acquire) {
            return;
        }
        match chore {
            Chore::Prune { compact_revision } => {
                shards.all().iter().for_each(|shard| shard.prune(compact_revision));
            }
            Chore::Checkpoint { checkpoint, head, revision } => {
                match write_checkpoint(shards, seal, checkpoint, &head, revision) {
                    Ok(Some(bytes)) => tracing::debug!(revision, bytes, "wrote a checkpoint of the store"),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "no checkpoint of the store; it is tried again as the log grows");
                    }
                }
                checkpointing.store(false, Ordering::Release);
            }
        }
    }
}

/// Writes all that can be read at `revision` or is newer than the compacted revision. `None`: the store was closed
/// meanwhile, and the checkpoint abandoned.
fn write_checkpoint(
    shards: &Shards,
    seal: &dyn Seal,
    mut checkpoint: Box<dyn Checkpoint>,
    head: &[Vec<u8>],
    revision: Revision,
) -> Result<Option<u64>, EngineError> {
    for frame in head {
        checkpoint.frame(frame)?;
    }
    let mut buffer = Vec::new();
    for shard in shards.all() {
        shard.dump(revision, |versions| {
            for (key, version) in versions {
                buffer.clear();
                codec::begin_version(&mut buffer, version.revision());
                match version {
                    Version::Live(kv) => {
                        let sealed = seal.seal(&kv.key, &kv.value).map_err(EngineError::Unsealed)?;
                        codec::put(&mut buffer, kv, sealed.as_deref().unwrap_or(&kv.value));
                    }
                    Version::Tombstone(_) => codec::delete(&mut buffer, key),
                }
                checkpoint.frame(&buffer)?;
            }
            Ok::<(), EngineError>(())
        })?;
        if shards.closed.load(Ordering::Acquire) {
            return Ok(None);
        }
    }
    checkpoint.finish().map(Some)
}

/// When the commit thread wants to be woken by time.
#[derive(Debug)]
pub(crate) struct Schedule {
    next_expiry_ms: AtomicI64,
    changed: Notify,
}

/// How often the age of history is looked at.
const COMPACTION_CHECK: Duration = Duration::from_secs(60);

/// At most so often does time wake the commit thread: leases count in seconds.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);

impl Schedule {
    pub(crate) fn new(next_expiry_ms: i64) -> Schedule {
        Schedule { next_expiry_ms: AtomicI64::new(next_expiry_ms), changed: Notify::new() }
    }

    /// Tells when the next lease ends; `i64::MAX`: never.
    pub(crate) fn set_next_expiry(&self, expiry_ms: i64) {
        if self.next_expiry_ms.swap(expiry_ms, Ordering::AcqRel) > expiry_ms {
            self.changed.notify_one();
        }
    }

    fn wait(&self, now_ms: i64) -> Duration {
        let until = self.next_expiry_ms.load(Ordering::Acquire).saturating_sub(now_ms);
        Duration::from_millis(u64::try_from(until).unwrap_or(0)).min(COMPACTION_CHECK)
    }

    /// Wakes the commit thread whenever a lease ends or history grows old, until the store is closed.
    pub(crate) async fn run(self: Arc<Self>, env: Env, commands: mpsc::Sender<Command>) {
        loop {
            tokio::select! {
                () = env.sleep(self.wait(env.unix_ms())) => {}
                () = self.changed.notified() => continue,
            }
            let (done, wait) = oneshot::channel();
            if commands.send(Command::Tick { done }).is_err() || wait.await.is_err() {
                return;
            }
            if self.wait(env.unix_ms()) < SHORTEST_WAIT {
                env.sleep(SHORTEST_WAIT).await;
            }
        }
    }
}
