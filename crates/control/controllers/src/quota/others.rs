//! Kinds of which a quota limits the number by name, such as `count/widgets.example.com`: whatever is served and is not
//! counted anyway. They are followed from when the first quota names them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use client::Resource;
use informer::{Cache, Change, Informers, Key};
use meta::Object;
use parking_lot::Mutex;
use reconcile::{Queue, World};
use types::apiextensions::v1::CustomResourceDefinition;
use types::core::v1::ResourceQuota;

/// What is followed, by the quota's name for it.
pub(super) struct Others {
    informers: Arc<Informers>,
    queue: OnceLock<Weak<Queue<Key>>>,
    followed: Mutex<HashMap<String, Followed>>,
}

struct Followed {
    resource: Resource,
    cache: Arc<Cache<dyn Object>>,
}

impl Others {
    pub(super) fn new(informers: Arc<Informers>) -> Arc<Self> {
        Arc::new(Others { informers, queue: OnceLock::new(), followed: Mutex::default() })
    }

    /// Names the queue of quotas that are to be counted anew.
    pub(super) fn wakes(&self, queue: &Arc<Queue<Key>>) {
        let _ = self.queue.set(Arc::downgrade(queue));
    }

    /// How many there are in the namespace; `None` of what is not followed, or not known yet.
    pub(super) fn count(&self, name: &str, namespace: &str) -> Option<usize> {
        let followed = self.followed.lock();
        let cache = &followed.get(name).filter(|followed| followed.cache.is_synced())?.cache;
        Some(cache.list_namespace(namespace).len())
    }

    /// Begins to follow what the quota names and is served.
    pub(super) fn follow(&self, quota: &ResourceQuota, world: &World) {
        for name in quota.spec.hard.keys() {
            if self.followed.lock().contains_key(name.as_str()) {
                continue;
            }
            let Some(resource) = find(name, world) else { continue };
            let cache = self.informers.dynamic(&resource);
            let (queue, quotas) = (self.queue.get().cloned(), self.informers.cache::<ResourceQuota>());
            let limit = name.clone();
            let first = Arc::downgrade(&cache);
            cache.subscribe(move |change| {
                // Admission charges what is made; what was there before the first look nobody has charged.
                let known = first.upgrade().is_some_and(|cache| cache.is_synced());
                if known && !matches!(change, Change::Deleted(_)) {
                    return;
                }
                let Some(queue) = queue.as_ref().and_then(Weak::upgrade) else { return };
                let mut named = quotas.list_namespace(&change.object().meta().namespace);
                named.retain(|quota| quota.spec.hard.contains_key(&limit));
                named.iter().for_each(|quota| queue.add(Key::of(&**quota)));
            });
            self.followed.lock().insert(name.to_string(), Followed { resource, cache });
        }
    }

    /// A definition came, changed or went, and with it what can be followed.
    pub(super) fn redefined(&self, definition: &CustomResourceDefinition, world: &World) -> Vec<Key> {
        let name = format!("count/{}.{}", definition.spec.names.plural, definition.spec.group);
        let now = find(&name, world);
        let mut followed = self.followed.lock();
        if let Some(old) = followed.get(&name).filter(|old| now.as_ref() != Some(&old.resource)) {
            self.informers.drop_dynamic(&old.resource);
            followed.remove(&name);
        }
        drop(followed);
        let mut quotas = world.list_all::<ResourceQuota>();
        quotas.retain(|quota| quota.spec.hard.contains_key(name.as_str()));
        quotas.iter().for_each(|quota| self.follow(quota, world));
        quotas.iter().map(|quota| Key::of(&**quota)).collect()
    }
}

/// The resource that a quota's name means, if it is served.
fn find(name: &str, world: &World) -> Option<Resource> {
    let name = name.strip_prefix("count/")?;
    let (plural, group) = name.split_once('.').unwrap_or((name, ""));
    let listed = |verb: &str, entry: &scheme::Resource| entry.has_verb(verb) && entry.namespaced;
    let built_in = scheme::RESOURCES.iter().find(|entry| {
        *entry.group == *group && *entry.plural == *plural && listed("list", entry) && listed("watch", entry)
    });
    if let Some(entry) = built_in {
        return Some(Resource::new(&entry.group, &entry.version, &entry.plural));
    }
    let definition = world.get::<CustomResourceDefinition>("", name)?;
    let served = definition.spec.versions.iter().find(|version| version.served)?;
    let namespaced = definition.spec.scope == "Namespaced";
    namespaced.then(|| Resource::new(group, &served.name, plural))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::common::testing::object;

    #[test]
    fn what_is_served_is_counted_by_its_name() {
        let ingress = |namespace: &str, name: &str| {
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}")}})
        };
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"namespace": "a", "name": "q"},
            "spec": {"hard": {"count/ingresses.networking.k8s.io": "5", "count/nodes": "5", "count/x.y": "5"}}});
        let quota = meta::downcast_ref::<ResourceQuota>(&*object(quota)).cloned().unwrap();
        let objects = [ingress("a", "one"), ingress("a", "two"), ingress("b", "three")];
        let informers = Informers::fixed(objects.into_iter().map(object).collect());
        let world = World::new(informers.clone(), 0);
        let others = Others::new(informers);
        assert_eq!(others.count("count/ingresses.networking.k8s.io", "a"), None, "no quota named it");
        others.follow(&quota, &world);
        let counts = ["count/ingresses.networking.k8s.io", "count/nodes", "count/x.y"];
        assert_eq!(counts.map(|name| others.count(name, "a")), [Some(2), None, None]);
    }
}
