//! The scale of a custom object: three paths into it.

use meta::{FieldError, FieldPath, ObjectMeta, Str};
use serde_json::{Value, map::Entry};
use types::apiextensions::v1::CustomResourceSubresourceScale;
use types::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};

/// Why an object has no scale, or cannot take one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// There is no number of replicas in the spec.
    #[error("the spec replicas field {0:?} does not exist")]
    NoReplicas(String),
    /// Something along a path, or at its end, has another type.
    #[error("{path} accessor error: {value} is of the type {found}, expected {wanted}")]
    Type {
        /// The path.
        path: String,
        /// What is there.
        value: String,
        /// Its type in Go.
        found: &'static str,
        /// The type that should be there.
        wanted: &'static str,
    },
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('.').unwrap_or(path).split('.')
}

fn wrong(path: &str, value: &Value, wanted: &'static str) -> ScaleError {
    let found = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let value = meta::go_plain(value);
    ScaleError::Type { path: format!(".{}", path.trim_start_matches('.')), value, found, wanted }
}

fn at<'v>(value: &'v Value, path: &str) -> Result<Option<&'v Value>, ScaleError> {
    let mut here = value;
    for name in names(path) {
        let map = match here {
            Value::Object(map) => map,
            Value::Null => return Ok(None),
            other => return Err(wrong(path, other, "map[string]interface{}")),
        };
        match map.get(name) {
            Some(inner) => here = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

fn number(value: &Value, path: &str) -> Result<Option<i64>, ScaleError> {
    match at(value, path)? {
        None => Ok(None),
        Some(found) => found.as_i64().map(Some).ok_or_else(|| wrong(path, found, "int64")),
    }
}

fn text<'v>(value: &'v Value, path: &str) -> Result<Option<&'v str>, ScaleError> {
    match at(value, path)? {
        None => Ok(None),
        Some(found) => found.as_str().map(Some).ok_or_else(|| wrong(path, found, "string")),
    }
}

/// The scale of an object, and whether it says how many replicas it wants.
pub fn read(
    paths: &CustomResourceSubresourceScale,
    metadata: &ObjectMeta,
    value: &Value,
) -> Result<(Scale, bool), ScaleError> {
    let clamp = |n: i64| i32::try_from(n).unwrap_or(if n < 0 { i32::MIN } else { i32::MAX });
    let wanted = number(value, &paths.spec_replicas_path)?;
    let current = number(value, &paths.status_replicas_path)?.unwrap_or_default();
    let selector = match paths.label_selector_path.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => text(value, path)?.unwrap_or_default(),
        None => "",
    };
    let scale = Scale {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            creation_timestamp: metadata.creation_timestamp,
            ..Default::default()
        },
        spec: ScaleSpec { replicas: clamp(wanted.unwrap_or_default()) },
        status: ScaleStatus { replicas: clamp(current), selector: selector.into() },
    };
    Ok((scale, wanted.is_some()))
}

/// Writes the number of replicas into an object's fields.
pub fn write(
    paths: &CustomResourceSubresourceScale,
    fields: &mut serde_json::Map<String, Value>,
    replicas: i32,
) -> Result<(), ScaleError> {
    let path = paths.spec_replicas_path.as_str();
    let mut steps: Vec<&str> = names(path).collect();
    let Some(last) = steps.pop() else { return Ok(()) };
    let mut here = fields;
    for name in steps {
        let inner = match here.entry(name) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Value::Object(Default::default())),
        };
        here = match inner {
            Value::Object(map) => map,
            other => return Err(wrong(path, other, "map[string]interface{}")),
        };
    }
    here.insert(last.to_owned(), replicas.into());
    Ok(())
}

/// What is wrong with the places that the paths lead to.
pub(crate) fn validate(
    paths: &CustomResourceSubresourceScale,
    value: &Value,
    with_spec: bool,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut replicas = |path: &Str| {
        let at = FieldPath::new(path.clone());
        match number(value, path) {
            Err(error) => errors.push(FieldError::invalid(&at, 0, error.to_string())),
            Ok(Some(n)) if n < 0 => {
                errors.push(FieldError::invalid(&at, n, "should be a non-negative integer"));
            }
            Ok(Some(n)) if n > i64::from(i32::MAX) => {
                let detail = format!("should be less than or equal to {}", i32::MAX);
                errors.push(FieldError::invalid(&at, n, detail));
            }
            Ok(_) => {}
        }
    };
    if with_spec {
        replicas(&paths.spec_replicas_path);
    }
    replicas(&paths.status_replicas_path);
    if let Some(path) = &paths.label_selector_path
        && let Err(error) = text(value, path)
    {
        errors.push(FieldError::invalid(&FieldPath::new(path.clone()), "", error.to_string()));
    }
    errors
}
