//! What a decision may look at.

use std::sync::Arc;

use informer::{Cache, Informers, Key};
use meta::{Kind, LabelSelector, Object, Selector, Time};

/// The caches and the time, as one decision sees them. Reading is cheap and never waits.
#[derive(Clone)]
pub struct World {
    informers: Arc<Informers>,
    unix_ms: i64,
}

impl World {
    /// The world as `informers` show it at `unix_ms` (milliseconds since 1970).
    pub fn new(informers: Arc<Informers>, unix_ms: i64) -> Self {
        World { informers, unix_ms }
    }

    /// The cache of kind `K`.
    pub fn cache<K: Kind>(&self) -> Arc<Cache<K>> {
        self.informers.cache::<K>()
    }

    /// One object.
    pub fn get<K: Kind>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.cache::<K>().get(namespace, name)
    }

    /// One object, by key.
    pub fn get_key<K: Kind>(&self, key: &Key) -> Option<Arc<K>> {
        self.cache::<K>().get_key(key)
    }

    /// The objects of one namespace.
    pub fn list<K: Kind>(&self, namespace: &str) -> Vec<Arc<K>> {
        self.cache::<K>().list_namespace(namespace)
    }

    /// The objects of all namespaces, or of a cluster-scoped kind.
    pub fn list_all<K: Kind>(&self) -> Vec<Arc<K>> {
        self.cache::<K>().list()
    }

    /// The objects of one namespace that `selector` selects.
    pub fn select<K: Kind>(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<K>> {
        let Ok(selector) = Selector::from_label_selector(Some(selector)) else { return Vec::new() };
        let mut objects = self.list::<K>(namespace);
        objects.retain(|object| selector.matches(&object.meta().labels));
        objects
    }

    /// The objects of kind `K` that name `uid` among their owners.
    pub fn owned<K: Kind>(&self, uid: &str) -> Vec<Arc<K>> {
        self.cache::<K>().owned_by(uid)
    }

    /// Now, in whole seconds as timestamps have it.
    pub fn now(&self) -> Time {
        Time::from_unix(self.unix_ms.div_euclid(1000))
    }

    /// Now, in seconds since 1970.
    pub fn unix_seconds(&self) -> i64 {
        self.unix_ms.div_euclid(1000)
    }

    /// Now, in milliseconds since 1970.
    pub fn unix_ms(&self) -> i64 {
        self.unix_ms
    }

    /// The process's caches.
    pub fn informers(&self) -> &Arc<Informers> {
        &self.informers
    }
}
