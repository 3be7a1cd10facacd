//! The objects of a feed in the order of their keys, in shared chunks: a snapshot copies one pointer, and a change
//! after it copies one chunk.

use crate::entry::Entry;
use bytes::Bytes;
use mvcc::{KeyRange, Revision};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A chunk is split when it grows beyond this.
const CHUNK_MAX: usize = 128;

/// Neighbours are joined when they have no more than this together.
const CHUNK_JOINED: usize = 64;

type Chunk<T> = Arc<Vec<Arc<Entry<T>>>>;

/// A chunk behind its first key, so that a search among chunks looks into none of them.
struct Shelf<T: ?Sized> {
    first: Bytes,
    chunk: Chunk<T>,
}

impl<T: ?Sized> Clone for Shelf<T> {
    fn clone(&self) -> Shelf<T> {
        Shelf { first: self.first.clone(), chunk: self.chunk.clone() }
    }
}

impl<T: ?Sized + Send + Sync + 'static> Shelf<T> {
    /// Of entries in the order of their keys, of which there is at least one.
    fn new(entries: Vec<Arc<Entry<T>>>) -> Shelf<T> {
        Shelf { first: entries[0].key().clone(), chunk: Arc::new(entries) }
    }
}

/// Entries by key. No chunk is empty.
pub(crate) struct Entries<T: ?Sized> {
    shelves: Arc<Vec<Shelf<T>>>,
    len: usize,
    /// What all of them take in the store.
    stored_bytes: u64,
}

impl<T: ?Sized> Clone for Entries<T> {
    fn clone(&self) -> Entries<T> {
        Entries { shelves: self.shelves.clone(), len: self.len, stored_bytes: self.stored_bytes }
    }
}

impl<T: ?Sized> Default for Entries<T> {
    fn default() -> Entries<T> {
        Entries { shelves: Arc::default(), len: 0, stored_bytes: 0 }
    }
}

impl<T: ?Sized + Send + Sync + 'static> Entries<T> {
    /// From entries in the order of their keys.
    pub(crate) fn from_sorted(entries: Vec<Arc<Entry<T>>>) -> Entries<T> {
        let len = entries.len();
        let stored_bytes = entries.iter().map(|entry| entry.stored_bytes()).sum();
        let shelves = entries.chunks(CHUNK_JOINED).map(|chunk| Shelf::new(chunk.to_vec())).collect();
        Entries { shelves: Arc::new(shelves), len, stored_bytes }
    }

    /// The chunk in which a key is or would be.
    fn chunk_of(&self, key: &[u8]) -> usize {
        self.shelves.partition_point(|shelf| *shelf.first <= *key).saturating_sub(1)
    }

    fn search(chunk: &Chunk<T>, key: &[u8]) -> Result<usize, usize> {
        chunk.binary_search_by(|entry| (**entry.key()).cmp(key))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Entry<T>>> {
        let chunk = &self.shelves.get(self.chunk_of(key))?.chunk;
        Self::search(chunk, key).ok().map(|index| &chunk[index])
    }

    /// Adds or replaces; returns what was there before.
    pub(crate) fn insert(&mut self, entry: Arc<Entry<T>>) -> Option<Arc<Entry<T>>> {
        let at = self.chunk_of(entry.key());
        self.stored_bytes += entry.stored_bytes();
        let shelves = Arc::make_mut(&mut self.shelves);
        let Some(shelf) = shelves.get_mut(at) else {
            shelves.push(Shelf::new(vec![entry]));
            self.len += 1;
            return None;
        };
        let found = Self::search(&shelf.chunk, entry.key());
        if let Ok(0) | Err(0) = found {
            shelf.first = entry.key().clone();
        }
        let chunk = Arc::make_mut(&mut shelf.chunk);
        match found {
            Ok(index) => {
                let before = std::mem::replace(&mut chunk[index], entry);
                self.stored_bytes -= before.stored_bytes();
                Some(before)
            }
            Err(index) => {
                chunk.insert(index, entry);
                self.len += 1;
                if chunk.len() > CHUNK_MAX {
                    let upper = chunk.split_off(CHUNK_MAX / 2);
                    shelves.insert(at + 1, Shelf::new(upper));
                }
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Arc<Entry<T>>> {
        let at = self.chunk_of(key);
        let index = Self::search(&self.shelves.get(at)?.chunk, key).ok()?;
        let shelves = Arc::make_mut(&mut self.shelves);
        let chunk = Arc::make_mut(&mut shelves[at].chunk);
        let removed = chunk.remove(index);
        self.len -= 1;
        self.stored_bytes -= removed.stored_bytes();
        let (left, first) = (chunk.len(), chunk.first().map(|entry| entry.key().clone()));
        let Some(first) = first else {
            shelves.remove(at);
            return Some(removed);
        };
        shelves[at].first = first;
        if shelves.get(at + 1).is_some_and(|next| left + next.chunk.len() <= CHUNK_JOINED) {
            let next = shelves.remove(at + 1);
            Arc::make_mut(&mut shelves[at].chunk).extend(next.chunk.iter().cloned());
        }
        Some(removed)
    }

    /// The entries whose keys are in the range.
    pub(crate) fn range<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Arc<Entry<T>>> + 'a {
        let first = self.chunk_of(&range.start);
        let within = move |entry: &&Arc<Entry<T>>| range.end.as_ref().is_none_or(|end| entry.key() < end);
        let shelves = self.shelves.get(first..).unwrap_or_default();
        shelves
            .iter()
            .flat_map(|shelf| shelf.chunk.iter())
            .skip_while(|entry| *entry.key() < range.start)
            .take_while(within)
    }
}

/// All objects of a feed as of one revision. Cheap to clone and to keep.
pub struct Snapshot<T: ?Sized> {
    /// The revision: the resource version of a list made of it.
    pub revision: Revision,
    prefix: Arc<str>,
    entries: Entries<T>,
    unreadable: Arc<Unreadables>,
}

/// Keys whose values the store could not read, and why: mostly none.
pub(crate) type Unreadables = BTreeMap<Bytes, Arc<str>>;

impl<T: ?Sized> Clone for Snapshot<T> {
    fn clone(&self) -> Snapshot<T> {
        Snapshot {
            revision: self.revision,
            prefix: self.prefix.clone(),
            entries: self.entries.clone(),
            unreadable: self.unreadable.clone(),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects of {} @{}", self.entries.len, self.prefix, self.revision)
    }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T: ?Sized> {
    /// The revision of the whole list.
    pub revision: Revision,
    /// The objects of this part, in the order of their keys.
    pub entries: Vec<Arc<Entry<T>>>,
    /// How many follow; 0 means that this is the last part.
    pub remaining: u64,
    /// Whether it was read from the store's history, since the feed has forgotten that revision.
    pub from_history: bool,
}

impl<T: ?Sized + Send + Sync + 'static> Snapshot<T> {
    pub(crate) fn new(
        revision: Revision,
        prefix: Arc<str>,
        entries: Entries<T>,
        unreadable: Arc<Unreadables>,
    ) -> Snapshot<T> {
        Snapshot { revision, prefix, entries, unreadable }
    }

    /// The first key of a range whose value the store could not read, and why. Such an object is there, but is no entry.
    pub fn unreadable(&self, range: &KeyRange) -> Option<(&Bytes, &str)> {
        if self.unreadable.is_empty() {
            return None;
        }
        let within = |key: &Bytes| range.end.as_ref().is_none_or(|end| key < end);
        let mut rest = self.unreadable.range::<Bytes, _>(&range.start..);
        rest.next().filter(|(key, _)| within(key)).map(|(key, why)| (key, &**why))
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.entries.len
    }

    /// The bytes that the objects take in the store.
    pub fn stored_bytes(&self) -> u64 {
        self.entries.stored_bytes
    }

    /// True when there are no objects.
    pub fn is_empty(&self) -> bool {
        self.entries.len == 0
    }

    /// The object under a key of the store.
    pub fn get(&self, key: &[u8]) -> Option<&Arc<Entry<T>>> {
        self.entries.get(key)
    }

    /// Every object, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry<T>>> {
        self.entries.shelves.iter().flat_map(|shelf| shelf.chunk.iter())
    }

    /// The objects whose keys are in the range.
    pub fn range<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Arc<Entry<T>>> + 'a {
        self.entries.range(range)
    }

    /// The keys of one namespace.
    pub fn namespace_range(&self, namespace: &str) -> KeyRange {
        KeyRange::prefix(format!("{}{namespace}/", self.prefix))
    }

    /// The first `limit` objects of a range (0: all), and how many follow.
    pub fn page(&self, range: &KeyRange, limit: usize) -> Page<T> {
        let mut rest = self.entries.range(range);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let entries = rest.by_ref().take(limit).cloned().collect();
        Page { revision: self.revision, entries, remaining: rest.count() as u64, from_history: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use mvcc::KeyValue;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Numbers;

    impl Codec<i64> for Numbers {
        fn decode(&self, kv: &KeyValue) -> Result<Arc<i64>, String> {
            Ok(Arc::new(kv.mod_revision))
        }
        fn restamp(&self, _object: &i64, revision: Revision) -> Arc<i64> {
            Arc::new(revision)
        }
        fn json(&self, object: &i64, _stored: Option<&Bytes>) -> Bytes {
            object.to_string().into()
        }
        fn protobuf(&self, object: &i64) -> Bytes {
            object.to_string().into()
        }
    }

    fn key(number: u16) -> Bytes {
        format!("/registry/numbers/{number:05}").into()
    }

    fn contents<'a>(entries: impl Iterator<Item = &'a Arc<Entry<i64>>>) -> Vec<(Bytes, i64)> {
        entries.map(|entry| (entry.key().clone(), **entry.object())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn chunks_are_a_sorted_map(
            first in 0u16..400,
            steps in prop::collection::vec((0u16..600, any::<bool>()), 0..1500),
            (from, to) in (0u16..600, 0u16..600),
        ) {
            let codec: Arc<dyn Codec<i64>> = Arc::new(Numbers);
            let entry = |number, value| Arc::new(Entry::new(key(number), value, Arc::new(value), Some(Bytes::from_static(b"abc")), codec.clone()));
            let mut entries = Entries::from_sorted((0..first).map(|number| entry(number, 0)).collect());
            let mut model: BTreeMap<Bytes, i64> = (0..first).map(|number| (key(number), 0)).collect();
            let mut kept = Vec::new();
            for (step, (number, add)) in steps.into_iter().enumerate() {
                let value = step as i64 + 1;
                let (was, expected) = if add {
                    (entries.insert(entry(number, value)), model.insert(key(number), value))
                } else {
                    (entries.remove(&key(number)), model.remove(&key(number)))
                };
                prop_assert_eq!(was.map(|entry| **entry.object()), expected);
                prop_assert_eq!(entries.stored_bytes, 3 * entries.len as u64);
                prop_assert!(entries.shelves.iter().all(|shelf| shelf.first == *shelf.chunk[0].key()));
                prop_assert_eq!(entries.get(&key(number)).map(|entry| **entry.object()), model.get(&key(number)).copied());
                if step % 300 == 0 {
                    kept.push((Snapshot::new(
                        value,
                        "/registry/numbers/".into(),
                        entries.clone(),
                        Arc::default(),
                    ), model.clone()));
                }
            }
            kept.push((Snapshot::new(0, "/registry/numbers/".into(), entries, Arc::default()), model));
            for (snapshot, model) in kept {
                let all: Vec<_> = model.clone().into_iter().collect();
                prop_assert_eq!(contents(snapshot.iter()), all);
                prop_assert_eq!(snapshot.len(), model.len());
                let range = KeyRange::between(key(from), key(to.max(from)));
                let part: Vec<_> = model.range(key(from)..key(to.max(from))).map(|(k, v)| (k.clone(), *v)).collect();
                prop_assert_eq!(contents(snapshot.range(&range)), part.clone());
                let page = snapshot.page(&range, 7);
                prop_assert_eq!(page.entries.len() + page.remaining as usize, part.len());
            }
        }
    }
}
