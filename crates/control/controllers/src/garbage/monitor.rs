//! Follows every deletable resource, built in or custom, and feeds the graph.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use call::{EventType, WatchEvent};
use client::{Client, Resource};
use env::{Env, Task as Running};
use informer::{Change, Key, Reflection, Sink, reflect};
use meta::{Object, Str};
use parking_lot::Mutex;
use reconcile::{Context, Queue};
use types::apiextensions::v1::CustomResourceDefinition;

use super::graph::{Graph, Tasks};
use super::kinds::Kinds;

/// Kinds that nothing owns and that come in great numbers.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// The watches.
pub(crate) struct Monitors {
    client: Client,
    env: Env,
    graph: Arc<Mutex<Graph>>,
    queue: Arc<Queue<Key>>,
    kinds: Arc<Mutex<Kinds>>,
    /// A dropped task ends its watch.
    tasks: Mutex<HashMap<Resource, Running>>,
}

impl Monitors {
    pub(super) fn start(
        context: &Context,
        graph: Arc<Mutex<Graph>>,
        kinds: Arc<Mutex<Kinds>>,
        queue: Arc<Queue<Key>>,
    ) -> Arc<Self> {
        let monitors = Arc::new(Monitors {
            client: context.client.clone(),
            env: context.env.clone(),
            graph,
            queue,
            kinds,
            tasks: Mutex::default(),
        });
        let mut seen = HashSet::new();
        for entry in scheme::RESOURCES {
            let deletable = ["delete", "list", "watch"].iter().all(|verb| entry.has_verb(verb));
            let ignored = IGNORED.contains(&(&*entry.group, &*entry.plural));
            if deletable && !ignored && seen.insert((&*entry.group, &*entry.plural)) {
                monitors.follow(Resource::new(&entry.group, &entry.version, &entry.plural));
            }
        }
        let weak = Arc::downgrade(&monitors);
        context.informers.cache::<CustomResourceDefinition>().subscribe(move |change| {
            if let Some(monitors) = weak.upgrade() {
                monitors.custom(change);
            }
        });
        monitors
    }

    fn custom(&self, change: &Change<CustomResourceDefinition>) {
        let spec = &change.object().spec;
        let served = spec.versions.iter().find(|version| version.served);
        let gone = matches!(change, Change::Deleted(_)) || served.is_none();
        let key = (spec.group.clone(), spec.names.kind.clone());
        let wanted = served.map(|version| Resource::new(&spec.group, &version.name, &spec.names.plural));
        let known = match &wanted {
            Some(resource) if !gone => {
                let entry = (resource.clone(), spec.scope == "Namespaced");
                self.kinds.lock().insert(key, entry)
            }
            _ => self.kinds.lock().remove(&key),
        };
        if let Some(known) = known.filter(|known| gone || Some(known) != wanted.as_ref()) {
            self.tasks.lock().remove(&known);
            // What the definition's end took along will not be told any more.
            let tasks: Tasks = {
                let mut graph = self.graph.lock();
                graph.of_resource(&known).iter().flat_map(|uid| graph.remove(uid)).collect()
            };
            wake(&self.queue, tasks);
        }
        if let Some(resource) = wanted.filter(|_| !gone) {
            self.follow(resource);
        }
    }

    fn follow(&self, resource: Resource) {
        let mut tasks = self.tasks.lock();
        if tasks.contains_key(&resource) {
            return;
        }
        let feed = Feed {
            resource: resource.clone(),
            graph: self.graph.clone(),
            queue: self.queue.clone(),
            kinds: self.kinds.clone(),
        };
        let what = Reflection::of(resource.target(""));
        let run = reflect(self.client.clone(), what, self.env.clone(), Arc::new(feed));
        tasks.insert(resource, env::spawn("garbage-monitor", run));
    }
}

fn wake(queue: &Queue<Key>, tasks: Tasks) {
    for (task, uid) in tasks {
        queue.add(task.key(&uid));
    }
}

/// Feeds the graph with one resource.
struct Feed {
    resource: Resource,
    graph: Arc<Mutex<Graph>>,
    queue: Arc<Queue<Key>>,
    kinds: Arc<Mutex<Kinds>>,
}

impl Feed {
    fn put(&self, graph: &mut Graph, object: &dyn Object) -> Tasks {
        let kinds = self.kinds.lock();
        graph.put(&self.resource, object, |owner, namespace| kinds.locate(owner, namespace))
    }
}

impl Sink for Feed {
    fn replace(&self, objects: Vec<Arc<dyn Object>>, _revision: u64, _asked: Duration) {
        let tasks: Tasks = {
            let mut graph = self.graph.lock();
            let now: BTreeMap<&Str, ()> = objects.iter().map(|object| (&object.meta().uid, ())).collect();
            let gone: Vec<Str> =
                graph.of_resource(&self.resource).into_iter().filter(|uid| !now.contains_key(uid)).collect();
            let mut tasks: Tasks = gone.iter().flat_map(|uid| graph.remove(uid)).collect();
            for object in &objects {
                tasks.extend(self.put(&mut graph, &**object));
            }
            tasks
        };
        wake(&self.queue, tasks);
    }

    fn apply(&self, event: WatchEvent) {
        let tasks = {
            let mut graph = self.graph.lock();
            match event.event_type {
                EventType::Deleted => graph.remove(&event.object.meta().uid),
                EventType::Added | EventType::Modified => self.put(&mut graph, &*event.object),
                EventType::Bookmark => Tasks::new(),
            }
        };
        wake(&self.queue, tasks);
    }

    fn progress(&self, _revision: u64) {}
}
