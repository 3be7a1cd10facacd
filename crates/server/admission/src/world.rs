//! The cluster as plugins see it: the server's own caches, always as new as the last commit.

use std::sync::Arc;

use authz::Attributes;
use meta::{Kind, Object};

/// Read access to stored objects.
pub trait World: Send + Sync {
    /// One object by group, plural, namespace (empty for cluster scope) and name.
    fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<dyn Object>>;
    /// All objects of a kind, in one namespace or (empty) all.
    fn all(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<dyn Object>>;
    /// Whether a user may do something else than what the request asks.
    fn allows(&self, user: &authn::User, attributes: &Attributes) -> bool;
    /// Randomness for generated names.
    fn random(&self) -> &env::Random;
}

/// Typed access.
pub trait WorldExt {
    /// One object.
    fn get<K: Kind + Object>(&self, namespace: &str, name: &str) -> Option<Arc<K>>;
    /// All objects of a kind.
    fn list<K: Kind + Object>(&self, namespace: &str) -> Vec<Arc<K>>;
}

impl WorldExt for dyn World + '_ {
    fn get<K: Kind + Object>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.find(K::GROUP, K::PLURAL, namespace, name).and_then(meta::downcast::<K>)
    }

    fn list<K: Kind + Object>(&self, namespace: &str) -> Vec<Arc<K>> {
        self.all(K::GROUP, K::PLURAL, namespace).into_iter().filter_map(meta::downcast::<K>).collect()
    }
}
