//! The cluster as plugins see it: the server's own caches, always as new as the last commit.

use std::sync::Arc;

use authz::{Attributes, Authorizer};
use call::Target;
use futures::FutureExt;
use futures::future::BoxFuture;
use meta::{Kind, Object, Status, Str};

/// A resource that holds the same objects as another one, in another group or version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Equivalent {
    /// API group.
    pub group: Str,
    /// API version.
    pub version: Str,
    /// Plural resource name.
    pub resource: Str,
    /// Kind.
    pub kind: Str,
}

/// Where objects of a kind are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// API group.
    pub group: Str,
    /// Plural resource name.
    pub plural: Str,
    /// Objects live in namespaces.
    pub namespaced: bool,
}

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
    /// Who answers what expressions ask of permissions; nobody by default.
    fn authorizer(&self) -> Option<Arc<Authorizer>> {
        None
    }
    /// The resource of a kind such as `v1`, `ConfigMap`.
    fn resource_of(&self, api_version: &str, kind: &str) -> Option<Place> {
        let _ = (api_version, kind);
        None
    }
    /// The same resource in other groups and versions.
    fn equivalents(&self, target: &Target) -> Vec<Equivalent> {
        let _ = target;
        Vec::new()
    }
    /// Reads an object of another resource.
    fn read(&self, json: &serde_json::Value, of: &Equivalent) -> Result<Box<dyn Object>, String> {
        let _ = json;
        Err(format!("no kind {:?} is registered for version {:?}", of.kind, of.version))
    }
    /// Makes a namespace, as the server itself.
    fn provision<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<(), Status>> {
        let why = format!("namespace {namespace:?} cannot be made here");
        std::future::ready(Err(Status::internal_error(why))).boxed()
    }
    /// An object as another resource shows it.
    fn convert(&self, object: &dyn Object, to: &Equivalent) -> Option<Box<dyn Object>> {
        let _ = (object, to);
        None
    }
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
