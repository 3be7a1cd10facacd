//! PATCH with an apply configuration: from YAML to the merged object with its managers.

use meta::{DecodeContext, Object, Status, StatusCause, Time};
use schema::apply::{ApplyError, Conflict, Managers, Set, Updater, conflict_message, unchanged_since};
use serde_json::Value;

use super::versions::Others;
use super::{Before, Endpoint, place, reset};
use crate::errors;

/// Where `kubectl apply` keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that this annotation is kept for.
const KUBECTL: &str = "kubectl";
/// Most bytes that all annotations of an object may have together.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// The object that an apply makes of `live`, which is an empty one where there is none yet.
pub(crate) fn apply(
    endpoint: &Endpoint<'_>,
    live: Before<'_>,
    body: &[u8],
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Status> {
    let config = schema::yaml::object(body)
        .map_err(|error| errors::bad_request(format!("error decoding YAML: {error}")))?;
    let served = endpoint.served;
    let gvk = live.object.group_version_kind();
    let named = Named::of(&config.value);
    if named.api_version != gvk.api_version() || named.kind != gvk.kind {
        return Err(errors::bad_request(format!("invalid object type: {}", named.kind_text())));
    }
    if config.value["metadata"]["managedFields"].is_array() {
        return Err(errors::bad_request("metadata.managedFields must be nil"));
    }
    let others = Others { served };
    let api_version = gvk.api_version();
    let updater = Updater {
        api_version: &api_version,
        place: place(served, live.object),
        versions: &others,
        reset: reset::of(served, endpoint.subresource),
        subresource: endpoint.subresource,
    };
    let text = config.value.to_string();
    if let Some(problems) = updater.problems(text.as_bytes()).map_err(errors::internal)? {
        return Err(errors::bare(format!("failed to create typed patch object ({named}): {problems}")));
    }
    let mut managers = Managers::decode(&live.object.meta().managed_fields)
        .map_err(|error| errors::bare(format!("failed to decode managed fields: {error}")))?;
    managers.0.retain(|manager| super::is_of_group(&manager.id.api_version, &gvk.group));
    let mut empty = Vec::new();
    super::empty_object(served, live.object, &mut empty);
    let manager = endpoint.options.manager().as_str();
    let run = |force: bool| {
        let now = Time::from_unix(endpoint.now_s);
        updater.apply(live.json, &empty, text.as_bytes(), managers.clone(), manager, force, now)
    };
    let applied = match run(endpoint.options.force) {
        Err(ApplyError::Conflicts(conflicts)) if manager == KUBECTL => {
            match still_conflicting(conflicts, live, &updater) {
                None => run(true),
                Some(conflicts) => Err(ApplyError::Conflicts(conflicts)),
            }
        }
        done => done,
    };
    let applied = applied.map_err(refused)?;
    let mut object = match &applied.object {
        Some(json) => decode(endpoint, json, &named)?,
        None => live.object.clone_object(),
    };
    object.meta_mut().managed_fields = applied.managers.encode();
    if manager == KUBECTL && !object.meta().annotation(LAST_APPLIED).is_empty() {
        remember(&mut *object, config.value);
    }
    if !config.duplicates.is_empty() {
        let found = config.duplicates.join("\n  ");
        let text = format!("error converting YAML to JSON: yaml: unmarshal errors:\n  {found}");
        match endpoint.options.validation() {
            call::FieldValidation::Ignore => {}
            call::FieldValidation::Warn => warnings.extend(config.duplicates),
            call::FieldValidation::Strict => {
                return Err(errors::bad_request(format!("error strict decoding YAML: {text}")));
            }
        }
    }
    Ok(object)
}

/// What a configuration says that it is.
struct Named {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

impl Named {
    fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (mut api_version, mut kind) = (text(&value["apiVersion"]), text(&value["kind"]));
        if api_version.matches('/').count() > 1 {
            (api_version, kind) = (String::new(), String::new());
        }
        let metadata = &value["metadata"];
        Named { api_version, kind, namespace: text(&metadata["namespace"]), name: text(&metadata["name"]) }
    }

    /// `apps/v1, Kind=Deployment`, and `/v1, Kind=Pod` for the core group.
    fn kind_text(&self) -> String {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        format!("{group}/{version}, Kind={}", self.kind)
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}; {}", self.namespace, self.name, self.kind_text())
    }
}

fn decode(endpoint: &Endpoint<'_>, json: &[u8], named: &Named) -> Result<Box<dyn Object>, Status> {
    let gvk = (named.api_version.as_str(), named.kind.as_str());
    let resource = endpoint.served.resource();
    let mut context = DecodeContext { converted: true, ..DecodeContext::lenient() };
    let decoded = if gvk.1 == &*resource.kind {
        resource.object.decode_json(json, &mut context)
    } else {
        scheme::decode_json(json, &mut context)
    };
    decoded.map_err(|error| {
        let document: Value = serde_json::from_slice(json).unwrap_or_default();
        let error = crate::patch::converter::words(error.to_string(), &document, resource.object.info());
        let kind = named.kind_text();
        errors::bare(format!(
            "failed to convert new object ({named}) to proper version: unable to convert unstructured object to {kind}: {error}"
        ))
    })
}

fn refused(error: ApplyError) -> Status {
    match error {
        ApplyError::Conflicts(conflicts) => conflict(&conflicts),
        other => errors::internal(other),
    }
}

/// The 409 of conflicts, with one cause for each field.
fn conflict(conflicts: &[Conflict]) -> Status {
    let mut status = errors::failure(409, "Conflict", conflict_message(conflicts));
    let causes = conflicts.iter().map(|conflict| StatusCause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {}", conflict.manager).into(),
        field: conflict.field().into(),
    });
    status.details_mut().causes = causes.collect();
    status
}

/// The conflicts that stay for `kubectl`, to which the fields of its annotation belong as long as nobody changed them;
/// `None` when none stays.
fn still_conflicting(
    conflicts: Vec<Conflict>,
    live: Before<'_>,
    updater: &Updater<'_>,
) -> Option<Vec<Conflict>> {
    let Some(own) = own_by_annotation(live, updater) else { return Some(conflicts) };
    let left: Vec<Conflict> = conflicts.into_iter().filter(|c| !own.has_path(&c.path)).collect();
    if left.is_empty() { None } else { Some(left) }
}

fn own_by_annotation(live: Before<'_>, updater: &Updater<'_>) -> Option<Set> {
    let text = live.object.meta().annotation(LAST_APPLIED);
    let value: Value = serde_json::from_str(text).ok()?;
    if value["apiVersion"] != updater.api_version {
        return None;
    }
    let text = value.to_string();
    if updater.problems(text.as_bytes()).ok()?.is_some() {
        return None;
    }
    unchanged_since(text.as_bytes(), live.json, updater.place).ok()
}

/// Keeps the annotation of client-side apply true, for those who go back to it.
fn remember(object: &mut dyn Object, mut config: Value) {
    if let Some(annotations) = config["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let annotations = &mut object.meta_mut().annotations;
    annotations.insert(LAST_APPLIED, format!("{config}\n").into());
    if annotations.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}
