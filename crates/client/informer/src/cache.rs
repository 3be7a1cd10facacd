//! A cache of one kind: what the watch told, plus what this process itself wrote since.
//!
//! A controller that acts on a cache which does not yet show its own last writes acts twice. So every object that a
//! write brings back goes into the cache at once ([`Cache::observe`]) if it is newer than what is there, and what a
//! delete removed leaves a tombstone ([`Cache::forget`]) until the watch has passed it. Older news from the watch is
//! then ignored. Revisions order everything: an answer that arrives after the watch has already reported the object's
//! end must not bring it back.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use call::EventType;
use meta::{Object, Str};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::index::Index;
use crate::reflector::Sink;
use crate::{Key, Watched, revision};

/// One change of a cache.
#[derive(Debug)]
pub enum Change<T: ?Sized> {
    /// The object was not there before.
    Added(Arc<T>),
    /// The object was replaced.
    Updated {
        /// State before.
        old: Arc<T>,
        /// State now.
        new: Arc<T>,
    },
    /// The object is gone; this is its last known state.
    Deleted(Arc<T>),
}

impl<T: ?Sized> Change<T> {
    /// The newest state that the change tells of.
    pub fn object(&self) -> &Arc<T> {
        match self {
            Change::Added(object) | Change::Deleted(object) | Change::Updated { new: object, .. } => object,
        }
    }

    /// The state before an update.
    pub fn old(&self) -> Option<&Arc<T>> {
        match self {
            Change::Updated { old, .. } => Some(old),
            _ => None,
        }
    }
}

type Handler<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;

/// Objects of one kind, by key and by index. Reading takes a short lock and returns shared objects.
pub struct Cache<T: ?Sized + Watched> {
    state: RwLock<State<T>>,
    /// Held while a change is made and told, so that handlers hear changes in their order. Handlers may read caches but
    /// must not write to this one.
    handlers: Mutex<Vec<Handler<T>>>,
    synced: watch::Sender<bool>,
}

struct State<T: ?Sized> {
    objects: BTreeMap<Key, Arc<T>>,
    owners: Index<T>,
    indexes: HashMap<&'static str, Index<T>>,
    /// How far the watch has told everything.
    revision: u64,
    /// uid and time of deletes that were acknowledged but not yet seen on the watch.
    tombstones: HashMap<Str, Duration>,
}

impl<T: ?Sized + Watched> Default for Cache<T> {
    fn default() -> Self {
        Cache::new()
    }
}

impl<T: ?Sized + Watched> Cache<T> {
    /// An empty cache that is not in sync yet.
    pub fn new() -> Self {
        let owners = |object: &T| {
            object.object_meta().owner_references.iter().map(|owner| owner.uid.clone()).collect()
        };
        Cache {
            state: RwLock::new(State {
                objects: BTreeMap::new(),
                owners: Index::new(Arc::new(owners)),
                indexes: HashMap::new(),
                revision: 0,
                tombstones: HashMap::new(),
            }),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
        }
    }

    /// The object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.state.read().objects.get(&Key::new(namespace, name)).cloned()
    }

    /// The object of this key.
    pub fn get_key(&self, key: &Key) -> Option<Arc<T>> {
        self.state.read().objects.get(key).cloned()
    }

    /// All objects, in key order.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.state.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, in name order.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let start = Bound::Included(Key::new(namespace, ""));
        let state = self.state.read();
        let range = state.objects.range((start, Bound::Unbounded));
        range.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// The objects that name `uid` among their owners, in key order.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<T>> {
        let state = self.state.read();
        state.owners.keys(uid).filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// Makes an index, once: objects are found under every value that `extract` reads from them.
    pub fn index(&self, name: &'static str, extract: impl Fn(&T) -> Vec<Str> + Send + Sync + 'static) {
        let mut state = self.state.write();
        if state.indexes.contains_key(name) {
            return;
        }
        let mut index = Index::new(Arc::new(extract));
        for (key, object) in &state.objects {
            index.add(key, object);
        }
        state.indexes.insert(name, index);
    }

    /// The objects that index `name` knows under `value`, in key order. An index that was not made finds nothing.
    pub fn find(&self, name: &str, value: &str) -> Vec<Arc<T>> {
        let state = self.state.read();
        debug_assert!(state.indexes.contains_key(name), "index {name} is made before it is used");
        let Some(index) = state.indexes.get(name) else { return Vec::new() };
        index.keys(value).filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the watch has told everything.
    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// Whether the first full state has arrived.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the first full state.
    pub async fn synced(&self) {
        // The sender lives as long as self, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Calls `handler` for every object that is there, as added, and for every later change, in order. It runs on
    /// whatever task brings the change: it should only take notes.
    pub fn subscribe(&self, handler: impl Fn(&Change<T>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.lock();
        for object in self.list() {
            handler(&Change::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    /// Wakes one waiter when something is there or changes; several changes before it looks are one.
    pub fn changes(&self) -> Arc<Notify> {
        let changes = Arc::new(Notify::new());
        let wake = changes.clone();
        self.subscribe(move |_| wake.notify_one());
        changes
    }

    /// Takes in the state that a write of this process brought back. Returns whether it was news.
    pub fn observe(&self, object: Arc<T>) -> bool {
        self.change(|state| {
            let rev = revision(object.object_meta());
            let key = key_of(&*object);
            match state.objects.get(&key) {
                Some(known) if revision(known.object_meta()) >= rev => None,
                // The watch has passed this revision and the object is not there: it was deleted since.
                None if rev <= state.revision => None,
                _ if state.tombstones.contains_key(&object.object_meta().uid) => None,
                _ => Some(state.put(key, object)),
            }
        })
    }

    /// Takes note that a delete of this process was acknowledged as final, at the monotonic time `now`. Returns whether
    /// the object was still there.
    pub fn forget(&self, key: &Key, uid: &str, now: Duration) -> bool {
        self.change(|state| {
            if state.objects.get(key).is_some_and(|known| known.object_meta().uid == uid) {
                state.tombstones.insert(uid.into(), now);
                state.take(key)
            } else {
                None
            }
        })
    }

    /// Puts `objects` in place of everything, at `rev`. `asked` is the monotonic time at which the list was asked for;
    /// own writes that are newer than the list stay.
    pub fn replace(&self, objects: Vec<Arc<T>>, rev: u64, asked: Duration) {
        let handlers = self.handlers.lock();
        let mut changes = Vec::new();
        {
            let mut state = self.state.write();
            // A list that was asked for after a delete was acknowledged shows it.
            state.tombstones.retain(|_, deleted| *deleted >= asked);
            state.revision = state.revision.max(rev);
            let mut gone: BTreeMap<Key, u64> = state
                .objects
                .iter()
                .map(|(key, known)| (key.clone(), revision(known.object_meta())))
                .collect();
            for object in objects {
                let key = key_of(&*object);
                let known = gone.remove(&key);
                let stale = known.is_some_and(|known| known >= revision(object.object_meta()));
                if !stale && !state.tombstones.contains_key(&object.object_meta().uid) {
                    changes.push(state.put(key, object));
                }
            }
            for (key, known) in gone {
                if known <= rev {
                    changes.extend(state.take(&key));
                }
            }
        }
        for change in &changes {
            handlers.iter().for_each(|handler| handler(change));
        }
        drop(handlers);
        self.synced.send_replace(true);
    }

    /// Takes in one event of the watch.
    pub fn apply(&self, event_type: EventType, object: Arc<T>) {
        self.change(|state| {
            let rev = revision(object.object_meta());
            state.revision = state.revision.max(rev);
            let key = key_of(&*object);
            let known = state.objects.get(&key).map(|known| revision(known.object_meta()));
            match event_type {
                EventType::Bookmark => None,
                EventType::Added | EventType::Modified => {
                    let stale = known.is_some_and(|known| known >= rev);
                    let dead = state.tombstones.contains_key(&object.object_meta().uid);
                    (!stale && !dead).then(|| state.put(key, object))
                }
                EventType::Deleted => {
                    state.tombstones.remove(&object.object_meta().uid);
                    // Newer than its deletion means created anew, which an own write has already shown.
                    let recreated = known.is_some_and(|known| known > rev);
                    if recreated { None } else { state.remove_as(&key, object) }
                }
            }
        });
    }

    fn change(&self, decide: impl FnOnce(&mut State<T>) -> Option<Change<T>>) -> bool {
        let handlers = self.handlers.lock();
        let change = decide(&mut self.state.write());
        if let Some(change) = &change {
            handlers.iter().for_each(|handler| handler(change));
        }
        change.is_some()
    }
}

impl<T: ?Sized + Watched> State<T> {
    fn put(&mut self, key: Key, object: Arc<T>) -> Change<T> {
        let old = self.objects.insert(key.clone(), object.clone());
        if let Some(old) = &old {
            self.owners.remove(&key, old);
            self.indexes.values_mut().for_each(|index| index.remove(&key, old));
        }
        self.owners.add(&key, &object);
        self.indexes.values_mut().for_each(|index| index.add(&key, &object));
        match old {
            Some(old) => Change::Updated { old, new: object },
            None => Change::Added(object),
        }
    }

    fn take(&mut self, key: &Key) -> Option<Change<T>> {
        let old = self.objects.remove(key)?;
        self.owners.remove(key, &old);
        self.indexes.values_mut().for_each(|index| index.remove(key, &old));
        Some(Change::Deleted(old))
    }

    /// Removes what is under `key` and tells of `last`, the state in which it was deleted.
    fn remove_as(&mut self, key: &Key, last: Arc<T>) -> Option<Change<T>> {
        self.take(key).map(|_| Change::Deleted(last))
    }
}

fn key_of<T: ?Sized + Watched>(object: &T) -> Key {
    let meta = object.object_meta();
    Key { namespace: meta.namespace.clone(), name: meta.name.clone() }
}

impl<T: ?Sized + Watched> Sink for Cache<T> {
    fn replace(&self, objects: Vec<Arc<dyn Object>>, revision: u64, asked: Duration) {
        Cache::replace(self, objects.into_iter().filter_map(T::from_object).collect(), revision, asked);
    }

    fn apply(&self, event: call::WatchEvent) {
        if let Some(object) = T::from_object(event.object) {
            Cache::apply(self, event.event_type, object);
        }
    }

    fn progress(&self, revision: u64) {
        let mut state = self.state.write();
        state.revision = state.revision.max(revision);
    }
}
