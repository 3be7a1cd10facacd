//! The registry as admission sees the cluster: the feeds, as they are now.

use std::sync::Arc;

use admission::{Equivalent, NoCodec, Notes, ObjectCodec, Operation, Options, Place, Review, World};
use authn::{Identified, MASTERS, User};
use authz::{Attributes, Authorized, Authorizer};
use call::{Action, Call, Target, WriteOptions};
use futures::future::BoxFuture;
use meta::{DecodeContext, Object, Status};
use mvcc::KeyRange;
use types::core::v1::Namespace;

use crate::convert;
use crate::registry::{Registry, Request};
use crate::served::Served;

/// Kinds that plugins read when something is created in a namespace.
const READ_FOR_ANY: [(&str, &str); 3] = [("", "namespaces"), ("", "limitranges"), ("", "resourcequotas")];
/// Kinds that plugins read beyond these when a pod is created.
const READ_FOR_PODS: [(&str, &str); 3] =
    [("", "serviceaccounts"), ("scheduling.k8s.io", "priorityclasses"), ("node.k8s.io", "runtimeclasses")];
/// And when a claim is created.
const READ_FOR_CLAIMS: [(&str, &str); 1] = [("storage.k8s.io", "storageclasses")];

impl World for Registry {
    fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<dyn Object>> {
        let served = self.stored_version(group, plural)?;
        let snapshot = self.feeds.of(&served).ok()?.snapshot_now();
        snapshot.get(&served.key(namespace, name)).map(|entry| entry.object().clone())
    }

    fn all(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<dyn Object>> {
        let Some(served) = self.stored_version(group, plural) else { return Vec::new() };
        let Ok(feed) = self.feeds.of(&served) else { return Vec::new() };
        let snapshot = feed.snapshot_now();
        if snapshot.is_empty() {
            return Vec::new();
        }
        let range = KeyRange::prefix(served.prefix(namespace));
        snapshot.range(&range).map(|entry| entry.object().clone()).collect()
    }

    fn allows(&self, user: &authn::User, attributes: &Attributes) -> bool {
        self.authorizer.allows(user, attributes)
    }

    fn random(&self) -> &env::Random {
        &self.env.random
    }

    fn authorizer(&self) -> Option<Arc<Authorizer>> {
        Some(self.authorizer.clone())
    }

    fn resource_of(&self, api_version: &str, kind: &str) -> Option<Place> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let named = |r: &scheme::Resource| {
            r.group == group && r.version == version && r.kind == kind && !r.key_prefix.is_empty()
        };
        let place = |r: &scheme::Resource| Place {
            group: (&*r.group).into(),
            plural: (&*r.plural).into(),
            namespaced: r.namespaced,
        };
        if let Some(resource) = scheme::RESOURCES.iter().find(|r| named(r)) {
            return Some(place(resource));
        }
        let definitions = self.definitions();
        definitions.of_group(group).map(Served::resource).find(|r| named(r)).map(place)
    }

    fn equivalents(&self, target: &Target) -> Vec<Equivalent> {
        let Some(served) = self.served(&target.group, &target.version, &target.resource) else {
            return Vec::new();
        };
        let own = served.resource();
        let same = |r: &&scheme::Resource| {
            r.key_prefix == own.key_prefix
                && !r.key_prefix.is_empty()
                && (&r.group, &r.version) != (&own.group, &own.version)
        };
        if served.custom().is_none() {
            return scheme::RESOURCES.iter().filter(same).map(equivalent).collect();
        }
        self.definitions()
            .of_group(&target.group)
            .map(Served::resource)
            .filter(same)
            .map(equivalent)
            .collect()
    }

    fn read(&self, json: &serde_json::Value, of: &Equivalent) -> Result<Box<dyn Object>, String> {
        let served = self.served(&of.group, &of.version, &of.resource);
        served.ok_or_else(|| format!("no kind {:?} is registered", of.kind.as_str()))?.decode(json)
    }

    fn provision<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let user = User::new("system:apiserver", &[MASTERS, authn::AUTHENTICATED]);
            let mut object = Namespace::default();
            object.metadata.name = namespace.into();
            let target = Target::of::<Namespace>("");
            let attributes = Attributes::resource("create", "", "namespaces", "", namespace);
            let identified = Identified::in_process(Arc::new(user));
            let authorized = self.authorizer.authorize(identified, attributes).await;
            let authorized = authorized.map_err(|refused| Status::internal_error(refused.explanation()))?;
            let action = Action::Create(Box::new(object), WriteOptions::default());
            self.perform(&authorized, Call { target, action }, &mut Vec::new()).await?;
            // Whoever asked looks for it next.
            if let Some(served) = Served::stored_version("", "namespaces") {
                self.feeds.catch_up(served.resource()).await;
            }
            Ok(())
        })
    }

    fn convert(&self, object: &dyn Object, to: &Equivalent) -> Option<Box<dyn Object>> {
        let from = object.group_version_kind();
        let place = self.resource_of(&from.api_version(), &from.kind)?;
        let from = self.served(&place.group, &from.version, &place.plural)?;
        let stored = convert::to_storage(&from, object.clone_object());
        let to = self.served(&to.group, &to.version, &to.resource)?;
        Some(convert::to_served(&to, &*stored).unwrap_or(stored))
    }
}

fn equivalent(resource: &scheme::Resource) -> Equivalent {
    Equivalent {
        group: (&*resource.group).into(),
        version: (&*resource.version).into(),
        resource: (&*resource.plural).into(),
        kind: (&*resource.kind).into(),
    }
}

/// An object of a served kind, defaulted.
fn read(
    served: &Served,
    json: &serde_json::Value,
    context: &mut DecodeContext,
) -> Result<Box<dyn Object>, String> {
    let own = served.resource().gvk();
    let given = |field: &str| json[field].as_str().filter(|text| !text.is_empty());
    let version = given("apiVersion").unwrap_or_default();
    let other_kind = given("kind").is_some_and(|kind| kind != own.kind);
    if served.custom().is_none() && (other_kind || !version.is_empty() && version != own.api_version()) {
        let version = if version.is_empty() { own.api_version() } else { version.into() };
        let kind = given("kind").unwrap_or(&own.kind);
        return Err(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ));
    }
    let text = serde_json::to_vec(json).map_err(|error| error.to_string())?;
    let mut object =
        served.resource().object.decode_json(&text, context).map_err(|error| error.to_string())?;
    served.rules().default(&mut *object);
    Ok(object)
}

impl ObjectCodec for Served {
    fn decode(&self, json: &serde_json::Value) -> Result<Box<dyn Object>, String> {
        read(self, json, &mut DecodeContext::lenient())
    }

    fn decode_strict(&self, json: &serde_json::Value) -> Result<Box<dyn Object>, String> {
        // Custom objects have whatever fields they have.
        if self.custom().is_some() {
            return self.decode(json);
        }
        let mut context = DecodeContext::strict();
        let object = read(self, json, &mut context)?;
        context.strict_error().map_or(Ok(object), |error| Err(error.to_string()))
    }

    fn place(&self, object: &dyn Object) -> schema::apply::Place<'_> {
        crate::managed::place(self, object)
    }
}

impl Registry {
    /// The version in which a resource is stored, built-in or custom.
    fn stored_version(&self, group: &str, plural: &str) -> Option<Served> {
        Served::stored_version(group, plural)
            .or_else(|| self.definitions().stored(&format!("{plural}.{group}")).cloned())
    }

    /// Whether somebody may connect to an object: exec, attach, port-forward, proxy. `options` is the object that upstream
    /// makes of the query.
    pub async fn admit_connection(
        &self,
        authorized: &Authorized,
        target: &Target,
        options: &serde_json::Value,
        warnings: &mut Vec<String>,
        notes: &Notes,
    ) -> Result<(), Status> {
        let review = Review {
            operation: Operation::Connect,
            target,
            user: authorized.user(),
            old: None,
            dry_run: false,
            notes,
            options: Options::Connect(options),
            codec: &NoCodec,
        };
        let allowed = self.chain.allow(authorized, &review, self, warnings).await;
        warnings.extend(notes.take_warnings());
        allowed
    }
}

impl Registry {
    /// Brings what admission will read up to the last commit, so that a client that created a namespace a moment ago
    /// can create something in it.
    pub(crate) async fn catch_up_for(&self, request: &Request<'_>) {
        if request.target.namespace.is_empty() {
            return;
        }
        let more: &[(&str, &str)] = match request.target.resource.as_str() {
            "pods" => &READ_FOR_PODS,
            "persistentvolumeclaims" => &READ_FOR_CLAIMS,
            _ => &[],
        };
        for (group, plural) in READ_FOR_ANY.iter().chain(more) {
            if let Some(served) = Served::stored_version(group, plural) {
                self.feeds.catch_up(served.resource()).await;
            }
        }
    }
}
