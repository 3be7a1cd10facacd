//! The request as expressions and webhooks see it: as JSON, made when it is first needed.

use std::sync::Arc;

use authn::User;
use cel::{Authorizer, AuthorizerHandle, Check, Decision};
use meta::{GroupVersionKind, Object};
use serde_json::{Value as Json, json};
use types::core::v1::Namespace;

use super::Stage;
use super::matching::Matched;
use crate::review::{Operation, Options, Review};
use crate::world::WorldExt;

/// The request in one version.
pub(crate) struct Subject {
    /// The object, or null.
    pub object: Json,
    /// The state before, or null.
    pub old: Json,
    /// What `request` is in expressions; webhooks get it with more around it.
    pub request: Json,
    /// The namespace, or null.
    pub namespace: Json,
    /// The kind of the objects.
    pub kind: GroupVersionKind,
    /// The version that the objects were brought into, where it is not the request's.
    pub other: Matched,
}

/// An object as JSON.
pub(crate) fn json_of(object: &dyn Object) -> Json {
    let mut text = Vec::with_capacity(1024);
    object.encode_json(&mut text);
    // What an object writes can be read.
    serde_json::from_slice(&text).unwrap_or(Json::Null)
}

impl Subject {
    /// Of a request, in the version in which it was matched.
    pub(crate) fn new(stage: &Stage<'_>, object: Option<&dyn Object>, matched: &Matched) -> Self {
        let review = stage.review;
        let own = kind_of(review, object);
        // What a subresource takes has one version, whatever the resource's is.
        let other = matched.as_ref().filter(|other| other.kind == own.kind);
        let kind = other.map_or_else(
            || own.clone(),
            |other| GroupVersionKind::new(other.group.clone(), other.version.clone(), other.kind.clone()),
        );
        let convert = |object: &dyn Object| match other {
            None => json_of(object),
            Some(other) => {
                stage.world.convert(object, other).map_or_else(|| json_of(object), |o| json_of(&*o))
            }
        };
        let target = review.target;
        let own_resource = json!({ "group": target.group.as_str(), "version": target.version.as_str(), "resource": target.resource.as_str() });
        let resource = matched.as_ref().map_or_else(
            || own_resource.clone(),
            |other| json!({ "group": other.group.as_str(), "version": other.version.as_str(), "resource": other.resource.as_str() }),
        );
        let mut request = json!({
            "kind": kind_json(&kind),
            "resource": resource,
            "requestKind": kind_json(&own),
            "requestResource": own_resource,
            "operation": review.operation.name(),
            "userInfo": user_json(review.user),
            "dryRun": review.dry_run,
            "options": options(review),
        });
        let name = match target.name.as_str() {
            "" => object.map_or("", |object| object.meta().name.as_str()),
            name => name,
        };
        for (field, value) in [("name", name), ("namespace", namespace_of(review, name))] {
            if !value.is_empty() {
                request[field] = value.into();
            }
        }
        if !target.subresource.is_empty() {
            request["subResource"] = target.subresource.as_str().into();
            request["requestSubResource"] = target.subresource.as_str().into();
        }
        let object = match (&review.options, object) {
            (Options::Connect(options), None) => (*options).clone(),
            (_, object) => object.map_or(Json::Null, convert),
        };
        let old = review.old.map_or(Json::Null, convert);
        Self { object, old, request, namespace: namespace(stage), kind, other: other.cloned() }
    }
}

fn kind_json(kind: &GroupVersionKind) -> Json {
    json!({ "group": kind.group.as_str(), "version": kind.version.as_str(), "kind": kind.kind.as_str() })
}

fn kind_of(review: &Review<'_>, object: Option<&dyn Object>) -> GroupVersionKind {
    match (object.or(review.old), &review.options) {
        (Some(object), _) => object.group_version_kind(),
        (None, Options::Connect(options)) => {
            let text = |field: &str| options[field].as_str().unwrap_or_default().to_owned();
            GroupVersionKind::new("", text("apiVersion"), text("kind"))
        }
        (None, _) => GroupVersionKind::default(),
    }
}

/// A namespace is in the namespace that it is.
fn namespace_of<'r>(review: &'r Review<'_>, name: &'r str) -> &'r str {
    if review.on("", "namespaces") { name } else { &review.target.namespace }
}

fn namespace(stage: &Stage<'_>) -> Json {
    let name = &stage.review.target.namespace;
    if name.is_empty() || stage.review.on("", "namespaces") {
        return Json::Null;
    }
    stage.world.get::<Namespace>("", name).map_or(Json::Null, |namespace| json_of(&*namespace))
}

fn user_json(user: &User) -> Json {
    let mut json = json!({ "username": user.name.as_str() });
    if !user.uid.is_empty() {
        json["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        json["groups"] = user.groups.iter().map(|group| group.as_str()).collect();
    }
    if !user.extra.is_empty() {
        let values = |values: &[meta::Str]| Json::from_iter(values.iter().map(|value| value.as_str()));
        json["extra"] = user.extra.iter().map(|(key, list)| (key.to_string(), values(list))).collect();
    }
    json
}

/// The options of the request, as the object that upstream makes of them.
fn options(review: &Review<'_>) -> Json {
    let base = |kind: &str| json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
    let dry_run = |json: &mut Json| {
        if review.dry_run {
            json["dryRun"] = json!(["All"]);
        }
    };
    match &review.options {
        Options::None => Json::Null,
        Options::Connect(_) => Json::Null,
        Options::Write(options) => {
            let kind = if review.operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
            let mut json = base(kind);
            dry_run(&mut json);
            if !options.field_manager.is_empty() {
                json["fieldManager"] = options.field_manager.as_str().into();
            }
            if let Some(validation) = options.field_validation {
                let validation = match validation {
                    call::FieldValidation::Ignore => "Ignore",
                    call::FieldValidation::Warn => "Warn",
                    call::FieldValidation::Strict => "Strict",
                };
                json["fieldValidation"] = validation.into();
            }
            json
        }
        Options::Delete(options) => {
            let mut json = base("DeleteOptions");
            dry_run(&mut json);
            if let Some(seconds) = options.grace_period_seconds {
                json["gracePeriodSeconds"] = seconds.into();
            }
            if !options.propagation_policy.is_empty() {
                json["propagationPolicy"] = options.propagation_policy.as_str().into();
            }
            if let Some(orphan) = options.orphan_dependents {
                json["orphanDependents"] = orphan.into();
            }
            let wanted = [
                ("uid", &options.precondition.uid),
                ("resourceVersion", &options.precondition.resource_version),
            ];
            for (field, value) in wanted {
                if let Some(value) = value {
                    json["preconditions"][field] = value.as_str().into();
                }
            }
            if options.ignore_store_read_error {
                json["ignoreStoreReadErrorWithClusterBreakingPotential"] = true.into();
            }
            json
        }
    }
}

/// The authorizer with the user that asks.
struct Asked {
    authorizer: Arc<authz::Authorizer>,
    user: Arc<User>,
}

impl Authorizer for Asked {
    fn authorize(&self, check: &Check<'_>) -> Decision {
        let (account, attributes) = match check {
            Check::Path { service_account, path, verb } => {
                (service_account, authz::Attributes::path(verb, path))
            }
            Check::Resource { service_account, resource, verb } => {
                let mut attributes = authz::Attributes::resource(
                    verb,
                    &resource.group,
                    &resource.resource,
                    &resource.namespace,
                    &resource.name,
                );
                attributes.version = "*".into();
                attributes.subresource = resource.subresource.as_str().into();
                (service_account, attributes)
            }
        };
        let account = account.map(|account| {
            let (namespace, name) = account;
            let groups = [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ];
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            User::new(format!("system:serviceaccount:{namespace}:{name}"), &groups)
        });
        let allowed = self.authorizer.allows(account.as_ref().unwrap_or(&self.user), &attributes);
        Decision { allowed, ..Decision::default() }
    }
}

/// The values of `authorizer` and `authorizer.requestResource`; none where nobody can be asked.
pub(crate) fn authorizers<'a>(stage: &Stage<'_>) -> Option<[cel::Value<'a>; 2]> {
    let authorizer = stage.world.authorizer()?;
    let asked: Arc<dyn Authorizer> = Arc::new(Asked { authorizer, user: stage.review.user.clone() });
    let target = stage.review.target;
    let mut resource = cel::ResourceCheck::default();
    resource.group = target.group.to_string();
    resource.resource = target.resource.to_string();
    resource.subresource = target.subresource.to_string();
    resource.namespace = target.namespace.to_string();
    resource.name = target.name.to_string();
    Some([AuthorizerHandle::value(asked.clone()), AuthorizerHandle::resource(asked, resource)])
}
