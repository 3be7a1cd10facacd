//! Objects, revisions and the rules of writing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use call::{DeleteOptions, EventType, PatchKind, Reply, Target, WatchEvent};
use env::Env;
use meta::{DecodeContext, GroupResource, Object, Status, Str, Time};
use serde_json::Value;

use crate::Resource;

/// Metadata that only the server writes.
const SERVER_OWNED: [&str; 5] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];

/// Objects by namespace and name.
type Collection = BTreeMap<(Str, Str), Arc<dyn Object>>;

#[derive(Default)]
pub(super) struct State {
    objects: HashMap<Resource, Collection>,
    pub(super) history: Vec<(u64, Resource, WatchEvent)>,
    pub(super) compacted: u64,
    revision: u64,
    /// Newest revision that watches may tell while they are held.
    held: Option<u64>,
}

fn group_resource(resource: &Resource) -> GroupResource {
    GroupResource::new(resource.group.clone(), resource.plural.clone())
}

fn to_value(object: &dyn Object) -> Value {
    let mut json = Vec::new();
    object.encode_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_default()
}

fn from_value(value: &Value) -> Result<Box<dyn Object>, Status> {
    scheme::decode_json(value.to_string().as_bytes(), &mut DecodeContext::lenient())
        .map_err(|error| Status::bad_request(error.to_string()))
}

/// Sets a field, or removes it when there is no value.
fn set(value: &mut Value, field: &str, to: Option<&Value>) {
    match (to, value.as_object_mut()) {
        (Some(to), Some(map)) => {
            map.insert(field.to_owned(), to.clone());
        }
        (None, Some(map)) => {
            map.remove(field);
        }
        (_, None) => {}
    }
}

impl State {
    pub(super) fn visible(&self) -> u64 {
        self.held.unwrap_or(self.revision)
    }

    pub(super) fn hold(&mut self, held: bool) {
        self.held = held.then_some(self.revision);
    }

    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.history.clear();
    }

    pub(super) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<dyn Object>> {
        self.objects.get(resource)?.get(&(namespace.into(), name.into())).cloned()
    }

    pub(super) fn read(&self, resource: &Resource, target: &Target) -> Result<Arc<dyn Object>, Status> {
        self.get(resource, &target.namespace, &target.name)
            .ok_or_else(|| Status::not_found(&group_resource(resource), &target.name))
    }

    pub(super) fn list(&self, resource: &Resource, namespace: &str) -> (Vec<Arc<dyn Object>>, u64) {
        let all = self.objects.get(resource).into_iter().flatten();
        let within = all.filter(|((of, _), _)| namespace.is_empty() || of == namespace);
        (within.map(|(_, object)| object.clone()).collect(), self.revision)
    }

    /// Stores and tells watches.
    fn commit(
        &mut self,
        resource: &Resource,
        mut object: Box<dyn Object>,
        event_type: EventType,
    ) -> Arc<dyn Object> {
        self.revision += 1;
        object.meta_mut().resource_version = Str::from(self.revision.to_string());
        let object: Arc<dyn Object> = Arc::from(object);
        let name = (object.meta().namespace.clone(), object.meta().name.clone());
        let objects = self.objects.entry(resource.clone()).or_default();
        if event_type == EventType::Deleted {
            objects.remove(&name);
        } else {
            objects.insert(name, object.clone());
        }
        let event = WatchEvent { event_type, object: object.clone() };
        self.history.push((self.revision, resource.clone(), event));
        object
    }

    pub(super) fn put(
        &mut self,
        resource: &Resource,
        mut object: Box<dyn Object>,
        env: &Env,
    ) -> Arc<dyn Object> {
        let known = self.get(resource, &object.meta().namespace, &object.meta().name);
        let meta = object.meta_mut();
        if meta.uid.is_empty() {
            meta.uid =
                known.as_ref().map_or_else(|| Str::from(env.random.uuid()), |known| known.meta().uid.clone());
        }
        if meta.creation_timestamp.is_none() {
            meta.creation_timestamp = Some(Time::from_system(env.clock.now()));
        }
        meta.generation = meta.generation.max(1);
        let event_type = if known.is_some() { EventType::Modified } else { EventType::Added };
        self.commit(resource, object, event_type)
    }

    pub(super) fn remove(&mut self, resource: &Resource, namespace: &str, name: &str) {
        if let Some(object) = self.get(resource, namespace, name) {
            self.commit(resource, object.clone_object(), EventType::Deleted);
        }
    }

    pub(super) fn create(
        &mut self,
        resource: &Resource,
        target: &Target,
        mut object: Box<dyn Object>,
        env: &Env,
    ) -> Result<Arc<dyn Object>, Status> {
        let meta = object.meta_mut();
        meta.namespace = target.namespace.clone();
        if meta.name.is_empty() {
            meta.name = Str::from(format!("{}{}", meta.generate_name, env.random.name_suffix(5)));
        }
        let name = meta.name.clone();
        if self.get(resource, &target.namespace, &name).is_some() {
            return Err(Status::already_exists(&group_resource(resource), &name));
        }
        meta.uid = Str::from(env.random.uuid());
        meta.generation = 1;
        meta.creation_timestamp = Some(Time::from_system(env.clock.now()));
        Ok(self.commit(resource, object, EventType::Added))
    }

    pub(super) fn update(
        &mut self,
        resource: &Resource,
        target: &Target,
        object: Box<dyn Object>,
    ) -> Result<Arc<dyn Object>, Status> {
        let stored = self.read(resource, target)?;
        let wanted = &object.meta().resource_version;
        if !wanted.is_empty() && *wanted != stored.meta().resource_version {
            let why =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Status::conflict(&group_resource(resource), &target.name, why));
        }
        self.replace(resource, &stored, to_value(&*object), &target.subresource)
    }

    pub(super) fn patch(
        &mut self,
        resource: &Resource,
        target: &Target,
        kind: PatchKind,
        document: &[u8],
    ) -> Result<Arc<dyn Object>, Status> {
        if !matches!(kind, PatchKind::Merge | PatchKind::Strategic) {
            return Err(Status::bad_request("the fake server takes merge patches only"));
        }
        let stored = self.read(resource, target)?;
        let patch: Value =
            serde_json::from_slice(document).map_err(|error| Status::bad_request(error.to_string()))?;
        let wanted = patch["metadata"]["resourceVersion"].as_str();
        if wanted.is_some_and(|wanted| stored.meta().resource_version != wanted) {
            return Err(Status::conflict(
                &group_resource(resource),
                &target.name,
                "the object has been modified",
            ));
        }
        let mut value = to_value(&*stored);
        merge(&mut value, &patch);
        self.replace(resource, &stored, value, &target.subresource)
    }

    /// Puts `value` in place of `stored`: metadata and status through the status subresource, all but the status
    /// otherwise.
    fn replace(
        &mut self,
        resource: &Resource,
        stored: &Arc<dyn Object>,
        value: Value,
        subresource: &str,
    ) -> Result<Arc<dyn Object>, Status> {
        let before = to_value(&**stored);
        let mut next = if subresource == "status" { before.clone() } else { value.clone() };
        if subresource == "status" {
            set(&mut next, "metadata", value.get("metadata"));
            set(&mut next, "status", value.get("status"));
        } else {
            set(&mut next, "status", before.get("status"));
        }
        for field in SERVER_OWNED {
            set(&mut next["metadata"], field, before["metadata"].get(field));
        }
        let mut object = from_value(&next)?;
        if next.get("spec") != before.get("spec") {
            object.meta_mut().generation += 1;
        }
        object.meta_mut().resource_version = stored.meta().resource_version.clone();
        if object.eq_object(&**stored) {
            return Ok(stored.clone());
        }
        // A namespace has finalizers of its own in its spec.
        let held = next["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        let last = !held && object.meta().deletion_timestamp.is_some() && object.meta().finalizers.is_empty();
        Ok(self.commit(resource, object, if last { EventType::Deleted } else { EventType::Modified }))
    }

    pub(super) fn delete(
        &mut self,
        resource: &Resource,
        target: &Target,
        options: &DeleteOptions,
        env: &Env,
    ) -> Result<Reply, Status> {
        let stored = self.read(resource, target)?;
        if options.precondition.uid.as_ref().is_some_and(|uid| *uid != stored.meta().uid) {
            return Err(Status::conflict(
                &group_resource(resource),
                &target.name,
                "another object has this name",
            ));
        }
        let mut object = stored.clone_object();
        let finalizer = match options.propagation_policy.as_str() {
            "Foreground" => Some("foregroundDeletion"),
            "Orphan" => Some("orphan"),
            _ => None,
        };
        let meta = object.meta_mut();
        if let Some(finalizer) = finalizer
            && !meta.finalizers.iter().any(|known| known == finalizer)
        {
            meta.finalizers.push(finalizer.into());
        }
        if meta.finalizers.is_empty() {
            self.commit(resource, object, EventType::Deleted);
            return Ok(Reply::Done(Status::success()));
        }
        if meta.deletion_timestamp.is_some() {
            return Ok(Reply::Object(stored));
        }
        meta.deletion_timestamp = Some(Time::from_system(env.clock.now()));
        meta.deletion_grace_period_seconds = Some(0);
        meta.generation += 1;
        Ok(Reply::Object(self.commit(resource, object, EventType::Modified)))
    }
}

/// RFC 7386.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    for (key, change) in changes {
        if change.is_null() {
            set(value, key, None);
        } else {
            merge(&mut value[key.as_str()], change);
        }
    }
}
