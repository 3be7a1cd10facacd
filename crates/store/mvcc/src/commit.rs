//! The commit thread: the only writer. Decides transactions in order, makes them durable together, and publishes them.
//!
//! A batch goes through three steps. *Staging* decides each transaction against the index and what earlier
//! transactions of the same batch will have done, and writes it into the batch's bytes. *Appending* makes the bytes
//! durable. *Publishing* applies the events to the index, raises the visible revision and answers the callers. If
//! appending fails, what was staged is dropped as if it had never been asked for, and the callers get the error.

use crate::codec;
use crate::error::StoreError;
use crate::housekeeping::{Chore, Schedule};
use crate::lease::{LeaseChange, Leases};
use crate::load::{deleted, lease_changes};
use crate::metrics;
use crate::policy::CompactionPolicy;
use crate::seal::Seal;
use crate::shard;
use crate::shards::Shards;
use crate::types::{
    Event, EventKind, KeyValue, LeaseId, NO_LEASE, Op, OpResult, Payload, Put, PutPayload, Revision, Txn,
    TxnResponse,
};
use bytes::Bytes;
use engine::{Batch, Engine};
use env::Env;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Commands taken into one batch at most.
const BATCH_COMMANDS: usize = 2048;

/// A batch is closed once it has this many bytes.
const BATCH_BYTES: usize = 4 << 20;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the commit thread is asked for.
pub(crate) enum Command {
    Txn {
        txn: Txn,
        reply: Reply<TxnResponse>,
    },
    Grant {
        ttl_ms: i64,
        reply: Reply<LeaseId>,
    },
    Revoke {
        lease: LeaseId,
        reply: Reply<()>,
    },
    Compact {
        revision: Revision,
        reply: Reply<()>,
    },
    /// Everything is to be written anew.
    Rewrite,
    Tick {
        done: oneshot::Sender<()>,
    },
    Close,
}

/// An answer that waits for its batch to be durable.
enum Answer {
    Txn(Reply<TxnResponse>, TxnResponse),
    Grant(Reply<LeaseId>, LeaseId),
    Done(Reply<()>),
}

impl Answer {
    fn send(self, outcome: Result<(), &StoreError>) {
        // A caller that has gone does not want its answer.
        match self {
            Answer::Txn(reply, response) => {
                drop(reply.send(outcome.map(|()| response).map_err(Clone::clone)))
            }
            Answer::Grant(reply, lease) => drop(reply.send(outcome.map(|()| lease).map_err(Clone::clone))),
            Answer::Done(reply) => drop(reply.send(outcome.map_err(Clone::clone))),
        }
    }
}

/// A key's new version, or the key that is deleted; and the version before.
type Change = (Result<Arc<KeyValue>, Bytes>, Option<Arc<KeyValue>>);

/// What a batch will have done.
#[derive(Default)]
struct Staged {
    bytes: Batch,
    revision: Revision,
    /// The versions that keys will have.
    overlay: HashMap<Bytes, Option<Arc<KeyValue>>>,
    events: Vec<Event>,
    leases: Vec<LeaseChange>,
    next_lease: LeaseId,
    compact_revision: Option<Revision>,
    answers: Vec<Answer>,
}

pub(crate) struct Committer {
    pub(crate) shards: Arc<Shards>,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) leases: Leases,
    pub(crate) policy: CompactionPolicy,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) chores: mpsc::Sender<Chore>,
    pub(crate) checkpointing: Arc<AtomicBool>,
    pub(crate) env: Env,
    log_slack_bytes: u64,
    /// After a checkpoint could not even be begun: the size of the log at which to try again.
    retry_checkpoint_bytes: u64,
    /// A checkpoint is due whatever the size of the log.
    rewrite: bool,
    seal: Arc<dyn Seal>,
    staged: Staged,
}

impl Committer {
    #[expect(clippy::too_many_arguments, reason = "called once, by the opener, which has made each of these")]
    pub(crate) fn new(
        shards: Arc<Shards>,
        engine: Box<dyn Engine>,
        leases: Leases,
        policy: CompactionPolicy,
        schedule: Arc<Schedule>,
        chores: mpsc::Sender<Chore>,
        checkpointing: Arc<AtomicBool>,
        env: Env,
        log_slack_bytes: u64,
        seal: Arc<dyn Seal>,
    ) -> Committer {
        let staged = Staged::default();
        let mut committer = Committer {
            shards,
            engine,
            leases,
            policy,
            schedule,
            chores,
            checkpointing,
            env,
            log_slack_bytes,
            retry_checkpoint_bytes: 0,
            rewrite: false,
            seal,
            staged,
        };
        committer.restage();
        committer
    }

    /// Serves commands until the store is closed.
    pub(crate) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        let mut crowded = false;
        while let Ok(first) = commands.recv() {
            let mut next = Some(first);
            let mut taken = 0;
            // Making a batch durable costs more than all else about it: where several write at a time, those who are
            // about to are let go first, once. On an idle machine that takes no time.
            let mut waits = crowded;
            while let Some(command) = next.take() {
                match command {
                    Command::Txn { txn, reply } => self.stage_txn(txn, reply),
                    Command::Grant { ttl_ms, reply } => self.stage_grant(ttl_ms, reply),
                    Command::Compact { revision, reply } => self.stage_compact(revision, reply),
                    Command::Revoke { lease, reply } => {
                        // Decided on the leases as they are, so what was staged has to take effect first.
                        self.flush();
                        self.stage_revoke(lease, Some(reply));
                        self.flush();
                    }
                    Command::Tick { done } => {
                        self.flush();
                        self.tick();
                        let _ = done.send(());
                    }
                    Command::Rewrite => {
                        self.rewrite = true;
                        self.flush();
                    }
                    Command::Close => {
                        self.flush();
                        return;
                    }
                }
                taken += 1;
                if taken < BATCH_COMMANDS && self.staged.bytes.bytes() < BATCH_BYTES {
                    next = commands.try_recv().ok();
                    if next.is_none() && std::mem::take(&mut waits) {
                        std::thread::yield_now();
                        next = commands.try_recv().ok();
                    }
                }
            }
            crowded = taken > 1;
            self.flush();
        }
    }

    fn stage_txn(&mut self, txn: Txn, reply: Reply<TxnResponse>) {
        if let Err(error) = self.check(&txn) {
            drop(reply.send(Err(error)));
            return;
        }
        let current: Vec<_> = txn.compare.iter().map(|compare| self.pending(&compare.key)).collect();
        let revision_of = |kv: &Option<Arc<KeyValue>>| kv.as_ref().map_or(0, |kv| kv.mod_revision);
        if txn.compare.iter().zip(&current).any(|(compare, kv)| compare.mod_revision != revision_of(kv)) {
            let revision = self.staged.revision;
            self.staged.answers.push(Answer::Txn(reply, TxnResponse::Conflict { revision, current }));
            return;
        }
        let revision = self.staged.revision + 1;
        // Payloads are made by the caller's code, whose panic must not end the store.
        let resolved = catch_unwind(AssertUnwindSafe(|| self.resolve(txn.ops, revision)));
        let Ok(changes) = resolved else {
            drop(reply.send(Err(StoreError::InvalidTxn("the payload's function panicked"))));
            return;
        };
        let results =
            changes.iter().map(|(kv, prev)| OpResult { kv: kv.clone().ok(), prev: prev.clone() }).collect();
        match self.stage_changes(changes, revision) {
            Ok(revision) => {
                let response = TxnResponse::Committed { revision, results };
                self.staged.answers.push(Answer::Txn(reply, response));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn check(&self, txn: &Txn) -> Result<(), StoreError> {
        for (index, op) in txn.ops.iter().enumerate() {
            if op.key().is_empty() {
                return Err(StoreError::InvalidTxn("key is not provided"));
            }
            if txn.ops[..index].iter().any(|other| other.key() == op.key()) {
                return Err(StoreError::InvalidTxn("duplicate key given in txn request"));
            }
            let Op::Put(put) = op else { continue };
            if put.lease != NO_LEASE && !self.leases.contains(put.lease) {
                return Err(StoreError::LeaseNotFound { lease: put.lease });
            }
            if put.stamp_at.is_some_and(|at| at > put.value.len()) {
                return Err(StoreError::InvalidTxn("the revision's place is outside of the value"));
            }
        }
        Ok(())
    }

    /// The version that a key has after what is staged.
    fn pending(&self, key: &[u8]) -> Option<Arc<KeyValue>> {
        match self.staged.overlay.get(key) {
            Some(pending) => pending.clone(),
            None => self.shards.latest(key),
        }
    }

    /// For each operation that changes something or puts: the new version, or the deleted key; and the one before.
    fn resolve(&self, ops: Vec<Op>, revision: Revision) -> Vec<Change> {
        let resolve = |op| match op {
            Op::Put(put) => {
                let prev = self.pending(&put.key);
                (Ok(Arc::new(next_version(put, prev.as_deref(), revision))), prev)
            }
            Op::Delete(key) => {
                let prev = self.pending(&key);
                (Err(key), prev)
            }
        };
        ops.into_iter().map(resolve).collect()
    }

    /// Stages resolved changes at `revision`; answers the revision at which they will all be true.
    ///
    /// Nothing is staged when a value cannot be sealed.
    fn stage_changes(&mut self, changes: Vec<Change>, revision: Revision) -> Result<Revision, StoreError> {
        // The deletion of what is not there changes nothing.
        let changes: Vec<_> = changes.into_iter().filter(|(kv, prev)| kv.is_ok() || prev.is_some()).collect();
        if changes.is_empty() {
            return Ok(self.staged.revision);
        }
        let sealed = changes.iter().map(|(change, _)| match change {
            Ok(kv) => self.seal.seal(&kv.key, &kv.value).map_err(StoreError::Unsealed),
            Err(_) => Ok(None),
        });
        let sealed = sealed.collect::<Result<Vec<_>, _>>()?;
        self.staged.revision = revision;
        self.staged.bytes.frame(|buffer| {
            codec::begin_txn(buffer, revision);
            for ((change, _), sealed) in changes.iter().zip(sealed) {
                match change {
                    Ok(kv) => codec::put(buffer, kv, sealed.as_deref().unwrap_or(&kv.value)),
                    Err(key) => codec::delete(buffer, key),
                }
            }
        });
        for (change, prev) in changes {
            let live = change.as_ref().ok();
            self.staged.leases.extend(lease_changes(live.map(|kv| &**kv), prev.as_deref()));
            let (kind, key) = match &change {
                Ok(kv) => (EventKind::Put, kv.key.clone()),
                Err(key) => (EventKind::Delete, key.clone()),
            };
            self.staged.overlay.insert(key, live.cloned());
            let kv = change.unwrap_or_else(|key| Arc::new(deleted(key, revision)));
            self.staged.events.push(Event { kind, kv, prev });
        }
        Ok(revision)
    }

    fn stage_grant(&mut self, ttl_ms: i64, reply: Reply<LeaseId>) {
        let lease = self.staged.next_lease;
        self.staged.next_lease += 1;
        let expires_ms = self.env.unix_ms().saturating_add(ttl_ms);
        self.staged.bytes.frame(|buffer| codec::lease(buffer, lease, ttl_ms, expires_ms));
        self.staged.leases.push(LeaseChange::Grant { lease, ttl_ms, expires_ms });
        self.staged.answers.push(Answer::Grant(reply, lease));
    }

    fn stage_revoke(&mut self, lease: LeaseId, reply: Option<Reply<()>>) {
        let Some(keys) = self.leases.keys(lease) else {
            if let Some(reply) = reply {
                drop(reply.send(Err(StoreError::LeaseNotFound { lease })));
            }
            return;
        };
        let revision = self.staged.revision + 1;
        let changes = self.resolve(keys.into_iter().map(Op::Delete).collect(), revision);
        if let Err(error) = self.stage_changes(changes, revision) {
            if let Some(reply) = reply {
                drop(reply.send(Err(error)));
            }
            return;
        }
        self.staged.bytes.frame(|buffer| codec::lease_end(buffer, lease));
        self.staged.leases.push(LeaseChange::End { lease });
        self.staged.answers.extend(reply.map(Answer::Done));
    }

    fn stage_compact(&mut self, revision: Revision, reply: Reply<()>) {
        let compact_revision = self.staged.compact_revision.unwrap_or_else(|| self.shards.compact_revision());
        if revision <= compact_revision {
            drop(reply.send(Err(StoreError::Compacted { compact_revision })));
        } else if revision > self.staged.revision {
            drop(reply.send(Err(StoreError::FutureRevision { revision: self.staged.revision })));
        } else {
            self.compact_at(revision);
            self.staged.answers.push(Answer::Done(reply));
        }
    }

    fn compact_at(&mut self, revision: Revision) {
        self.staged.bytes.frame(|buffer| codec::compact(buffer, revision));
        self.staged.compact_revision = Some(revision);
    }

    /// What time asks for: leases that end, history that has grown old.
    fn tick(&mut self) {
        for lease in self.leases.due(self.env.unix_ms()) {
            self.stage_revoke(lease, None);
        }
        if let Some(revision) = self.policy.expired(self.env.clock.monotonic())
            && revision > self.shards.compact_revision()
        {
            self.compact_at(revision);
        }
        self.flush();
    }

    /// Makes what is staged durable, publishes it and answers; or answers with the error and forgets it.
    fn flush(&mut self) {
        if !self.staged.bytes.is_empty() {
            let start = Instant::now();
            if let Err(error) = self.engine.append(&mut self.staged.bytes) {
                tracing::warn!(%error, "cannot write to the store");
                let error = StoreError::from(error);
                self.staged.answers.drain(..).for_each(|answer| answer.send(Err(&error)));
                self.restage();
                return;
            }
            metrics::SYNC_SECONDS.observe_since(start);
            metrics::BATCH_TRANSACTIONS.observe(self.staged.bytes.frames() as f64);
            self.publish();
        }
        self.staged.answers.drain(..).for_each(|answer| answer.send(Ok(())));
        self.restage();
        self.checkpoint_if_due();
    }

    fn publish(&mut self) {
        let events = std::mem::take(&mut self.staged.events);
        for event in &events {
            let live = (event.kind == EventKind::Put).then_some(&*event.kv);
            self.shards.count(event.prev.as_deref(), live);
        }
        let revision = self.staged.revision;
        let history_bytes = events.iter().map(shard::history_bytes).sum();
        self.staged.leases.drain(..).for_each(|change| self.leases.apply(change));
        self.schedule.set_next_expiry(self.leases.next_expiry_ms());
        self.shards.publish(events, revision);
        metrics::REVISION.set(revision as f64);
        let now = self.env.clock.monotonic();
        self.policy.note(now, revision, history_bytes);
        let disk_bytes = self.engine.disk_bytes();
        self.shards.disk_bytes.store(disk_bytes, Ordering::Relaxed);
        metrics::disk_bytes(disk_bytes);
        if let Some(compact_revision) = self.staged.compact_revision {
            self.shards.set_compact_revision(compact_revision);
            metrics::COMPACT_REVISION.set(compact_revision as f64);
            drop(self.chores.send(Chore::Prune { compact_revision }));
        }
    }

    /// Starts the next batch where the last one ended.
    fn restage(&mut self) {
        let staged = &mut self.staged;
        staged.bytes.clear();
        staged.revision = self.shards.visible();
        staged.overlay.clear();
        staged.events.clear();
        staged.leases.clear();
        staged.next_lease = self.leases.next;
        staged.compact_revision = None;
        // Under a storm of writes, history is cut by its size; the record goes out with the next batch.
        if let Some(revision) = self.policy.over_budget()
            && revision > self.shards.compact_revision()
        {
            self.compact_at(revision);
        }
    }

    fn checkpoint_if_due(&mut self) {
        let limit = self.log_slack_bytes + self.shards.live_bytes.load(Ordering::Relaxed);
        let due = self.rewrite || self.engine.log_bytes() > limit.max(self.retry_checkpoint_bytes);
        if !due || self.checkpointing.swap(true, Ordering::AcqRel) {
            return;
        }
        let checkpoint = match self.engine.begin_checkpoint() {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                tracing::warn!(%error, "no checkpoint of the store; it is tried again as the log grows");
                self.retry_checkpoint_bytes = self.engine.log_bytes() + self.log_slack_bytes;
                self.checkpointing.store(false, Ordering::Release);
                return;
            }
        };
        self.retry_checkpoint_bytes = 0;
        self.rewrite = false;
        let revision = self.shards.visible();
        let mut base = Vec::new();
        codec::base(&mut base, revision, self.shards.compact_revision(), self.leases.next);
        let lease = |(lease, ttl_ms, expires_ms)| {
            let mut frame = Vec::new();
            codec::lease(&mut frame, lease, ttl_ms, expires_ms);
            frame
        };
        let head = std::iter::once(base).chain(self.leases.all().map(lease)).collect();
        drop(self.chores.send(Chore::Checkpoint { checkpoint, head, revision }));
    }
}

impl Drop for Committer {
    /// However the thread ends, nobody may wait for it any longer.
    fn drop(&mut self) {
        self.shards.close();
    }
}

/// The version that a put makes of the one before.
fn next_version(put: Put, prev: Option<&KeyValue>, revision: Revision) -> KeyValue {
    let value = match put.stamp_at {
        Some(at) => {
            let digits = revision.to_string();
            let mut stamped = Vec::with_capacity(put.value.len() + digits.len());
            stamped.extend_from_slice(&put.value[..at]);
            stamped.extend_from_slice(digits.as_bytes());
            stamped.extend_from_slice(&put.value[at..]);
            stamped.into()
        }
        None => put.value,
    };
    let payload: Option<Payload> = match put.payload {
        PutPayload::None => None,
        PutPayload::Ready(payload) => Some(payload),
        PutPayload::Stamped(make) => Some(make(revision)),
    };
    KeyValue {
        key: put.key,
        value,
        create_revision: prev.map_or(revision, |prev| prev.create_revision),
        mod_revision: revision,
        version: prev.map_or(1, |prev| prev.version + 1),
        lease: put.lease,
        payload,
    }
}
