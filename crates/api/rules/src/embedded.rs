//! Objects inside objects (`x-kubernetes-embedded-resource`): they have a kind, an API version and metadata of their own,
//! whatever their schema says.

use meta::{DecodeContext, FieldError, FieldPath, ObjectMeta, Struct as _};
use schema::structural::{Schema, bad};
use serde_json::{Map, Value};

use crate::check::{Errs, dns_1035_label, metadata, path_segment};

/// Reads the metadata of every embedded object as metadata and writes it back, so that unknown fields go. Fails where it
/// is none. `is_root` says that the value itself is an object.
pub fn coerce(at: &FieldPath, value: &mut Value, schema: &Schema, is_root: bool) -> Result<(), FieldError> {
    coerce_and_note(at, value, schema, is_root, &mut None)
}

/// As [`coerce`]; the paths of unknown fields are appended to `found`.
pub fn coerce_and_note(
    at: &FieldPath,
    value: &mut Value,
    schema: &Schema,
    is_root: bool,
    found: &mut Option<&mut Vec<String>>,
) -> Result<(), FieldError> {
    match value {
        Value::Object(map) => {
            if is_root || schema.embedded_resource {
                type_meta(at, map)?;
                object_meta(at, map, found)?;
            }
            for (name, inner) in map.iter_mut() {
                if let Some(schema) = schema.properties.get(name.as_str()) {
                    coerce_and_note(&at.child(name.as_str()), inner, schema, false, found)?;
                } else if let Some(schema) = schema.additional_schema() {
                    coerce_and_note(&at.key(name.as_str()), inner, schema, false, found)?;
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return Ok(()) };
            for (index, inner) in list.iter_mut().enumerate() {
                coerce_and_note(&at.index(index), inner, items, false, found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn type_meta(at: &FieldPath, map: &Map<String, Value>) -> Result<(), FieldError> {
    for name in ["apiVersion", "kind"] {
        if let Some(value) = map.get(name).filter(|value| !value.is_string()) {
            return Err(FieldError::invalid(&at.child(name), bad(value), "must be a string"));
        }
    }
    Ok(())
}

fn object_meta(
    at: &FieldPath,
    map: &mut Map<String, Value>,
    found: &mut Option<&mut Vec<String>>,
) -> Result<(), FieldError> {
    let Some(value) = map.get("metadata") else { return Ok(()) };
    let mut context = DecodeContext::new(meta::FieldValidation::Warn);
    let read = read_meta(value, &mut context)
        .map_err(|error| FieldError::invalid(&at.child("metadata"), bad(value), error))?;
    if let Some(found) = found {
        let unknown = context.findings.iter().filter_map(|text| text.strip_prefix("unknown field \""));
        let prefix = at.child("metadata");
        found.extend(unknown.map(|name| format!("{prefix}.{}", name.trim_end_matches('"'))));
    }
    let mut written = meta::to_value(&read);
    if let Value::Object(fields) = &mut written
        && read.creation_timestamp.is_none()
    {
        fields.remove("creationTimestamp");
    }
    map.insert("metadata".to_owned(), written);
    Ok(())
}

fn read_meta(value: &Value, context: &mut DecodeContext) -> Result<ObjectMeta, String> {
    let other = match value {
        Value::Object(_) | Value::Null => None,
        Value::Bool(_) => Some("bool"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("array"),
    };
    if let Some(other) = other {
        return Err(format!("json: cannot unmarshal {other} into Go value of type v1.ObjectMeta"));
    }
    let mut w = meta::json::JsonWriter::default();
    w.tree(value);
    let mut read = ObjectMeta::default();
    meta::json::JsonReader::with_context(&w.out, context)
        .whole(|r| read.read_json_value(r))
        .map_err(|error| error.to_string())?;
    Ok(read)
}

/// What is wrong with embedded objects.
pub fn validate(at: &FieldPath, value: &Value, schema: &Schema, is_root: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(at, value, schema, is_root, &mut errors);
    errors
}

fn walk(at: &FieldPath, value: &Value, schema: &Schema, is_root: bool, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if is_root || schema.embedded_resource {
                embedded(at, map, errors);
            }
            for (name, inner) in map {
                if let Some(schema) = schema.properties.get(name.as_str()) {
                    walk(&at.child(name.as_str()), inner, schema, false, errors);
                } else if let Some(schema) = schema.additional_schema() {
                    walk(&at.key(name.as_str()), inner, schema, false, errors);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, inner) in list.iter().enumerate() {
                walk(&at.index(index), inner, items, false, errors);
            }
        }
        _ => {}
    }
}

fn embedded(at: &FieldPath, map: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let at = at.child(name);
        match map.get(name) {
            None => errors.push(FieldError::required(&at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(&at, text, "must not be empty"));
            }
            Some(Value::String(text)) if name == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    let detail = format!("unexpected GroupVersion string: {text}");
                    errors.push(FieldError::invalid(&at, text, detail));
                }
            }
            Some(Value::String(text)) => {
                let messages = dns_1035_label(&text.to_lowercase());
                if !messages.is_empty() {
                    let detail =
                        format!("may have mixed case, but should otherwise match: {}", messages.join(","));
                    errors.push(FieldError::invalid(&at, text, detail));
                }
            }
            Some(other) => errors.push(FieldError::invalid(&at, bad(other), "must be a string")),
        }
    }
    let Some(value) = map.get("metadata") else { return };
    match read_meta(value, &mut DecodeContext::lenient()) {
        Err(error) => errors.push(FieldError::invalid(&at.child("metadata"), bad(value), error)),
        Ok(mut read) => {
            if read.name.is_empty() {
                // The name is not asked for.
                read.name = "fakename".into();
            }
            let mut e = Errs::new();
            metadata::create(&mut e, &read, !read.namespace.is_empty(), path_segment);
            let prefix = if at.is_root() { String::new() } else { format!("{at}.") };
            errors.extend(e.into_vec().into_iter().map(|mut error| {
                error.field = format!("{prefix}{}", error.field);
                error
            }));
        }
    }
}
