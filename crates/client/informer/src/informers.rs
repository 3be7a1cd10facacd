//! The caches of a process: one for each kind, however many components read it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Resource};
use env::{Env, Task};
use futures::future::BoxFuture;
use meta::{Kind, Object};
use parking_lot::Mutex;

use crate::reflector::{Reflection, reflect};
use crate::{Cache, Key, Watched};

/// Caches by kind, started on first use. Dropping it ends all watches.
pub struct Informers {
    source: Source,
    typed: Mutex<HashMap<TypeId, Entry>>,
    dynamic: Mutex<HashMap<Resource, Entry>>,
    overlays: Mutex<HashMap<Resource, Vec<Arc<dyn Overlay>>>>,
}

/// What a cache offers to writers that do not know its type.
trait Overlay: Send + Sync {
    fn observe(&self, object: Arc<dyn Object>);
    fn forget(&self, key: &Key, uid: &str, now: Duration);
}

impl<T: ?Sized + Watched> Overlay for Cache<T> {
    fn observe(&self, object: Arc<dyn Object>) {
        if let Some(object) = T::from_object(object) {
            Cache::observe(self, object);
        }
    }

    fn forget(&self, key: &Key, uid: &str, now: Duration) {
        Cache::forget(self, key, uid, now);
    }
}

enum Source {
    Server {
        client: Client,
        env: Env,
    },
    /// Fixed objects, for scripted worlds.
    Fixed(Vec<Arc<dyn Object>>),
}

struct Entry {
    resource: Resource,
    cache: Arc<dyn Any + Send + Sync>,
    synced: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// Ends the watch when it is dropped.
    _task: Option<Task>,
}

impl Informers {
    /// Caches that follow the server behind `client`.
    pub fn new(client: Client, env: Env) -> Arc<Self> {
        Arc::new(Informers {
            source: Source::Server { client, env },
            typed: Mutex::default(),
            dynamic: Mutex::default(),
            overlays: Mutex::default(),
        })
    }

    /// Caches that hold exactly `objects`, for scripted worlds.
    pub fn fixed(objects: Vec<Arc<dyn Object>>) -> Arc<Self> {
        Arc::new(Informers {
            source: Source::Fixed(objects),
            typed: Mutex::default(),
            dynamic: Mutex::default(),
            overlays: Mutex::default(),
        })
    }

    /// The cache of kind `K`, across all namespaces. Starts to follow the kind when it is first asked for; wait with
    /// [`Informers::synced`] or [`Cache::synced`] before reading.
    pub fn cache<K: Kind>(&self) -> Arc<Cache<K>> {
        let mut typed = self.typed.lock();
        let entry = typed.entry(TypeId::of::<K>()).or_insert_with(|| self.start::<K>(Resource::of::<K>()));
        match entry.cache.clone().downcast() {
            Ok(cache) => cache,
            Err(_) => unreachable!("the entry of a type id holds a cache of that type"),
        }
    }

    /// Whether [`Informers::cache`] was already asked for kind `K`.
    pub fn has<K: Kind>(&self) -> bool {
        self.typed.lock().contains_key(&TypeId::of::<K>())
    }

    /// The cache of a resource that is known by name only.
    pub fn dynamic(&self, resource: &Resource) -> Arc<Cache<dyn Object>> {
        let mut dynamic = self.dynamic.lock();
        let entry =
            dynamic.entry(resource.clone()).or_insert_with(|| self.start::<dyn Object>(resource.clone()));
        match entry.cache.clone().downcast() {
            Ok(cache) => cache,
            Err(_) => unreachable!("dynamic entries hold caches of dyn Object"),
        }
    }

    /// Stops to follow a resource that no longer exists.
    pub fn drop_dynamic(&self, resource: &Resource) {
        self.dynamic.lock().remove(resource);
        if !self.typed.lock().values().any(|entry| entry.resource == *resource) {
            self.overlays.lock().remove(resource);
        }
    }

    /// Shows every cache of `resource` the state that a write of this process brought back.
    pub fn observe(&self, resource: &Resource, object: &Arc<dyn Object>) {
        for cache in self.overlays_of(resource) {
            cache.observe(object.clone());
        }
    }

    /// Tells every cache of `resource` that a delete of this process was acknowledged as final, at the monotonic time
    /// `now`.
    pub fn forget(&self, resource: &Resource, key: &Key, uid: &str, now: Duration) {
        for cache in self.overlays_of(resource) {
            cache.forget(key, uid, now);
        }
    }

    fn overlays_of(&self, resource: &Resource) -> Vec<Arc<dyn Overlay>> {
        self.overlays.lock().get(resource).cloned().unwrap_or_default()
    }

    /// Waits until every cache asked for so far has its first full state.
    pub async fn synced(&self) {
        let waits: Vec<_> = {
            let (typed, dynamic) = (self.typed.lock(), self.dynamic.lock());
            typed.values().chain(dynamic.values()).map(|entry| (entry.synced)()).collect()
        };
        futures::future::join_all(waits).await;
    }

    fn start<T: ?Sized + Watched>(&self, resource: Resource) -> Entry {
        let cache: Arc<Cache<T>> = Arc::new(Cache::new());
        self.overlays.lock().entry(resource.clone()).or_default().push(cache.clone());
        let task = match &self.source {
            Source::Server { client, env } => {
                let what = Reflection::of(resource.target(""));
                Some(env::spawn("informer", reflect(client.clone(), what, env.clone(), cache.clone())))
            }
            Source::Fixed(objects) => {
                cache.replace(
                    objects.iter().cloned().filter_map(T::from_object).collect(),
                    0,
                    Duration::ZERO,
                );
                None
            }
        };
        let waiting = cache.clone();
        Entry {
            resource,
            cache,
            synced: Box::new(move || {
                let cache = waiting.clone();
                Box::pin(async move { cache.synced().await })
            }),
            _task: task,
        }
    }
}
