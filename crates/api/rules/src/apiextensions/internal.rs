//! Values as messages of upstream show them: in the form in which it checks definitions, where fields have the names of
//! Go's structs and nothing is left out.

use meta::{BadValue, List, Struct as _, Ty, TypeInfo};
use serde_json::Value;
use types::apiextensions::v1::{CustomResourceDefinitionVersion, JSONSchemaProps, ValidationRule};

use super::spec::Common;

/// A list of versions; what they have in common has moved away.
pub(super) fn versions(versions: &List<CustomResourceDefinitionVersion>, common: &Common) -> BadValue {
    if meta::is_absent(versions) {
        return BadValue::Plain("null".to_owned());
    }
    let shown = versions.iter().map(|version| {
        let mut version = version.clone();
        if common.schema {
            version.schema = None;
        }
        if common.subresources {
            version.subresources = None;
        }
        if common.columns {
            version.additional_printer_columns.clear();
        }
        if common.selectable {
            version.selectable_fields.clear();
        }
        go(CustomResourceDefinitionVersion::INFO, &meta::to_value(&version))
    });
    BadValue::Plain(format!("[{}]", shown.collect::<Vec<_>>().join(",")))
}

/// A text behind a pointer.
pub(super) fn text(text: &str) -> BadValue {
    BadValue::Plain(json(&Value::from(text)))
}

/// A schema.
pub(super) fn schema(schema: &JSONSchemaProps) -> BadValue {
    BadValue::Plain(go(JSONSchemaProps::INFO, &meta::to_value(schema)))
}

/// A rule.
pub(crate) fn rule(rule: &ValidationRule) -> BadValue {
    BadValue::Plain(go(ValidationRule::INFO, &meta::to_value(rule)))
}

fn go(info: &TypeInfo, value: &Value) -> String {
    let fields = info.fields.iter().map(|field| {
        let shown = match value.get(field.name) {
            Some(value) => go_value(&field.ty, value),
            None => zero(&field.ty, field.pointer).to_owned(),
        };
        let name = field.go_name.strip_prefix("XKubernetes").unwrap_or(field.go_name);
        format!("{}:{shown}", json(&Value::from(name)))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn zero(ty: &Ty, pointer: bool) -> &'static str {
    match ty {
        _ if pointer => "null",
        Ty::Str => "\"\"",
        Ty::Bool => "false",
        Ty::Int32 | Ty::Int64 | Ty::Double => "0",
        _ => "null",
    }
}

fn go_value(ty: &Ty, value: &Value) -> String {
    match (ty, value) {
        (Ty::Struct(info), Value::Object(_)) => go(info, value),
        (Ty::List(inner), Value::Array(list)) => {
            let items: Vec<String> = list.iter().map(|item| go_value(inner, item)).collect();
            format!("[{}]", items.join(","))
        }
        (Ty::Map(inner), Value::Object(map)) => {
            let entry = |(k, v): (&String, &Value)| {
                format!("{}:{}", json(&Value::from(k.as_str())), go_value(inner, v))
            };
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(","))
        }
        (_, value) => json(value),
    }
}

fn json(value: &Value) -> String {
    let mut w = meta::json::JsonWriter::default();
    w.tree(value);
    String::from_utf8_lossy(&w.out).into_owned()
}
