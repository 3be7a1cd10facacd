//! Pruning: fields that no schema knows go, unless the schema keeps them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Additional, Schema};

/// Fields that every object and embedded object has, whatever its schema says.
pub const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Unknown fields that are remembered; upstream stops there as well.
const FOUND_MAX: usize = 100;

impl Schema {
    /// Drops what the schema does not know. The paths of what went are appended to `found`, when it is given.
    pub fn prune(&self, value: &mut Value, is_root: bool, found: Option<&mut Vec<String>>) {
        let mut pruner = Pruner { path: String::new(), found };
        pruner.walk(value, Some(self), is_root);
    }
}

struct Pruner<'a> {
    path: String,
    found: Option<&'a mut Vec<String>>,
}

impl Pruner<'_> {
    fn inside(&mut self, step: std::fmt::Arguments<'_>, act: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if self.found.is_some() {
            // Writing into a String cannot fail.
            let _ = self.path.write_fmt(step);
        }
        act(self);
        self.path.truncate(length);
    }

    fn key(&mut self, key: &str, act: impl FnOnce(&mut Self)) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.inside(format_args!("{dot}{key}"), act);
    }

    fn record(&mut self, key: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        if let Some(found) = &mut self.found
            && found.len() < FOUND_MAX
        {
            found.push(format!("{}{dot}{key}", self.path));
        }
    }

    fn walk(&mut self, value: &mut Value, schema: Option<&Schema>, embedded: bool) {
        let embedded = embedded || schema.is_some_and(|s| s.embedded_resource);
        if let Some(schema) = schema.filter(|s| s.preserve_unknown_fields) {
            return self.keep(value, schema, embedded);
        }
        match value {
            Value::Object(map) => {
                let mut gone: Vec<String> = Vec::new();
                for (key, inner) in map.iter_mut() {
                    if embedded && META_FIELDS.contains(&key.as_str()) {
                        continue;
                    }
                    let named = schema.and_then(|s| s.properties.get(key.as_str()));
                    match (named, schema.and_then(|s| s.additional.as_ref())) {
                        (Some(named), _) => self.key(key, |p| p.walk(inner, Some(named), false)),
                        (None, Some(Additional::Schema(s))) => {
                            self.key(key, |p| p.walk(inner, Some(s), false))
                        }
                        (None, Some(Additional::Allowed(_))) => self.key(key, |p| p.walk(inner, None, false)),
                        (None, None) => gone.push(key.clone()),
                    }
                }
                for key in gone {
                    if schema.is_none() || !META_FIELDS.contains(&key.as_str()) || !self.path.is_empty() {
                        self.record(&key);
                    }
                    map.remove(&key);
                }
            }
            Value::Array(list) => {
                let items = schema.and_then(|s| s.items.as_deref());
                for (index, inner) in list.iter_mut().enumerate() {
                    self.inside(format_args!("[{index}]"), |p| p.walk(inner, items, false));
                }
            }
            _ => {}
        }
    }

    /// Unknown fields stay here, but what the schema does know is pruned.
    fn keep(&mut self, value: &mut Value, schema: &Schema, embedded: bool) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map.iter_mut() {
                    if embedded && META_FIELDS.contains(&key.as_str()) {
                        continue;
                    }
                    if let Some(named) = schema.properties.get(key.as_str()) {
                        self.key(key, |p| p.walk(inner, Some(named), false));
                    } else if let Some(additional) = &schema.additional {
                        let more = match additional {
                            Additional::Schema(s) => Some(&**s),
                            Additional::Allowed(_) => None,
                        };
                        self.key(key, |p| p.walk(inner, more, false));
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = schema.items.as_deref() else { return };
                for (index, inner) in list.iter_mut().enumerate() {
                    self.inside(format_args!("[{index}]"), |p| p.keep(inner, items, items.embedded_resource));
                }
            }
            _ => {}
        }
    }
}
