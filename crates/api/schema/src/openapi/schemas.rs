//! Schemas of types, and the closure of everything that a document refers to.

use std::collections::BTreeSet;

use meta::{Field, Ty, TypeInfo};
use serde_json::{Map, Value, json};

use super::reference;

const PREFIX: &str = "#/components/schemas/";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const DURATION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Duration";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// The schemas of one document, by model name.
#[derive(Default)]
pub struct Schemas {
    done: Map<String, Value>,
}

/// The model names that a value refers to.
pub fn references(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) =
                map.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(PREFIX))
            {
                found.insert(name.to_owned());
            }
            map.values().for_each(|value| collect(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

impl Schemas {
    /// Adds every schema that `value` needs, and what those need in turn.
    pub fn include_referenced(&mut self, value: &Value) {
        let mut open: Vec<String> = references(value).into_iter().collect();
        while let Some(name) = open.pop() {
            if self.done.contains_key(&name) {
                continue;
            }
            let schema = schema(&name);
            open.extend(references(&schema));
            self.done.insert(name, schema);
        }
    }

    /// All schemas by name.
    pub fn finish(self) -> Map<String, Value> {
        self.done
    }
}

fn schema(model: &str) -> Value {
    match model {
        QUANTITY => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        INT_OR_STRING => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        TIME | MICRO_TIME => json!({"type": "string", "format": "date-time"}),
        DURATION => json!({"type": "string"}),
        _ => match scheme::fields::of(model) {
            Some(info) => structure(info),
            // Raw JSON, patches and field sets: any object.
            None => json!({"type": "object"}),
        },
    }
}

fn structure(info: &TypeInfo) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if info.type_meta.is_some() {
        properties.insert("kind".into(), json!({"type": "string"}));
        properties.insert("apiVersion".into(), json!({"type": "string"}));
    }
    for field in info.fields {
        if field.required || !(field.omitempty || field.omitzero || field.optional) {
            required.push(field.name);
        }
        properties.insert(field.name.into(), property(field));
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        required.sort_unstable();
        schema["required"] = json!(required);
    }
    if info.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    if info.type_meta.is_some() {
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": info.group, "version": info.version, "kind": info.name}]);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut schema = value(&field.ty);
    if schema.get("$ref").is_some() {
        schema = json!({"allOf": [schema]});
    }
    if !field.values.is_empty() {
        schema["enum"] = json!(field.values);
    }
    for (key, text) in [
        ("x-kubernetes-list-type", field.list_type),
        ("x-kubernetes-map-type", field.map_type),
        ("x-kubernetes-patch-strategy", field.patch_strategy),
        ("x-kubernetes-patch-merge-key", field.patch_merge_key),
    ] {
        if !text.is_empty() {
            schema[key] = json!(text);
        }
    }
    if !field.list_map_keys.is_empty() {
        schema["x-kubernetes-list-map-keys"] = json!(field.list_map_keys);
    }
    if let Some(default) = default(field) {
        schema["default"] = default;
    }
    schema
}

/// The declared default, and for values that are always written their zero.
fn default(field: &Field) -> Option<Value> {
    if let Ok(declared) = serde_json::from_str(field.default) {
        return Some(declared);
    }
    let always = !field.pointer && !(field.omitempty || field.omitzero);
    match field.ty {
        Ty::Struct(_) if !field.pointer => Some(json!({})),
        Ty::Str if always => Some(json!("")),
        Ty::Bool if always => Some(json!(false)),
        Ty::Int32 | Ty::Int64 | Ty::Double if always => Some(json!(0)),
        _ => None,
    }
}

fn value(ty: &Ty) -> Value {
    match ty {
        Ty::Str => json!({"type": "string"}),
        Ty::Bool => json!({"type": "boolean"}),
        Ty::Int32 => json!({"type": "integer", "format": "int32"}),
        Ty::Int64 => json!({"type": "integer", "format": "int64"}),
        Ty::Double => json!({"type": "number", "format": "double"}),
        Ty::Bytes => json!({"type": "string", "format": "byte"}),
        Ty::Quantity => reference(QUANTITY),
        Ty::IntOrString => reference(INT_OR_STRING),
        Ty::Time => reference(TIME),
        Ty::MicroTime => reference(MICRO_TIME),
        Ty::Duration => reference(DURATION),
        Ty::Raw => reference(RAW),
        Ty::Struct(info) => reference(info.model),
        Ty::List(element) => json!({"type": "array", "items": value(element)}),
        Ty::Map(element) => json!({"type": "object", "additionalProperties": value(element)}),
    }
}

/// The schema name of patch bodies.
pub const fn patch_model() -> &'static str {
    PATCH
}
