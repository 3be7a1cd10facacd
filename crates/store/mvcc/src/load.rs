//! Builds the index from the engine's frames when a store is opened.

use crate::codec::{self, Change, Record};
use crate::lease::{LeaseChange, Leases};
use crate::seal::{Opened, Seal, Unreadable};
use crate::shard;
use crate::shards::Shards;
use crate::types::{Event, EventKind, KeyValue, NO_LEASE, Revision};
use std::sync::Arc;

/// A store as far as it has been read.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) shards: Shards,
    pub(crate) leases: Leases,
    /// What the events that can still be watched cost in memory.
    pub(crate) history_bytes: u64,
    revision: Revision,
    /// Values that would be written otherwise today.
    pub(crate) stale: u64,
    seal: Arc<dyn Seal>,
    /// True while a checkpoint's versions come, which are ordered by key and not by revision.
    in_checkpoint: bool,
}

impl Loader {
    pub(crate) fn new(seal: Arc<dyn Seal>) -> Loader {
        let revision = 1;
        Loader {
            shards: Shards::new(),
            leases: Leases::new(),
            history_bytes: 0,
            revision,
            stale: 0,
            seal,
            in_checkpoint: false,
        }
    }

    /// Takes the next frame.
    pub(crate) fn frame(&mut self, frame: &[u8]) -> Result<(), String> {
        match codec::decode(frame)? {
            Record::Base { revision, compact_revision, next_lease } => {
                self.in_checkpoint = true;
                self.revision = revision;
                self.shards.set_compact_revision(compact_revision);
                self.leases.next = next_lease;
            }
            Record::Version { revision, change } => {
                let event = event(self.opened(change), revision);
                let shard = self.shards.shard_of(&event.kv.key);
                let (kind, kv) = (event.kind, event.kv.clone());
                let prev = shard.restore(event, self.shards.compact_revision());
                self.history_bytes += 128 + prev.as_ref().map_or(0, |prev| shard::kv_bytes(prev));
                self.track(kind, &kv, prev.as_deref());
            }
            Record::Txn { revision, changes } => {
                self.end_checkpoint();
                if revision != self.revision + 1 {
                    return Err(format!("revision {revision} follows revision {}", self.revision));
                }
                self.revision = revision;
                let mut events = Vec::with_capacity(changes.len());
                for change in changes {
                    let mut event = event(self.opened(change), revision);
                    event.prev = self.shards.latest(&event.kv.key);
                    events.push(event);
                }
                for event in &events {
                    self.history_bytes += shard::history_bytes(event);
                    self.track(event.kind, &event.kv, event.prev.as_deref());
                }
                self.shards.publish(events, revision);
            }
            Record::Lease { lease, ttl_ms, expires_ms } => {
                self.leases.apply(LeaseChange::Grant { lease, ttl_ms, expires_ms });
            }
            Record::LeaseEnd { lease } => self.leases.apply(LeaseChange::End { lease }),
            Record::Compact { revision } => self.shards.set_compact_revision(revision),
        }
        Ok(())
    }

    /// A change with its value as it is in memory.
    fn opened(&mut self, change: Change) -> Change {
        let Change::Put(mut kv) = change else { return change };
        kv.value = match self.seal.open(&kv.key, kv.value) {
            Opened::Fresh(value) => value,
            Opened::Stale(value) => {
                self.stale += 1;
                value
            }
            Opened::Unreadable { stored, why } => {
                let key = String::from_utf8_lossy(&kv.key);
                tracing::error!(%key, why, "a stored value cannot be read");
                kv.payload = Some(Arc::new(Unreadable(why)));
                stored
            }
        };
        Change::Put(kv)
    }

    /// Ends the reading: the index is as it was when the last frame was written.
    pub(crate) fn finish(&mut self) {
        self.end_checkpoint();
        self.shards.set_visible(self.revision);
        let compact_revision = self.shards.compact_revision();
        self.shards.all().iter().for_each(|shard| shard.prune_all(compact_revision));
    }

    fn end_checkpoint(&mut self) {
        if std::mem::take(&mut self.in_checkpoint) {
            self.shards.all().iter().for_each(|shard| shard.sort_log());
        }
    }

    fn track(&mut self, kind: EventKind, kv: &Arc<KeyValue>, prev: Option<&KeyValue>) {
        let live = (kind == EventKind::Put).then_some(&**kv);
        self.shards.count(prev, live);
        for change in lease_changes(live, prev) {
            self.leases.apply(change);
        }
    }
}

/// What a key's change means for the leases of its versions.
pub(crate) fn lease_changes(
    next: Option<&KeyValue>,
    prev: Option<&KeyValue>,
) -> impl Iterator<Item = LeaseChange> + use<> {
    let of = |kv: Option<&KeyValue>| kv.map_or(NO_LEASE, |kv| kv.lease);
    let (before, after) = (of(prev), of(next));
    let key = next.or(prev).map(|kv| kv.key.clone()).unwrap_or_default();
    let detach = (before != NO_LEASE && before != after)
        .then(|| LeaseChange::Detach { lease: before, key: key.clone() });
    let attach = (after != NO_LEASE && before != after).then_some(LeaseChange::Attach { lease: after, key });
    detach.into_iter().chain(attach)
}

fn event(change: Change, revision: Revision) -> Event {
    match change {
        Change::Put(kv) => Event { kind: EventKind::Put, kv: Arc::new(kv), prev: None },
        Change::Delete(key) => {
            Event { kind: EventKind::Delete, kv: Arc::new(deleted(key, revision)), prev: None }
        }
    }
}

/// How the event of a deletion names its key and revision.
pub(crate) fn deleted(key: bytes::Bytes, revision: Revision) -> KeyValue {
    KeyValue {
        key,
        value: bytes::Bytes::new(),
        create_revision: 0,
        mod_revision: revision,
        version: 0,
        lease: NO_LEASE,
        payload: None,
    }
}
