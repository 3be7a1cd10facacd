//! Objects and their changes, shared by everybody who reads or watches.

use crate::codec::Codec;
use bytes::Bytes;
use mvcc::Revision;
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// One version of one object, with its encodings, each made once when it is first asked for.
pub struct Entry<T: ?Sized> {
    key: Bytes,
    revision: Revision,
    object: Arc<T>,
    stored: Option<Bytes>,
    json: OnceLock<Bytes>,
    protobuf: OnceLock<Bytes>,
    others: Mutex<Vec<(u64, Bytes)>>,
    codec: Arc<dyn Codec<T>>,
}

impl<T: ?Sized + Send + Sync + 'static> Entry<T> {
    pub(crate) fn new(
        key: Bytes,
        revision: Revision,
        object: Arc<T>,
        stored: Option<Bytes>,
        codec: Arc<dyn Codec<T>>,
    ) -> Entry<T> {
        let (json, protobuf, others) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        Entry { key, revision, object, stored, json, protobuf, others, codec }
    }

    /// The key in the store, such as `/registry/pods/default/web-0`.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The resource version: of the object's last change, or of its deletion.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object, with its resource version set.
    pub fn object(&self) -> &Arc<T> {
        &self.object
    }

    /// The bytes that it takes in the store; 0 for what is no longer there.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.as_ref().map_or(0, |stored| stored.len() as u64)
    }

    /// JSON as it is served.
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| self.codec.json(&self.object, self.stored.as_ref()))
    }

    /// Kubernetes' protobuf as it is served.
    pub fn protobuf(&self) -> &Bytes {
        self.protobuf.get_or_init(|| self.codec.protobuf(&self.object))
    }

    /// Any other encoding, such as another API version's, under an id of the caller's choice. `make` may run
    /// more than once when several ask at the same moment.
    pub fn encoding(&self, id: u64, make: impl FnOnce(&T) -> Bytes) -> Bytes {
        let find =
            |others: &[(u64, Bytes)]| others.iter().find(|(known, _)| *known == id).map(|(_, b)| b.clone());
        if let Some(known) = find(&self.others.lock()) {
            return known;
        }
        // Not made under the lock: others may want another encoding of the same object meanwhile.
        let made = make(&self.object);
        let mut others = self.others.lock();
        if let Some(known) = find(&others) {
            return known;
        }
        others.push((id, made.clone()));
        made
    }

    /// The same object with the resource version of its leaving.
    pub(crate) fn restamped(&self, revision: Revision) -> Entry<T> {
        let object = self.codec.restamp(&self.object, revision);
        Entry::new(self.key.clone(), revision, object, None, self.codec.clone())
    }

    pub(crate) fn index_value(&self, index: &str) -> Option<&str> {
        self.codec.index_value(&self.object, index)
    }
}

impl<T: ?Sized> fmt::Debug for Entry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", String::from_utf8_lossy(&self.key), self.revision)
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It came into being, or into a watcher's selection.
    Added,
    /// It changed.
    Modified,
    /// It was deleted, or left a watcher's selection.
    Deleted,
}

/// One change of one object.
pub struct Event<T: ?Sized> {
    /// What happened, seen without a selector.
    pub kind: EventKind,
    /// The object now; for a deletion its last state, with the resource version of the deletion.
    pub entry: Arc<Entry<T>>,
    /// The object before, if it existed.
    pub prev: Option<Arc<Entry<T>>>,
    /// The previous state with this event's resource version, for watchers whose selection it leaves.
    left: OnceLock<Arc<Entry<T>>>,
}

impl<T: ?Sized + Send + Sync + 'static> Event<T> {
    pub(crate) fn new(kind: EventKind, entry: Arc<Entry<T>>, prev: Option<Arc<Entry<T>>>) -> Event<T> {
        Event { kind, entry, prev, left: OnceLock::new() }
    }

    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        self.entry.revision
    }

    /// The event as a watcher with a selector sees it: a change into the selection is an addition, one out of it a
    /// deletion (of the previous state, with this event's resource version); `None` if it concerns neither state.
    pub fn selected(&self, selects: impl Fn(&T) -> bool) -> Option<(EventKind, &Arc<Entry<T>>)> {
        let before = self.prev.as_ref().is_some_and(|prev| selects(&prev.object));
        self.seen(before, self.kind != EventKind::Deleted && selects(&self.entry.object))
    }

    /// As [`Event::selected`], where the watcher has judged both states itself.
    pub fn seen(&self, before: bool, now: bool) -> Option<(EventKind, &Arc<Entry<T>>)> {
        match self.kind {
            EventKind::Deleted => before.then_some((EventKind::Deleted, &self.entry)),
            _ => match (before, now) {
                (false, false) => None,
                (false, true) => Some((EventKind::Added, &self.entry)),
                (true, true) => Some((EventKind::Modified, &self.entry)),
                (true, false) => {
                    let prev = self.prev.as_ref()?;
                    let left = self.left.get_or_init(|| Arc::new(prev.restamped(self.revision())));
                    Some((EventKind::Deleted, left))
                }
            },
        }
    }
}

impl<T: ?Sized> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.entry)
    }
}
