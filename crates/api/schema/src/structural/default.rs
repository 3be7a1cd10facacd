//! Defaulting, and what becomes of nulls where null is no value.

use serde_json::Value;

use super::Schema;

impl Schema {
    /// Fills in defaults wherever a value is absent, or null although null is no value.
    pub fn default(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    if map.get(name.as_str()).is_none_or(|found| found.is_null() && !schema.nullable) {
                        map.insert(name.to_string(), default.clone());
                    }
                }
                for (name, inner) in map.iter_mut() {
                    match self.properties.get(name.as_str()) {
                        Some(schema) => schema.default(inner),
                        None => {
                            if let Some(schema) = self.additional_schema() {
                                schema.replace_null(inner);
                            }
                        }
                    }
                }
            }
            Value::Array(list) => {
                if let Some(schema) = &self.items {
                    list.iter_mut().for_each(|inner| schema.replace_null(inner));
                }
            }
            _ => {}
        }
    }

    fn replace_null(&self, value: &mut Value) {
        if value.is_null() && !self.nullable {
            *value = self.default.clone().unwrap_or(Value::Null);
        }
        self.default(value);
    }

    /// Drops the fields whose value is null although null is no value and there is no default to put in its place.
    pub fn prune_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(map) => map.retain(|name, inner| match self.field(name) {
                Some(schema) if inner.is_null() && !schema.nullable && schema.default.is_none() => false,
                Some(schema) => {
                    schema.prune_nulls(inner);
                    true
                }
                None => true,
            }),
            Value::Array(list) => {
                if let Some(schema) = &self.items {
                    list.iter_mut().for_each(|inner| schema.prune_nulls(inner));
                }
            }
            _ => {}
        }
    }

    /// Whether anything in the schema has a default.
    pub fn has_defaults(&self) -> bool {
        self.any(&mut |schema| schema.default.is_some())
    }
}
