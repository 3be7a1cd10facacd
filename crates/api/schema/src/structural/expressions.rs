//! A structural schema as CEL looks at it.

use cel::schema::ListKind;
use serde_json::Value;

use super::Schema;

impl cel::schema::Schema for Schema {
    fn kind(&self) -> &str {
        &self.type_
    }
    fn format(&self) -> &str {
        &self.rules.format
    }
    fn items(&self) -> Option<&dyn cel::schema::Schema> {
        self.items.as_deref().map(|schema| schema as _)
    }
    fn properties(&self) -> Vec<(&str, &dyn cel::schema::Schema)> {
        self.properties.iter().map(|(name, schema)| (name.as_str(), schema as _)).collect()
    }
    fn additional_properties(&self) -> Option<&dyn cel::schema::Schema> {
        self.additional_schema().map(|schema| schema as _)
    }
    fn required(&self) -> Vec<&str> {
        self.rules.required.iter().map(|name| name.as_str()).collect()
    }
    fn has_default(&self) -> bool {
        self.default.is_some()
    }
    fn max_length(&self) -> Option<i64> {
        self.rules.max_length
    }
    fn max_items(&self) -> Option<i64> {
        self.rules.max_items
    }
    fn max_properties(&self) -> Option<i64> {
        self.rules.max_properties
    }
    fn enum_length_max(&self) -> Option<u64> {
        let lengths = self.rules.values.iter().map(|value| match value {
            Value::String(text) => text.len() as u64,
            _ => 0,
        });
        lengths.max()
    }
    fn int_or_string(&self) -> bool {
        self.int_or_string
    }
    fn embedded_resource(&self) -> bool {
        self.embedded_resource
    }
    fn list_kind(&self) -> ListKind {
        match self.list_type.as_deref() {
            Some("set") => ListKind::Set,
            Some("map") => ListKind::Map(self.list_map_keys.iter().map(|key| key.as_str().into()).collect()),
            _ => ListKind::Atomic,
        }
    }
}
