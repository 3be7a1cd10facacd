//! An API server in memory: enough verbs for a kubelet, without validation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use call::{Action, Call, EventType, PatchKind, Reply, Target, Transport, WatchEvent};
use futures::StreamExt;
use meta::{Codec, GroupResource, Kind, Object, Status};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::broadcast;
use types::coordination::v1::Lease;
use types::core::v1::{ConfigMap, Event, Node, Pod, Secret, Service};

type Key = (String, String, String);

pub struct Api {
    state: Mutex<State>,
    events: broadcast::Sender<(Key, WatchEvent)>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Arc<dyn Object>>,
    revision: u64,
}

fn named(target: &Target) -> GroupResource {
    GroupResource { group: target.group.clone(), resource: target.resource.clone() }
}

fn key(target: &Target) -> Key {
    (target.resource.to_string(), target.namespace.to_string(), target.name.to_string())
}

impl Api {
    pub fn new() -> Arc<Api> {
        Arc::new(Api { state: Mutex::default(), events: broadcast::channel(4096).0 })
    }

    pub fn create<K: Kind>(&self, object: K) -> Arc<K> {
        let target = Target::of::<K>(&object.metadata().namespace.clone());
        let created = self.put_new(&target, Box::new(object)).unwrap();
        meta::downcast(created).unwrap()
    }

    pub fn get<K: Kind>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = key(&Target::of::<K>(namespace).named(name));
        self.state.lock().objects.get(&key).cloned().and_then(meta::downcast)
    }

    pub fn list<K: Kind>(&self) -> Vec<Arc<K>> {
        let state = self.state.lock();
        let all = state.objects.iter().filter(|((resource, _, _), _)| resource == K::PLURAL);
        all.filter_map(|(_, o)| meta::downcast(o.clone())).collect()
    }

    /// Changes an object as a user would.
    pub fn change<K: Kind>(&self, namespace: &str, name: &str, change: impl FnOnce(&mut K)) {
        let key = key(&Target::of::<K>(namespace).named(name));
        let mut object = (*self.get::<K>(namespace, name).unwrap()).clone();
        change(&mut object);
        object.metadata_mut().generation += 1;
        self.put(key, Arc::new(object), EventType::Modified);
    }

    /// Asks for a pod's deletion as a user would.
    pub fn delete_pod(&self, name: &str, grace: i64) {
        self.change::<Pod>("default", name, |pod| {
            pod.metadata.deletion_timestamp = Some(meta::Time::from_unix(1));
            pod.metadata.deletion_grace_period_seconds = Some(grace);
        });
    }

    /// Waits until the pod is as wanted (`None`: gone).
    pub async fn pod(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(Option<&Pod>) -> bool,
    ) -> Option<Arc<Pod>> {
        let mut events = self.events.subscribe();
        let wait = async {
            loop {
                let pod = self.get::<Pod>("default", name);
                if wanted(pod.as_deref()) {
                    return pod;
                }
                let _ = events.recv().await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(15), wait).await {
            Ok(pod) => pod,
            Err(_) => panic!(
                "{name} never became {what}: {:#?}\n{:#?}",
                self.get::<Pod>("default", name).map(|p| p.status.clone()),
                self.reasons()
            ),
        }
    }

    /// Waits until something is recorded with that reason; returns its message.
    pub async fn event(&self, reason: &str) -> String {
        let mut events = self.events.subscribe();
        let wait = async {
            loop {
                if let Some(event) = self.list::<Event>().iter().find(|e| e.reason == reason) {
                    return event.message.to_string();
                }
                let _ = events.recv().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), wait)
            .await
            .unwrap_or_else(|_| panic!("no {reason}: {:?}", self.reasons()))
    }

    pub fn reasons(&self) -> Vec<String> {
        self.list::<Event>().iter().map(|e| format!("{}: {}", e.reason, e.message)).collect()
    }

    fn put(&self, key: Key, object: Arc<dyn Object>, event_type: EventType) -> Arc<dyn Object> {
        let mut state = self.state.lock();
        state.revision += 1;
        let mut object = object.clone_object();
        object.meta_mut().resource_version = state.revision.to_string().into();
        let object: Arc<dyn Object> = Arc::from(object);
        match event_type {
            EventType::Deleted => {
                state.objects.remove(&key);
            }
            _ => {
                state.objects.insert(key.clone(), object.clone());
            }
        }
        let _ = self.events.send((key, WatchEvent { event_type, object: object.clone() }));
        object
    }

    fn put_new(&self, target: &Target, mut object: Box<dyn Object>) -> Result<Arc<dyn Object>, Status> {
        let name = object.meta().name.to_string();
        let key = key(&target.clone().named(&name));
        if self.state.lock().objects.contains_key(&key) {
            return Err(Status::already_exists(&named(target), &name));
        }
        let uid = format!("uid-{name}-{}", self.state.lock().revision);
        object.meta_mut().uid = uid.into();
        object.meta_mut().generation = 1;
        Ok(self.put(key, Arc::from(object), EventType::Added))
    }

    fn matches(target: &Target, selector: &str, key: &Key, object: &dyn Object) -> bool {
        if key.0 != target.resource || (!target.namespace.is_empty() && key.1 != target.namespace) {
            return false;
        }
        match selector.split_once('=') {
            Some(("metadata.name", name)) => key.2 == name,
            Some(("spec.nodeName", node)) => {
                object.as_any().downcast_ref::<Pod>().is_some_and(|p| p.spec.node_name == node)
            }
            _ => true,
        }
    }

    fn patch(&self, target: &Target, document: &[u8]) -> Result<Arc<dyn Object>, Status> {
        let key = key(target);
        let have = self.state.lock().objects.get(&key).cloned();
        let have = have.ok_or_else(|| Status::not_found(&named(target), &target.name))?;
        let patch: Value = serde_json::from_slice(document).unwrap();
        if let Some(uid) = patch.pointer("/metadata/uid")
            && uid.as_str() != Some(have.meta().uid.as_str())
        {
            return Err(Status::conflict(&named(target), &target.name, "uid"));
        }
        let mut json = vec![];
        have.encode_json(&mut json);
        let mut value: Value = serde_json::from_slice(&json).unwrap();
        merge(&mut value, &patch);
        let text = serde_json::to_vec(&value).unwrap();
        let object: Arc<dyn Object> = match target.resource.as_str() {
            "pods" => Arc::new(Pod::from_json(&text).unwrap()),
            "nodes" => Arc::new(Node::from_json(&text).unwrap()),
            "events" => Arc::new(Event::from_json(&text).unwrap()),
            other => panic!("no patch of {other}"),
        };
        Ok(self.put(key, object, EventType::Modified))
    }
}

/// Strategic merge as far as kubelets use it: conditions by type, `$patch` marks, the rest as a merge patch.
fn merge(value: &mut Value, patch: &Value) {
    let (Value::Object(have), Value::Object(patch)) = (&mut *value, patch) else {
        *value = patch.clone();
        return;
    };
    for (key, new) in patch {
        match new {
            Value::Null => {
                have.remove(key);
            }
            Value::Object(_) => {
                merge(have.entry(key.clone()).or_insert_with(|| Value::Object(Default::default())), new)
            }
            Value::Array(items) if key == "conditions" => {
                let list = have.entry(key.clone()).or_insert_with(|| Value::Array(vec![]));
                let list = list.as_array_mut().unwrap();
                for item in items {
                    list.retain(|c| c["type"] != item["type"]);
                    if item.get("$patch").is_none() {
                        list.push(item.clone());
                    }
                }
            }
            Value::Array(items) => {
                let items = items.iter().filter(|i| i.get("$patch").is_none()).cloned().collect();
                have.insert(key.clone(), Value::Array(items));
            }
            other => {
                have.insert(key.clone(), other.clone());
            }
        }
    }
}

#[async_trait]
impl Transport for Api {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        let target = call.target;
        match call.action {
            Action::Get { .. } => {
                let have = self.state.lock().objects.get(&key(&target)).cloned();
                have.map(Reply::Object).ok_or_else(|| Status::not_found(&named(&target), &target.name))
            }
            Action::List(options) => {
                let state = self.state.lock();
                let all = state
                    .objects
                    .iter()
                    .filter(|(k, o)| Api::matches(&target, &options.field_selector, k, &***o));
                Ok(Reply::List {
                    items: all.map(|(_, o)| o.clone()).collect(),
                    resource_version: state.revision,
                    continue_token: Default::default(),
                    remaining: None,
                })
            }
            Action::Watch(options) => {
                if options.send_initial_events == Some(true) {
                    return Err(Status::bad_request("no streamed lists here"));
                }
                let from: u64 = options.resource_version.parse().unwrap_or(0);
                let events = self.events.subscribe();
                // What happened between the list and this watch.
                let missed: Vec<WatchEvent> = {
                    let state = self.state.lock();
                    let newer = state.objects.iter().filter(|(k, o)| {
                        Api::matches(&target, &options.field_selector, k, &***o)
                            && o.meta().resource_version.parse::<u64>().unwrap() > from
                    });
                    newer
                        .map(|(_, o)| WatchEvent { event_type: EventType::Modified, object: o.clone() })
                        .collect()
                };
                let selector = options.field_selector.clone();
                let live = futures::stream::unfold(events, move |mut events| {
                    let (target, selector) = (target.clone(), selector.clone());
                    async move {
                        loop {
                            let (key, event) = events.recv().await.ok()?;
                            if Api::matches(&target, &selector, &key, &*event.object) {
                                return Some((Ok(event), events));
                            }
                        }
                    }
                });
                Ok(Reply::Watch(futures::stream::iter(missed.into_iter().map(Ok)).chain(live).boxed()))
            }
            Action::Create(object, _) => self.put_new(&target, object).map(Reply::Object),
            Action::Update(object, _) => {
                Ok(Reply::Object(self.put(key(&target), Arc::from(object), EventType::Modified)))
            }
            Action::Patch(PatchKind::Strategic, document, _) => {
                self.patch(&target, &document).map(Reply::Object)
            }
            Action::Delete(_) => {
                let have = self.state.lock().objects.get(&key(&target)).cloned();
                let have = have.ok_or_else(|| Status::not_found(&named(&target), &target.name))?;
                Ok(Reply::Object(self.put(key(&target), have, EventType::Deleted)))
            }
            other => panic!("a kubelet does not {other:?}"),
        }
    }
}

// The kinds that kubelets meet here; naming them keeps the imports honest.
const _: fn() = || {
    fn kind<K: Kind>() {}
    kind::<Lease>();
    kind::<ConfigMap>();
    kind::<Secret>();
    kind::<Service>();
};
