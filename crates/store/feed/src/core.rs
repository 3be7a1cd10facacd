//! The state of a feed, and the one place that changes it.
//!
//! Two locks, taken in this order: `line` keeps changes, new watchers and bookmarks in one line, so that a watcher
//! gets each event once and a bookmark never overtakes an event; `state` is what lists read, and is held for
//! writing only while the map is changed.

use crate::audience::Audience;
use crate::codec::{self, Codec};
use crate::entry::{Entry, Event, EventKind};
use crate::error::FeedError;
use crate::feed::FeedOptions;
use crate::metrics::Measured;
use crate::queue::{Item, Queue};
use crate::scope::Scope;
use crate::snapshot::{Entries, Snapshot, Unreadables};
use mvcc::{KeyValue, Progress, Revision};
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) struct Core<T: ?Sized> {
    pub(crate) prefix: Arc<str>,
    pub(crate) codec: Arc<dyn Codec<T>>,
    pub(crate) measured: Measured,
    recent_max: usize,
    line: Mutex<Line<T>>,
    state: RwLock<State<T>>,
    /// The revision up to which everything has been applied, for those who wait for it.
    reached: watch::Sender<Revision>,
}

struct Line<T: ?Sized> {
    audience: Audience<T>,
    /// Every event after `recent_since`, ascending.
    recent: VecDeque<Arc<Event<T>>>,
    recent_since: Revision,
    progress: Option<Progress>,
}

struct State<T: ?Sized> {
    revision: Revision,
    /// The revision of the last change of any object.
    changed: Revision,
    entries: Entries<T>,
    unreadable: Arc<Unreadables>,
}

/// What a watch begins with.
pub(crate) enum Beginning<T: ?Sized> {
    /// The queue holds what has happened since, and gets what will.
    Following(Arc<Queue<T>>),
    /// The recent events do not reach back so far; those after `recent_since` are here. The items come back.
    Earlier { recent_since: Revision, items: Vec<Item<T>> },
}

impl<T: ?Sized + Send + Sync + 'static> Core<T> {
    pub(crate) fn new(options: &FeedOptions, codec: Arc<dyn Codec<T>>) -> Core<T> {
        let (audience, recent) = (Audience::default(), VecDeque::new());
        let ((group, plural), recent_max) = (&options.resource, options.recent_events);
        Core {
            prefix: options.prefix.as_str().into(),
            codec,
            measured: Measured::new(group, plural, recent_max),
            recent_max,
            line: Mutex::new(Line { audience, recent, recent_since: 0, progress: None }),
            state: RwLock::new(State {
                revision: 0,
                changed: 0,
                entries: Entries::default(),
                unreadable: Arc::default(),
            }),
            reached: watch::Sender::new(0),
        }
    }

    /// The entry of a version in the store; `None`, and a line in the log, when it cannot be decoded.
    pub(crate) fn entry(&self, kv: &KeyValue) -> Option<Arc<Entry<T>>> {
        let form = self.codec.form();
        let carried = kv.payload.as_ref().and_then(|payload| codec::unwrap(payload, form));
        let object = match carried.map_or_else(|| self.codec.decode(kv), Ok) {
            Ok(object) => object,
            Err(reason) => {
                self.measured.undecodable();
                tracing::error!(key = %String::from_utf8_lossy(&kv.key), reason, "cannot decode a stored object");
                return None;
            }
        };
        let (key, stored) = (kv.key.clone(), Some(kv.value.clone()));
        Some(Arc::new(Entry::new(key, kv.mod_revision, object, stored, self.codec.clone())))
    }

    /// Starts (over) from everything that is in the store at `revision`.
    pub(crate) fn load(&self, kvs: &[Arc<KeyValue>], revision: Revision, progress: Progress) {
        let (unreadable, readable): (Vec<_>, Vec<_>) =
            kvs.iter().partition(|kv| why_unreadable(kv).is_some());
        let entries: Vec<_> = readable.iter().filter_map(|kv| self.entry(kv)).collect();
        let whys = unreadable.iter().filter_map(|kv| Some((kv.key.clone(), why_unreadable(kv)?)));
        let unreadable = Arc::new(whys.collect::<Unreadables>());
        let changed = revision;
        let ended = {
            let mut line = self.line.lock();
            line.recent.clear();
            line.recent_since = revision;
            line.progress = Some(progress);
            *self.state.write() =
                State { revision, changed, entries: Entries::from_sorted(entries), unreadable };
            self.reached.send_replace(revision);
            line.audience.take_all()
        };
        self.measured.initialized(kvs.len());
        self.measured.reached(revision);
        // Whoever watched may have missed something in between.
        ended.iter().for_each(|queue| queue.end(FeedError::Interrupted));
    }

    /// Applies changes, in order; afterwards everything up to `revision` has been applied.
    pub(crate) fn apply(&self, changes: &[mvcc::Event], revision: Revision) {
        // Decoding is the expensive part and needs no lock.
        let decoded: Vec<_> = changes
            .iter()
            .map(|change| match change.kind {
                mvcc::EventKind::Put => self.entry(&change.kv),
                mvcc::EventKind::Delete => None,
            })
            .collect();
        let mut replaced = Vec::new();
        let mut line = self.line.lock();
        let mut events = Vec::with_capacity(changes.len());
        {
            let mut state = self.state.write();
            for (change, entry) in changes.iter().zip(decoded) {
                events.extend(state.change(change, entry).map(Arc::new));
            }
            if let Some(last) = changes.last() {
                state.changed = last.revision();
            }
            state.revision = state.revision.max(revision);
            self.reached.send_replace(state.revision);
            self.measured.reached(state.revision);
        }
        line.remember(&events, self.recent_max, &mut replaced);
        let cut = line.audience.tell(self.prefix.as_bytes(), &events);
        drop(line);
        if !events.is_empty() {
            self.measured.events(events.len());
        }
        if cut > 0 {
            self.measured.terminated(cut);
            tracing::info!(prefix = %self.prefix, cut, "ended watchers that were too slow");
        }
    }

    /// Up to where everything has been applied. Asking keeps no snapshot alive, so a write copies nothing for it.
    pub(crate) fn revision(&self) -> Revision {
        self.state.read().revision
    }

    pub(crate) fn snapshot(&self) -> Snapshot<T> {
        let state = self.state.read();
        state.snapshot(state.revision, &self.prefix)
    }

    /// The current snapshot if it is also what there was at `revision`.
    pub(crate) fn snapshot_at(&self, revision: Revision) -> Option<Snapshot<T>> {
        let state = self.state.read();
        let same = state.changed <= revision && revision <= state.revision;
        same.then(|| state.snapshot(revision, &self.prefix))
    }

    pub(crate) fn reached(&self) -> watch::Receiver<Revision> {
        self.reached.subscribe()
    }

    /// Learns without waiting how far the store is, if nothing has changed in this feed's range since; otherwise
    /// asks for progress.
    pub(crate) fn refresh(&self) -> Revision {
        let line = self.line.lock();
        self.refresh_in(&line, true)
    }

    fn refresh_in(&self, line: &Line<T>, ask: bool) -> Revision {
        let applied = self.state.read().revision;
        let Some(progress) = &line.progress else { return applied };
        match progress.fresh_through(applied) {
            Some(revision) => {
                let mut state = self.state.write();
                state.revision = state.revision.max(revision);
                self.reached.send_replace(state.revision);
                self.measured.reached(state.revision);
                state.revision
            }
            None => {
                if ask {
                    progress.request();
                }
                applied
            }
        }
    }

    /// Registers a watcher for what comes after `after`; its queue begins with `items` and what is known already.
    pub(crate) fn follow(
        &self,
        scope: &Scope,
        after: Revision,
        mut items: Vec<Item<T>>,
        capacity: usize,
    ) -> Beginning<T> {
        let mut line = self.line.lock();
        if after < line.recent_since {
            return Beginning::Earlier { recent_since: line.recent_since, items };
        }
        let start = line.recent.partition_point(|event| event.revision() <= after);
        let concerned =
            line.recent.range(start..).filter(|event| scope.concerns(self.prefix.as_bytes(), event));
        items.extend(concerned.map(|event| Item::Event(event.clone())));
        self.measured.began(items.len());
        let queue = Arc::new(Queue::new(items, capacity, after));
        line.audience.add(scope, queue.clone());
        Beginning::Following(queue)
    }

    /// Registers a watcher and gives it the snapshot after which its queue begins.
    pub(crate) fn follow_state(&self, scope: &Scope, capacity: usize) -> (Snapshot<T>, Arc<Queue<T>>) {
        let mut line = self.line.lock();
        let queue = Arc::new(Queue::new(Vec::new(), capacity, 0));
        line.audience.add(scope, queue.clone());
        (self.snapshot(), queue)
    }

    pub(crate) fn leave(&self, scope: &Scope, queue: &Arc<Queue<T>>) {
        self.line.lock().audience.remove(scope, queue);
    }

    /// Puts a bookmark behind everything that the watcher has been told.
    pub(crate) fn bookmark(&self, queue: &Queue<T>) {
        let line = self.line.lock();
        queue.bookmark(self.refresh_in(&line, true));
    }

    pub(crate) fn watchers(&self) -> usize {
        self.line.lock().audience.count()
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        let ended = self.line.lock().audience.take_all();
        ended.iter().for_each(|queue| queue.end(FeedError::Interrupted));
    }
}

/// Why the store could not read a value.
fn why_unreadable(kv: &KeyValue) -> Option<Arc<str>> {
    let unreadable = kv.payload.as_ref()?.downcast_ref::<mvcc::Unreadable>()?;
    Some(unreadable.0.as_str().into())
}

impl<T: ?Sized + Send + Sync + 'static> State<T> {
    fn snapshot(&self, revision: Revision, prefix: &Arc<str>) -> Snapshot<T> {
        Snapshot::new(revision, prefix.clone(), self.entries.clone(), self.unreadable.clone())
    }

    /// Changes the map; `None` when that makes no event.
    fn change(&mut self, change: &mvcc::Event, entry: Option<Arc<Entry<T>>>) -> Option<Event<T>> {
        if self.unreadable.contains_key(&change.kv.key) {
            Arc::make_mut(&mut self.unreadable).remove(&change.kv.key);
        }
        match (change.kind, entry) {
            (mvcc::EventKind::Put, Some(entry)) => {
                let prev = self.entries.insert(entry.clone());
                let kind = if prev.is_some() { EventKind::Modified } else { EventKind::Added };
                Some(Event::new(kind, entry, prev))
            }
            // What cannot be decoded is not shown, and neither is what it was before.
            (mvcc::EventKind::Put, None) | (mvcc::EventKind::Delete, _) => {
                let prev = self.entries.remove(&change.kv.key)?;
                let last = Arc::new(prev.restamped(change.revision()));
                Some(Event::new(EventKind::Deleted, last, Some(prev)))
            }
        }
    }
}

impl<T: ?Sized + Send + Sync + 'static> Line<T> {
    /// Keeps the latest events; what they displace goes to `replaced`, to be freed after the lock.
    fn remember(&mut self, events: &[Arc<Event<T>>], max: usize, replaced: &mut Vec<Arc<Event<T>>>) {
        self.recent.extend(events.iter().cloned());
        while self.recent.len() > max {
            let Some(first) = self.recent.pop_front() else { return };
            self.recent_since = first.revision();
            replaced.push(first);
        }
        // A transaction is remembered whole or not at all.
        while self.recent.front().is_some_and(|event| event.revision() == self.recent_since) {
            replaced.extend(self.recent.pop_front());
        }
    }
}
