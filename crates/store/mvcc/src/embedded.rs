//! The store in this process: an index in memory, a commit thread, an engine underneath.

use crate::commit::{Command, Committer};
use crate::error::StoreError;
use crate::housekeeping::{self, Schedule};
use crate::load::Loader;
use crate::metrics;
use crate::policy::CompactionPolicy;
use crate::range::KeyRange;
use crate::seal::{Plain, Seal};
use crate::shards::Shards;
use crate::store::{Store, Watch};
use crate::types::{
    GetResponse, LeaseId, RangeOptions, RangeResponse, Revision, StoreStatus, Txn, TxnResponse,
};
use crate::watch::EmbeddedWatch;
use async_trait::async_trait;
use engine::{Engine, EngineError, LogEngine, MemoryDisk, MemoryEngine, Visit};
use env::{Env, Task};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// The threads call little but the engine, so they need little stack.
const STACK_BYTES: usize = 512 << 10;

/// How long and how much history to keep, in memory and on disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// Old revisions stay readable for about this long.
    pub history: Duration,
    /// They go earlier when they take more than about this many bytes of memory.
    pub history_bytes: u64,
    /// The log may grow by this many bytes beyond the size of what is current before a checkpoint replaces it:
    /// less means a quicker opening, more means fewer checkpoints.
    pub log_slack_bytes: u64,
}

impl Default for Options {
    /// Five minutes, as upstream's API server has it, within 64 MiB.
    fn default() -> Options {
        Options { history: Duration::from_secs(300), history_bytes: 64 << 20, log_slack_bytes: 16 << 20 }
    }
}

/// The embedded store. Closed when dropped; share it in an [`Arc`].
#[derive(Debug)]
pub struct Embedded {
    shards: Arc<Shards>,
    commands: mpsc::Sender<Command>,
    threads: Vec<JoinHandle<()>>,
    _clock: Task,
}

impl Embedded {
    /// Opens the store in `directory`, which is made when missing. Reads everything into memory before it
    /// returns, and starts its threads and one task, for which it needs a tokio runtime.
    ///
    /// # Errors
    /// [`EngineError::Locked`] names the process that has it open; [`EngineError::Corrupt`] says which file is
    /// damaged.
    pub fn open(directory: &Path, env: &Env, options: &Options) -> Result<Embedded, EngineError> {
        Embedded::open_sealed(directory, env, options, Arc::new(Plain))
    }

    /// The same with values that `seal` encrypts on disk. What would be written otherwise today is written anew at once.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_sealed(
        directory: &Path,
        env: &Env,
        options: &Options,
        seal: Arc<dyn Seal>,
    ) -> Result<Embedded, EngineError> {
        Embedded::open_with(env, options, seal, |visit| LogEngine::open(directory, visit))
    }

    /// Writes everything anew as it should be written now, in the background; what was written before goes.
    pub fn rewrite(&self) {
        // A store that is being closed has nothing to write any more.
        drop(self.commands.send(Command::Rewrite));
    }

    /// Opens a store without files: for simulations and tests. What is in `disk` outlives the store.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] when the disk holds something else.
    pub fn in_memory(disk: &MemoryDisk, env: &Env, options: &Options) -> Result<Embedded, EngineError> {
        Embedded::open_with(env, options, Arc::new(Plain), |visit| MemoryEngine::open(disk, visit))
    }

    fn open_with<E: Engine>(
        env: &Env,
        options: &Options,
        seal: Arc<dyn Seal>,
        open: impl FnOnce(&mut Visit<'_>) -> Result<E, EngineError>,
    ) -> Result<Embedded, EngineError> {
        let mut loader = Loader::new(seal.clone());
        let engine = open(&mut |frame| loader.frame(frame))?;
        loader.finish();
        let Loader { shards, leases, history_bytes, stale, .. } = loader;
        shards.disk_bytes.store(engine.disk_bytes(), Ordering::Relaxed);
        metrics::disk_bytes(engine.disk_bytes());
        let shards = Arc::new(shards);
        let mut policy = CompactionPolicy::new(options.history, options.history_bytes);
        if shards.visible() > 1 {
            policy.note(env.clock.monotonic(), shards.visible(), history_bytes);
        }
        let schedule = Arc::new(Schedule::new(leases.next_expiry_ms()));
        let (commands, queue) = mpsc::channel();
        let (chores, chore_queue) = mpsc::channel();
        let checkpointing = Arc::new(AtomicBool::new(false));
        let clock = env::spawn("store-clock", schedule.clone().run(env.clone(), commands.clone()));
        let committer = Committer::new(
            shards.clone(),
            Box::new(engine),
            leases,
            policy,
            schedule,
            chores,
            checkpointing.clone(),
            env.clone(),
            options.log_slack_bytes,
            seal.clone(),
        );
        let index = shards.clone();
        let threads = vec![
            spawn("store-commit", move || committer.run(&queue))?,
            spawn("store-keeper", move || {
                housekeeping::run(&index, &*seal, &chore_queue, &checkpointing);
            })?,
        ];
        let store = Embedded { shards, commands, threads, _clock: clock };
        if stale > 0 {
            tracing::info!(stale, "values are written anew as the present configuration says");
            store.rewrite();
        }
        Ok(store)
    }

    /// [`Store::get`] without the detour through a future: it only reads memory.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get_now(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, StoreError> {
        self.shards.get(key, at)
    }

    /// [`Store::range`] without the detour through a future: it only reads memory.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn range_now(&self, range: &KeyRange, options: RangeOptions) -> Result<RangeResponse, StoreError> {
        self.shards.range(range, options)
    }

    /// The current revision.
    pub fn revision_now(&self) -> Revision {
        self.shards.visible()
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the store was closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(run).map_err(|source| EngineError::Io { path: name.into(), source })
}

impl Drop for Embedded {
    /// Lets what was queued become durable, and gives the directory free.
    fn drop(&mut self) {
        drop(self.commands.send(Command::Close));
        for thread in self.threads.drain(..) {
            // A panic in a thread was printed there, and there is nobody left to tell.
            drop(thread.join());
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, StoreError> {
        self.shards.get(key, at)
    }

    async fn range(&self, range: &KeyRange, options: RangeOptions) -> Result<RangeResponse, StoreError> {
        self.shards.range(range, options)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        self.ask(|reply| Command::Txn { txn, reply }).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.ask(|reply| Command::Grant { ttl_ms, reply }).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Revoke { lease, reply }).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Command::Compact { revision, reply }).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.shards.visible())
    }

    async fn status(&self) -> Result<StoreStatus, StoreError> {
        Ok(StoreStatus {
            revision: self.shards.visible(),
            compact_revision: self.shards.compact_revision(),
            disk_bytes: self.shards.disk_bytes.load(Ordering::Relaxed),
            live_bytes: self.shards.live_bytes.load(Ordering::Relaxed),
            keys: self.shards.live_keys.load(Ordering::Relaxed),
        })
    }

    async fn watch(&self, range: KeyRange, from: Option<Revision>) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(EmbeddedWatch::start(&self.shards, range, from)?))
    }

    fn stamps_revisions(&self) -> bool {
        true
    }
}
