//! `scale`: the number of replicas of any workload, as one kind.

use bytes::Bytes;
use call::{Action, PatchKind, WriteOptions};
use custom::scale::ScaleError;
use meta::{BadValue, FieldError, FieldErrorKind, Map, Object, Selector, Status, Str};
use scheme::Unstructured;
use serde_json::Value;
use types::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use types::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use types::core::v1::ReplicationController;

use crate::errors;
use crate::managed::{self, Before, Endpoint};
use crate::outcome::Outcome;
use crate::registry::{Registry, Request};
use crate::served::Served;
use crate::update::Source;

impl Registry {
    pub(super) async fn scale(&self, request: &mut Request<'_>, action: Action) -> Result<Outcome, Status> {
        match action {
            Action::Get { resource_version } => {
                let stored = self.get(request, &resource_version).await?;
                answer(request.served, &**stored.object())
            }
            Action::Update(body, options) => {
                let scale = super::body_of::<Scale>(body)?;
                let (given, name) = (&scale.metadata.name, &request.target.name);
                if !given.is_empty() && given != name {
                    return Err(errors::bad_request(format!(
                        "the name of the object ({given}) does not match the name on the URL ({name})"
                    )));
                }
                self.rescale(request, Change::Replace(*scale), options).await
            }
            Action::Patch(kind, body, options) => {
                self.rescale(request, Change::Patch(kind, body), options).await
            }
            _ => Err(errors::method_not_allowed()),
        }
    }

    async fn rescale(
        &self,
        request: &mut Request<'_>,
        change: Change,
        options: WriteOptions,
    ) -> Result<Outcome, Status> {
        let source = Source::Scale(change);
        let updated = self.update_part(request, source, &options, rules::Subresource::Main).await?;
        match &updated {
            Outcome::Stored(stored) | Outcome::Created(stored) => answer(request.served, &**stored.object()),
            Outcome::Made(object, _) => answer(request.served, &**object),
            _ => Ok(updated),
        }
    }
}

/// What a client wants of a scale.
pub(crate) enum Change {
    /// All of it.
    Replace(Scale),
    /// A part.
    Patch(PatchKind, Bytes),
}

/// The scale before and after a change, with the owners of its fields.
pub(crate) fn changed(
    old: &dyn Object,
    change: &Change,
    endpoint: &Endpoint<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Scale, Scale), Status> {
    let (mut before, _) = scale_of(endpoint.served, old)?;
    before.metadata.managed_fields = managed::to_scale(endpoint.served, old);
    let mut json = Vec::new();
    before.encode_json(&mut json);
    let state = Before { object: &before, json: &json };
    let mut scale = match change {
        Change::Replace(scale) => scale.clone(),
        Change::Patch(PatchKind::Apply, body) => {
            let applied = managed::apply(endpoint, state, body, warnings)?;
            *super::body_of::<Scale>(applied)?
        }
        Change::Patch(kind, body) => patched(&before, *kind, body)?,
    };
    if !matches!(change, Change::Patch(PatchKind::Apply, _)) {
        endpoint.record(&mut scale, Some(state));
    }
    Ok((before, scale))
}

/// The object whose scale is to be this one, with the owner of its replicas.
pub(crate) fn scaled(
    served: &Served,
    old: &dyn Object,
    scale: &dyn Object,
) -> Result<Box<dyn Object>, Status> {
    let scale = meta::downcast_ref::<Scale>(scale).ok_or_else(errors::method_not_allowed)?;
    let mut object = with_replicas(served, old, scale)?;
    object.meta_mut().managed_fields = managed::to_parent(served, old, &scale.metadata.managed_fields);
    Ok(object)
}

fn answer(served: &Served, object: &dyn Object) -> Result<Outcome, Status> {
    let (scale, wanted) = scale_of(served, object)?;
    if let Some(paths) = served.custom().and_then(|custom| custom.kind.scale()).filter(|_| !wanted) {
        return Err(errors::internal(ScaleError::NoReplicas(paths.spec_replicas_path.to_string())));
    }
    Ok(Outcome::Made(std::sync::Arc::new(scale), 200))
}

fn patched(before: &Scale, kind: PatchKind, body: &[u8]) -> Result<Scale, Status> {
    let mut value = meta::to_value(before);
    let info = Some(<Scale as meta::Struct>::INFO);
    crate::patch::change(&mut value, kind, body, info)?;
    // The version that the client did not change is the one that was read.
    if value["metadata"]["resourceVersion"] == Value::Null {
        value["metadata"]["resourceVersion"] = Value::from(before.metadata.resource_version.as_str());
    }
    meta::from_value(value.clone()).map_err(|e| {
        crate::patch::unreadable(value, &meta::Codec::to_json(before), kind, body, info, e.to_string())
    })
}

/// The object with the replicas of `scale`, after checking what the client says about the object.
fn with_replicas(served: &Served, old: &dyn Object, scale: &Scale) -> Result<Box<dyn Object>, Status> {
    if let Some(paths) = served.custom().and_then(|custom| custom.kind.scale()) {
        // What is wrong with the number is told by the object's own rules.
        let mut object = old.clone_object();
        if let Some(custom) = object.as_any_mut().downcast_mut::<Unstructured>() {
            custom::scale::write(paths, &mut custom.fields, scale.spec.replicas).map_err(errors::bare_of)?;
        }
        if !scale.metadata.resource_version.is_empty() {
            object.meta_mut().resource_version = scale.metadata.resource_version.clone();
        }
        return Ok(object);
    }
    if scale.spec.replicas < 0 {
        let problem = FieldError {
            kind: FieldErrorKind::Invalid,
            field: "spec.replicas".into(),
            value: BadValue::Plain(scale.spec.replicas.to_string()),
            detail: "must be greater than or equal to 0".into(),
        };
        return Err(errors::invalid("autoscaling", "Scale", &scale.metadata.name, vec![problem]));
    }
    let mut object = old.clone_object();
    let replicas = Some(scale.spec.replicas);
    let any = object.as_any_mut();
    if let Some(o) = any.downcast_mut::<Deployment>() {
        o.spec.replicas = replicas;
    } else if let Some(o) = any.downcast_mut::<ReplicaSet>() {
        o.spec.replicas = replicas;
    } else if let Some(o) = any.downcast_mut::<StatefulSet>() {
        o.spec.replicas = replicas;
    } else if let Some(o) = any.downcast_mut::<ReplicationController>() {
        o.spec.replicas = replicas;
    } else {
        return Err(errors::no_such_resource());
    }
    if !scale.metadata.resource_version.is_empty() {
        object.meta_mut().resource_version = scale.metadata.resource_version.clone();
    }
    Ok(object)
}

/// The scale of an object, and whether it says how many replicas it wants.
pub(crate) fn scale_of(served: &Served, object: &dyn Object) -> Result<(Scale, bool), Status> {
    if let Some(paths) = served.custom().and_then(|custom| custom.kind.scale()) {
        let value = custom::whole(object);
        return custom::scale::read(paths, object.meta(), &value).map_err(errors::bare_of);
    }
    let scale = scale_of_workload(object).ok_or_else(errors::no_such_resource)?;
    Ok((scale, true))
}

/// The scale of a workload; `None` for kinds without one.
fn scale_of_workload(object: &dyn Object) -> Option<Scale> {
    let selector = |s: Option<&meta::LabelSelector>| {
        Selector::from_label_selector(s).map(|s| s.to_string()).unwrap_or_default()
    };
    let (replicas, current, selector) = if let Some(o) = meta::downcast_ref::<Deployment>(object) {
        (o.spec.replicas, o.status.replicas, selector(o.spec.selector.as_deref()))
    } else if let Some(o) = meta::downcast_ref::<ReplicaSet>(object) {
        (o.spec.replicas, o.status.replicas, selector(o.spec.selector.as_deref()))
    } else if let Some(o) = meta::downcast_ref::<StatefulSet>(object) {
        (o.spec.replicas, o.status.replicas, selector(o.spec.selector.as_deref()))
    } else if let Some(o) = meta::downcast_ref::<ReplicationController>(object) {
        (o.spec.replicas, o.status.replicas, labels(&o.spec.selector))
    } else {
        return None;
    };
    let from = object.meta();
    Some(Scale {
        metadata: meta::ObjectMeta {
            name: from.name.clone(),
            namespace: from.namespace.clone(),
            uid: from.uid.clone(),
            resource_version: from.resource_version.clone(),
            creation_timestamp: from.creation_timestamp,
            ..Default::default()
        },
        spec: ScaleSpec { replicas: replicas.unwrap_or_default() },
        status: ScaleStatus { replicas: current, selector: selector.into() },
    })
}

fn labels(selector: &Map<Str>) -> String {
    Selector::from_labels(selector).to_string()
}
