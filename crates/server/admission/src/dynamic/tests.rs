//! Policies over objects, and webhooks whose servers deny, patch, warn, hang, lie and send garbage.

mod policies;
mod server;
mod webhooks;

use std::sync::Arc;

use authn::User;
use call::{Target, WriteOptions};
use meta::{Codec, Kind, Object, Status, Struct};
use serde_json::{Value as Json, json};
use types::core::v1::ConfigMap;

use super::{Dynamic, Parts, Round, Stage};
use crate::notes::{Annotation, Notes};
use crate::review::{ObjectCodec, Operation, Options, Review};
pub(super) use crate::testing::Cluster;

struct ConfigMaps;

impl ObjectCodec for ConfigMaps {
    fn decode(&self, json: &Json) -> Result<Box<dyn Object>, String> {
        let object = ConfigMap::from_json(json.to_string().as_bytes()).map_err(|error| error.to_string())?;
        Ok(Box::new(object))
    }
}

/// What became of a request to create or change a ConfigMap in the namespace `ns`.
pub(super) struct Outcome {
    pub object: Json,
    pub result: Result<(), Status>,
    pub warnings: Vec<String>,
    /// What the audit log is told.
    pub notes: Vec<Annotation>,
}

impl Outcome {
    /// The message of the refusal, empty for none.
    pub(super) fn message(&self) -> String {
        self.result.as_ref().err().map(|status| status.message.to_string()).unwrap_or_default()
    }

    /// What the audit log is told under a key.
    pub(super) fn note(&self, key: &str) -> Option<&str> {
        self.notes.iter().find(|note| note.key == key).map(|note| note.value.as_str())
    }
}

pub(super) async fn admit(dynamic: &Dynamic, cluster: &Cluster, object: Json, dry_run: bool) -> Outcome {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let target = Target { name: name.into(), ..Target::of::<ConfigMap>("ns") };
    let user = Arc::new(User::new("alice", &["devs"]));
    let options = WriteOptions::default();
    let notes = Notes::default();
    let review = Review {
        operation: Operation::Create,
        target: &target,
        user: &user,
        old: None,
        dry_run,
        notes: &notes,
        options: Options::Write(&options),
        codec: &ConfigMaps,
    };
    let sources = dynamic.load_full();
    let parts = Parts {
        mutating_policies: true,
        mutating_webhooks: true,
        validating_policies: true,
        validating_webhooks: true,
    };
    let stage = Stage { sources: &sources, review: &review, world: cluster, parts, meters: None };
    let mut object = ConfigMaps.decode(&object).unwrap();
    let mut warnings = Vec::new();
    let mut round = Round::default();
    let mut result = stage.mutate(&mut object, &mut round, &mut warnings).await;
    if result.is_ok() && round.next() {
        result = stage.mutate(&mut object, &mut round, &mut warnings).await;
    }
    if result.is_ok() {
        result = stage.validate(Some(&*object), &mut warnings).await;
    }
    Outcome { object: super::subject::json_of(&*object), result, warnings, notes: notes.take_annotations() }
}

/// Tells of an object as its kind.
pub(super) fn apply<K: Kind + Struct>(dynamic: &Dynamic, json: Json) {
    let object: K = meta::from_value(json).unwrap();
    dynamic.apply(&object, false);
}

pub(super) fn config_map(name: &str, data: Json) -> Json {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "ns" }, "data": data })
}
