//! Defaults of a schema: they must be pruned and valid themselves.

use meta::{FieldError, FieldPath, RawJson};
use schema::structural::{META_FIELDS, Schema, validate};
use serde_json::{Value, json};
use types::apiextensions::v1::JSONSchemaProps;

use crate::embedded;
use crate::expressions::Rules;

/// What is wrong with the defaults in the schema of an object.
pub(super) fn validate(at: &FieldPath, schema: &Schema) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Schema { embedded_resource: true, ..schema.clone() };
    walk(at, &root, None, &mut errors);
    errors
}

/// A place inside the metadata of an object: the schema of the object, and the fields that lead from it here.
#[derive(Clone)]
struct Inside<'a> {
    object: &'a Schema,
    path: Vec<String>,
}

impl Inside<'_> {
    /// An object with `value` at this place and nothing else.
    fn surround(&self, value: &Value) -> Value {
        let inner = self.path.iter().rev().fold(value.clone(), |value, name| match name.as_str() {
            // The element of a list.
            "" => json!([value]),
            name => json!({ name: value }),
        });
        let mut object = json!({ "apiVersion": "validation/v1", "kind": "Validation" });
        if let (Value::Object(object), Value::Object(inner)) = (&mut object, inner) {
            object.extend(inner);
        }
        object
    }
}

fn walk(at: &FieldPath, schema: &Schema, inside: Option<Inside<'_>>, errors: &mut Vec<FieldError>) {
    let inside = inside.filter(|_| !schema.embedded_resource);
    if let Some(default) = &schema.default {
        let at = at.child("default");
        match &inside {
            Some(inside) => in_metadata(&at, schema, default, inside, errors),
            None => elsewhere(&at, schema, default, errors),
        }
    }
    // What additionalProperties describes is not followed: defaults are refused there.
    if let Some(items) = &schema.items {
        let inside = inside.clone().map(|mut inside| {
            inside.path.push(String::new());
            inside
        });
        walk(&at.child("items"), items, inside, errors);
    }
    for (name, field) in &schema.properties {
        let own = schema.embedded_resource && META_FIELDS.contains(&name.as_str());
        let inside = match &inside {
            Some(inside) => {
                let mut inside = inside.clone();
                inside.path.push(name.to_string());
                Some(inside)
            }
            None => own.then(|| Inside { object: schema, path: vec![name.to_string()] }),
        };
        walk(&at.child("properties").key(name.clone()), field, inside, errors);
    }
}

fn in_metadata(
    at: &FieldPath,
    schema: &Schema,
    default: &Value,
    inside: &Inside<'_>,
    errors: &mut Vec<FieldError>,
) {
    let mut object = inside.surround(default);
    let root = FieldPath::root();
    let refused = match embedded::coerce(&root, &mut object, inside.object, true) {
        Err(error) => Some(error.to_string()),
        Ok(()) => {
            let found = embedded::validate(&root, &object, inside.object, true);
            let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
            (!texts.is_empty()).then(|| meta::aggregate_message(texts))
        }
    };
    match refused {
        Some(why) => {
            let detail = format!("must result in valid metadata: {why}");
            errors.push(FieldError::invalid(at, schema::structural::bad(default), detail));
        }
        None => {
            errors.extend(validate::of(at, &schema.without_mixed_types(), default));
            expressions(at, schema, default, errors);
        }
    }
}

fn elsewhere(at: &FieldPath, schema: &Schema, default: &Value, errors: &mut Vec<FieldError>) {
    let mut pruned = default.clone();
    schema.prune(&mut pruned, schema.embedded_resource, None);
    if pruned != *default {
        let shown = schema::structural::bad(default);
        errors.push(FieldError::invalid(at, shown, "must not have unknown fields"));
    }
    let mut coerced = default.clone();
    match embedded::coerce(at, &mut coerced, schema, schema.embedded_resource) {
        Err(error) => errors.push(error),
        Ok(()) => {
            let found = embedded::validate(at, default, schema, schema.embedded_resource);
            if found.is_empty() {
                let found = validate::of(at, &schema.without_mixed_types(), default);
                let valid = found.is_empty();
                errors.extend(found);
                if valid {
                    expressions(at, schema, default, errors);
                }
            } else {
                errors.extend(found);
            }
        }
    }
}

/// Takes unknown fields out of the metadata of objects in the defaults of a schema. Upstream does so while it checks them,
/// and stores what is left. Defaults that are none are left to the check.
pub(super) fn tidy(schema: &mut JSONSchemaProps) {
    tidy_part(schema, true, false);
}

fn tidy_part(part: &mut JSONSchemaProps, is_root: bool, in_metadata: bool) {
    let is_object = is_root || part.x_kubernetes_embedded_resource;
    let in_metadata = in_metadata && !part.x_kubernetes_embedded_resource;
    if !in_metadata
        && let Some(default) = part.default.as_ref().and_then(|default| default.to_value().ok())
        && (default.is_object() || default.is_array())
        && let Ok(schema) = Schema::read(part)
    {
        let mut tidied = default.clone();
        let done = embedded::coerce(&FieldPath::root(), &mut tidied, &schema, is_object);
        if done.is_ok() && tidied != default {
            part.default = Some(RawJson::from_value(&tidied));
        }
    }
    if let Some(items) = part.items.as_mut().and_then(|items| items.schema.as_mut()) {
        tidy_part(items, false, in_metadata);
    }
    for (name, field) in part.properties.iter_mut() {
        let own = is_object && META_FIELDS.contains(&name.as_str());
        tidy_part(field, false, in_metadata || own);
    }
}

/// What the rules say of a default, as of a value that comes and of one that stays.
fn expressions(at: &FieldPath, schema: &Schema, default: &Value, errors: &mut Vec<FieldError>) {
    let rules = Rules::compile_part(schema);
    if rules.is_empty() {
        return;
    }
    let stays: Vec<FieldError> = rules.validate_as_is(at, default);
    if stays.is_empty() {
        errors.extend(rules.validate(at, default, None));
    } else {
        errors.extend(stays);
    }
}

#[cfg(test)]
mod tests {
    use meta::Codec as _;

    use super::*;

    #[test]
    fn metadata_in_defaults_is_metadata() {
        let metadata =
            |unknown: &str| format!(r#"{{"apiVersion":"v1","kind":"K","metadata":{{"name":"n"{unknown}}}}}"#);
        let document = |unknown: &str| {
            let object = metadata(unknown);
            let embedded = r#""type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true"#;
            let text = format!(
                r#"{{"type":"object","properties":{{
                    "metadata":{{"type":"object"}},
                    "one":{{{embedded},"default":{object}}},
                    "many":{{"type":"array","default":[{object}],"items":{{{embedded}}}}},
                    "free":{{"type":"object","x-kubernetes-preserve-unknown-fields":true,"default":{{"metadata":{{"odd":1}}}}}},
                    "wrong":{{{embedded},"default":{{"metadata":7}}}}}}}}"#
            );
            JSONSchemaProps::from_json(text.as_bytes()).unwrap()
        };
        let mut tidied = document(r#","odd":1,"creationTimestamp":null"#);
        tidy(&mut tidied);
        assert_eq!(tidied, document(""));
    }
}
