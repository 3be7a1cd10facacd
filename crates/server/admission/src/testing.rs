//! A cluster of given objects, and requests against single plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use authn::User;
use authz::{Attributes, Authorizer};
use call::{Target, WriteOptions};
use env::Env;
use futures::future::BoxFuture;
use meta::{Kind, Object, Status};
use parking_lot::Mutex;
use serde_json::Value as Json;

use crate::configuration::Configuration;
use crate::notes::Notes;
use crate::plugins::{Make, PLUGINS, Plugin, Setup};
use crate::review::{NoCodec, Operation, Options, Review};
use crate::world::{Place, World};

/// Stored objects by group, plural, namespace and name.
#[derive(Default)]
pub(crate) struct Cluster {
    objects: BTreeMap<[String; 4], Arc<dyn Object>>,
    random: Option<env::Random>,
    /// Verbs, resources and names that anybody may use: `update nodes/finalizers n1`.
    allowed: Vec<String>,
    /// Namespaces that were asked for.
    provisioned: Mutex<Vec<String>>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { random: Some(env::Env::real().random), ..Self::default() }
    }

    pub(crate) fn with<K: Kind>(mut self, json: Json) -> Self {
        let object: K = meta::from_value(json).unwrap();
        let metadata = object.metadata();
        let key =
            [K::GROUP.into(), K::PLURAL.into(), metadata.namespace.to_string(), metadata.name.to_string()];
        self.objects.insert(key, Arc::new(object));
        self
    }

    pub(crate) fn allowing(mut self, asked: &str) -> Self {
        self.allowed.push(asked.to_owned());
        self
    }

    pub(crate) fn provisioned(&self) -> Vec<String> {
        self.provisioned.lock().clone()
    }
}

impl World for Cluster {
    fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<dyn Object>> {
        self.objects.get(&[group.into(), plural.into(), namespace.into(), name.into()]).cloned()
    }
    fn all(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<dyn Object>> {
        let wanted = |key: &[String; 4]| {
            key[0] == group && key[1] == plural && (namespace.is_empty() || key[2] == namespace)
        };
        self.objects.iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect()
    }
    fn allows(&self, _: &User, asked: &Attributes) -> bool {
        let asked = format!("{} {} {}", asked.verb, asked.combined_resource(), asked.name);
        self.allowed.contains(&asked)
    }
    fn provision<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<(), Status>> {
        self.provisioned.lock().push(namespace.to_owned());
        Box::pin(std::future::ready(Ok(())))
    }
    fn random(&self) -> &env::Random {
        self.random.as_ref().unwrap()
    }
    fn authorizer(&self) -> Option<Arc<Authorizer>> {
        Some(Arc::new(Authorizer::node_rbac()))
    }
    fn resource_of(&self, api_version: &str, kind: &str) -> Option<Place> {
        let (plural, namespaced) = match (api_version, kind) {
            ("v1", "ConfigMap") => ("configmaps", true),
            ("v1", "Node") => ("nodes", false),
            _ => return None,
        };
        Some(Place { group: "".into(), plural: plural.into(), namespaced })
    }
}

/// A plugin by name, made from a document.
pub(crate) fn plugin(name: &str, document: Json, env: &Env) -> Arc<dyn Plugin> {
    struct Borrowed(&'static dyn Plugin);
    impl Plugin for Borrowed {
        fn name(&self) -> &'static str {
            self.0.name()
        }
        fn mutate(
            &self,
            review: &Review<'_>,
            object: &mut dyn Object,
            world: &dyn World,
            warnings: &mut Vec<String>,
        ) -> Result<(), Status> {
            self.0.mutate(review, object, world, warnings)
        }
        fn validate(
            &self,
            review: &Review<'_>,
            object: Option<&dyn Object>,
            world: &dyn World,
        ) -> Result<(), Status> {
            self.0.validate(review, object, world)
        }
        fn provide<'a>(
            &'a self,
            review: &'a Review<'a>,
            object: &'a dyn Object,
            world: &'a dyn World,
        ) -> Option<BoxFuture<'a, Result<(), Status>>> {
            self.0.provide(review, object, world)
        }
    }
    let configuration = Configuration::single(name, document);
    let setup = Setup { configuration: &configuration, env };
    let entry = PLUGINS.iter().find(|plugin| plugin.name == name).expect("a plugin of that name");
    match entry.make {
        Make::Plain(plain) => Arc::new(Borrowed(plain)),
        Make::Configured(make) => make(&setup).expect("a usable document"),
        _ => panic!("{name} is no plugin of its own"),
    }
}

/// What a plugin did with a request.
#[derive(Debug)]
pub(crate) struct Did {
    pub object: Box<dyn Object>,
    pub result: Result<(), Status>,
    pub warnings: Vec<String>,
    pub annotations: Vec<(String, String)>,
}

impl Did {
    /// Code and message of the refusal; empty for none.
    pub(crate) fn refusal(&self) -> String {
        self.result.as_ref().err().map(|s| format!("{} {}", s.code, s.message)).unwrap_or_default()
    }

    /// The object as a kind.
    pub(crate) fn object<K: Kind>(&self) -> &K {
        self.object.as_any().downcast_ref().expect("the kind that was sent")
    }
}

/// Both halves of a plugin about a create or an update by `user`, in the namespace of the object.
pub(crate) async fn ask<K: Kind + Object>(
    plugin: &dyn Plugin,
    world: &dyn World,
    user: &str,
    object: Json,
    old: Option<Json>,
) -> Did {
    ask_subresource::<K>(plugin, world, user, "", object, old).await
}

/// The same about a subresource.
pub(crate) async fn ask_subresource<K: Kind + Object>(
    plugin: &dyn Plugin,
    world: &dyn World,
    user: &str,
    subresource: &str,
    object: Json,
    old: Option<Json>,
) -> Did {
    let object: K = meta::from_value(object).expect("an object");
    let old: Option<K> = old.map(|old| meta::from_value(old).expect("an object"));
    let metadata = object.metadata();
    let mut target = Target { name: metadata.name.clone(), ..Target::of::<K>(&metadata.namespace) };
    target.subresource = subresource.into();
    let user = Arc::new(user.strip_prefix("system:node:").map_or_else(|| User::new(user, &[]), User::node));
    let (options, notes) = (WriteOptions::default(), Notes::default());
    let review = Review {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        target: &target,
        user: &user,
        old: old.as_ref().map(|old| old as &dyn Object),
        dry_run: false,
        notes: &notes,
        options: Options::Write(&options),
        codec: &NoCodec,
    };
    let mut object: Box<dyn Object> = Box::new(object);
    let mut warnings = Vec::new();
    let result = both(plugin, &review, &mut object, world, &mut warnings).await;
    warnings.extend(notes.take_warnings());
    let annotations = notes.take_annotations().into_iter().map(|note| (note.key.to_string(), note.value));
    Did { object, result, warnings, annotations: annotations.collect() }
}

async fn both(
    plugin: &dyn Plugin,
    review: &Review<'_>,
    object: &mut Box<dyn Object>,
    world: &dyn World,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    if let Some(providing) = plugin.provide(review, &**object, world) {
        providing.await?;
    }
    plugin.mutate(review, &mut **object, world, warnings)?;
    plugin.validate(review, Some(&**object), world)?;
    match plugin.consult(review, &**object, world) {
        Some(consulting) => consulting.await,
        None => Ok(()),
    }
}
