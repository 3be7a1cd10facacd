//! Lists that are sets, and lists that are maps by some fields of their elements: nothing may be there twice.

use std::collections::HashMap;

use meta::{FieldError, FieldErrorKind, FieldPath};
use serde_json::{Map, Value};

use super::{Schema, bad};

/// What is twice in `value`, whose schema this is.
pub fn validate(at: &FieldPath, schema: &Schema, value: &Value, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if let Some(schema) = schema.additional_schema() {
                    validate(&at.key(name.as_str()), schema, inner, errors);
                }
                if let Some(schema) = schema.properties.get(name.as_str()) {
                    validate(&at.child(name.as_str()), schema, inner, errors);
                }
            }
        }
        Value::Array(list) => {
            match schema.list_type.as_deref() {
                Some("set") => {
                    for index in repeated(list.iter().map(key_text)) {
                        errors.push(FieldError::duplicate(&at.index(index), bad(&list[index])));
                    }
                }
                Some("map") => of_map(at, schema, list, errors),
                _ => {}
            }
            if let Some(items) = &schema.items {
                for (index, inner) in list.iter().enumerate() {
                    validate(&at.index(index), items, inner, errors);
                }
            }
        }
        _ => {}
    }
}

fn of_map(at: &FieldPath, schema: &Schema, list: &[Value], errors: &mut Vec<FieldError>) {
    if let Some((index, wrong)) = list.iter().enumerate().find(|(_, v)| !v.is_object() && !v.is_null()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::new(FieldErrorKind::Invalid, &at.index(index), bad(wrong), detail));
        return;
    }
    let keys: Vec<Value> = list
        .iter()
        .map(|element| {
            let mut key = Map::new();
            for name in &schema.list_map_keys {
                if let Some(value) = element.get(name.as_str()) {
                    key.insert(name.to_string(), value.clone());
                }
            }
            Value::Object(key)
        })
        .collect();
    for index in repeated(keys.iter().map(key_text)) {
        errors.push(FieldError::duplicate(&at.index(index), bad(&keys[index])));
    }
}

fn key_text(value: &Value) -> String {
    super::shown(value)
}

/// The index of each value that comes a second time; a third time is not told.
fn repeated(values: impl Iterator<Item = String>) -> Vec<usize> {
    let mut times: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, value) in values.enumerate() {
        let seen = times.entry(value).or_default();
        *seen += 1;
        if *seen == 2 {
            found.push(index);
        }
    }
    found
}
