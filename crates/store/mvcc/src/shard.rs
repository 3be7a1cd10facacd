//! The keys of one kind, and the events of their recent past.

use crate::error::StoreError;
use crate::history::{History, Version};
use crate::range::KeyRange;
use crate::types::{Event, EventKind, KeyValue, Revision};
use crate::watch::Signal;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Bound;
use std::sync::{Arc, Weak};

/// Keys visited under one hold of the lock, so that a long list does not keep writes of its kind waiting.
const KEYS_PER_HOLD: usize = 2048;

/// Events forgotten under one hold of the lock.
const PRUNED_PER_HOLD: usize = 512;

/// Events that a watch takes at a time.
const EVENTS_PER_POLL: usize = 1024;

/// One shard of the index.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    state: RwLock<State>,
    watchers: Mutex<Vec<Weak<Signal>>>,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<Bytes, History>,
    /// Every event after the compacted revision, ascending by revision.
    log: VecDeque<Event>,
    /// The last revision of which an event has been forgotten.
    pruned_through: Revision,
}

/// The keys of a shard in a range.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) kvs: Vec<Arc<KeyValue>>,
    pub(crate) more: bool,
    pub(crate) remaining: u64,
}

/// About what an event and the version that it replaces cost in memory, in bytes.
pub(crate) fn history_bytes(event: &Event) -> u64 {
    128 + event.prev.as_ref().map_or(0, |prev| kv_bytes(prev))
}

/// About what a version costs in memory, in bytes.
pub(crate) fn kv_bytes(kv: &KeyValue) -> u64 {
    160 + (kv.key.len() + kv.value.len()) as u64
}

fn version_of(event: &Event) -> Version {
    match event.kind {
        EventKind::Put => Version::Live(event.kv.clone()),
        EventKind::Delete => Version::Tombstone(event.kv.mod_revision),
    }
}

impl State {
    fn push(&mut self, key: &Bytes, version: Version) {
        match self.keys.entry(key.clone()) {
            Entry::Occupied(mut history) => history.get_mut().push(version),
            Entry::Vacant(place) => {
                place.insert(History::new(version));
            }
        }
    }
}

impl Shard {
    /// The current version of a key.
    pub(crate) fn latest(&self, key: &[u8]) -> Option<Arc<KeyValue>> {
        self.state.read().keys.get(key).and_then(|history| history.latest().live().cloned())
    }

    /// The version of a key at a revision.
    pub(crate) fn at(&self, key: &[u8], revision: Revision) -> Option<Arc<KeyValue>> {
        self.state.read().keys.get(key).and_then(|history| history.at(revision).cloned())
    }

    /// The keys of a range at a revision; at most `limit`, and the number of the others if `count` is set.
    pub(crate) fn range(&self, range: &KeyRange, revision: Revision, limit: usize, count: bool) -> Found {
        let mut found = Found::default();
        let mut from = Some(range.start.clone());
        while let Some(start) = from.take() {
            let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&**end));
            let state = self.state.read();
            let keys = state.keys.range::<[u8], _>((Bound::Included(&*start), end));
            for (visited, (key, history)) in keys.enumerate() {
                if visited == KEYS_PER_HOLD {
                    from = Some(key.clone());
                    break;
                }
                let Some(kv) = history.at(revision) else { continue };
                if found.kvs.len() < limit {
                    found.kvs.push(kv.clone());
                    continue;
                }
                found.more = true;
                found.remaining += 1;
                if !count {
                    found.remaining = 0;
                    return found;
                }
            }
        }
        found
    }

    /// Adds events, which must be later than all before. Several events of one key come in order.
    pub(crate) fn apply(&self, events: impl Iterator<Item = Event>) {
        let mut state = self.state.write();
        for event in events {
            state.push(&event.kv.key, version_of(&event));
            state.log.push_back(event);
        }
    }

    /// Adds a version that a checkpoint tells of; returns the one before it. Its event, if still of interest, is
    /// put in order by [`Shard::sort_log`] at the end.
    pub(crate) fn restore(&self, mut event: Event, compact_revision: Revision) -> Option<Arc<KeyValue>> {
        let mut state = self.state.write();
        event.prev = state.keys.get(&event.kv.key).and_then(|history| history.latest().live().cloned());
        let prev = event.prev.clone();
        state.push(&event.kv.key, version_of(&event));
        if event.revision() > compact_revision {
            state.log.push_back(event);
        }
        prev
    }

    pub(crate) fn sort_log(&self) {
        self.state.write().log.make_contiguous().sort_by_key(Event::revision);
    }

    /// Forgets what only reads before `compact_revision` could see.
    pub(crate) fn prune(&self, compact_revision: Revision) {
        loop {
            let mut forgotten = Vec::new();
            let mut dropped = Vec::new();
            {
                let mut state = self.state.write();
                while forgotten.len() < PRUNED_PER_HOLD
                    && state.log.front().is_some_and(|event| event.revision() <= compact_revision)
                {
                    let Some(event) = state.log.pop_front() else { break };
                    state.pruned_through = event.revision();
                    let key = &event.kv.key;
                    if state
                        .keys
                        .get_mut(key)
                        .is_some_and(|history| history.compact(compact_revision, &mut dropped))
                    {
                        state.keys.remove(key);
                    }
                    forgotten.push(event);
                }
                if state.log.len() * 4 < state.log.capacity() {
                    let room = state.log.len() * 2;
                    state.log.shrink_to(room);
                }
            }
            // The values are freed here, after the lock.
            if forgotten.len() < PRUNED_PER_HOLD {
                return;
            }
        }
    }

    /// Drops every version that a checkpoint told of and that compaction makes unreadable.
    pub(crate) fn prune_all(&self, compact_revision: Revision) {
        self.state.write().keys.retain(|_, history| !history.compact(compact_revision, &mut Vec::new()));
        self.prune(compact_revision);
    }

    /// The events of a range from revision `next` to `through`, as many as a watch should take at once, and the
    /// revision up to which they are complete.
    pub(crate) fn events(
        &self,
        range: &KeyRange,
        next: Revision,
        through: Revision,
        events: &mut Vec<Event>,
    ) -> Result<Revision, StoreError> {
        let state = self.state.read();
        if next <= state.pruned_through {
            return Err(StoreError::Compacted { compact_revision: state.pruned_through });
        }
        let start = state.log.partition_point(|event| event.revision() < next);
        let mut last = next;
        for (taken, event) in state.log.range(start..).enumerate() {
            let revision = event.revision();
            if revision > through {
                break;
            }
            if taken >= EVENTS_PER_POLL && revision != last {
                return Ok(last);
            }
            last = revision;
            if range.contains(&event.kv.key) {
                events.push(event.clone());
            }
        }
        Ok(through)
    }

    /// The revision of the last event; 0 when there is none that is still known.
    pub(crate) fn last_revision(&self) -> Revision {
        let state = self.state.read();
        state.log.back().map_or(state.pruned_through, Event::revision)
    }

    /// All versions up to `revision`, key by key and ascending, a part at a time: `visit` gets the key's versions.
    pub(crate) fn dump<E>(
        &self,
        revision: Revision,
        mut visit: impl FnMut(&[(Bytes, Version)]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = Some(Bytes::new());
        let mut part = Vec::new();
        while let Some(start) = from.take() {
            part.clear();
            {
                let state = self.state.read();
                for (key, history) in state.keys.range(start..) {
                    if part.len() >= KEYS_PER_HOLD {
                        from = Some(key.clone());
                        break;
                    }
                    let versions = history.versions().filter(|version| version.revision() <= revision);
                    part.extend(versions.map(|version| (key.clone(), version.clone())));
                }
            }
            visit(&part)?;
        }
        Ok(())
    }

    /// Wakes this signal whenever the shard changes.
    pub(crate) fn subscribe(&self, signal: &Arc<Signal>) {
        subscribe(&self.watchers, signal);
    }

    pub(crate) fn wake(&self) {
        wake(&self.watchers);
    }
}

pub(crate) fn subscribe(watchers: &Mutex<Vec<Weak<Signal>>>, signal: &Arc<Signal>) {
    let mut watchers = watchers.lock();
    watchers.retain(|watcher| watcher.strong_count() > 0);
    watchers.push(Arc::downgrade(signal));
}

pub(crate) fn wake(watchers: &Mutex<Vec<Weak<Signal>>>) {
    watchers.lock().iter().filter_map(Weak::upgrade).for_each(|signal| signal.wake());
}
