//! Secondary indexes of a cache: from a value to the keys of the objects that carry it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use meta::Str;

use crate::Key;

/// Reads the values of an object under which it is to be found.
pub(crate) type Extract<T> = Arc<dyn Fn(&T) -> Vec<Str> + Send + Sync>;

pub(crate) struct Index<T: ?Sized> {
    extract: Extract<T>,
    entries: HashMap<Str, BTreeSet<Key>>,
}

impl<T: ?Sized> Index<T> {
    pub(crate) fn new(extract: Extract<T>) -> Self {
        Index { extract, entries: HashMap::new() }
    }

    pub(crate) fn add(&mut self, key: &Key, object: &T) {
        for value in (self.extract)(object) {
            self.entries.entry(value).or_default().insert(key.clone());
        }
    }

    pub(crate) fn remove(&mut self, key: &Key, object: &T) {
        for value in (self.extract)(object) {
            if let Some(keys) = self.entries.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }

    pub(crate) fn keys(&self, value: &str) -> impl Iterator<Item = &Key> {
        self.entries.get(value).into_iter().flatten()
    }
}
