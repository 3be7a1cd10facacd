//! Values from JSON and back.

use std::sync::Arc;

use serde_json::{Number, Value as Json};

use super::{Key, List, Map, Text, Value, parse_duration, parse_timestamp};
use crate::schema::{DeclKind, DeclType};

impl<'a> Value<'a> {
    /// A view of JSON through its declared type. What does not fit its type is seen as what it is.
    pub fn from_json(json: &'a Json, ty: Option<&'a DeclType>) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => of_number(number, ty),
            Json::String(text) => of_string(text, ty),
            Json::Array(list) => {
                Value::List(List::Json(list, ty.filter(|ty| matches!(ty.kind, DeclKind::List(..)))))
            }
            Json::Object(map) => Value::Map(Map::Json(map, ty)),
        }
    }
}

fn of_number<'a>(number: &Number, ty: Option<&DeclType>) -> Value<'a> {
    let double = number.as_f64().unwrap_or(f64::NAN);
    match (ty.map(|ty| &ty.kind), number.as_i64()) {
        (Some(DeclKind::Double), _) => Value::Double(double),
        (_, Some(whole)) => Value::Int(whole),
        // `1.0` is a whole number where one is declared.
        (Some(DeclKind::Int), None) if double.fract() == 0.0 && double.abs() < 9.0e18 => {
            Value::Int(double as i64)
        }
        _ => Value::Double(double),
    }
}

fn of_string<'a>(text: &'a str, ty: Option<&DeclType>) -> Value<'a> {
    match ty.map(|ty| &ty.kind) {
        Some(DeclKind::Bytes) => {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map_or(Value::String(Text::Borrowed(text)), |bytes| Value::Bytes(bytes.into()))
        }
        Some(DeclKind::Duration) => {
            parse_duration(text).map_or(Value::String(Text::Borrowed(text)), Value::Duration)
        }
        Some(DeclKind::Timestamp) => {
            let time = parse_timestamp(text).or_else(|| parse_timestamp(&format!("{text}T00:00:00Z")));
            time.map_or(Value::String(Text::Borrowed(text)), Value::Timestamp)
        }
        _ => Value::String(Text::Borrowed(text)),
    }
}

/// A value as JSON; the error names the type that JSON cannot say.
pub fn to_json(value: &Value<'_>) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) => Json::from(*value),
        Value::Double(value) => {
            Number::from_f64(*value).map(Json::Number).ok_or("double value is not a JSON number")?
        }
        Value::String(text) => Json::String(text.to_string()),
        Value::Bytes(bytes) => {
            use base64::Engine as _;
            Json::String(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        Value::Timestamp(time) => Json::String(time.to_string()),
        Value::Duration(nanos) => Json::String(super::format_duration(*nanos)),
        Value::List(List::Json(list, _)) => Json::Array(list.to_vec()),
        Value::List(list) => {
            Json::Array(list.iter().map(|element| to_json(&element)).collect::<Result<_, _>>()?)
        }
        Value::Map(Map::Json(map, _)) => Json::Object((*map).clone()),
        Value::Map(Map::Built(map)) => {
            let mut out = serde_json::Map::new();
            for (key, value) in map.iter() {
                let Key::String(key) = key else { return Err("map keys must be strings".to_owned()) };
                out.insert(key.to_string(), to_json(value)?);
            }
            Json::Object(out)
        }
        Value::Object(object) => {
            let fields = object.fields.iter().map(|(name, value)| Ok((name.to_string(), to_json(value)?)));
            Json::Object(fields.collect::<Result<_, String>>()?)
        }
        Value::Optional(Some(inner)) => to_json(inner)?,
        Value::Opaque(opaque) => Json::String(opaque.to_string()),
        other => return Err(format!("unsupported type {}", other.type_name())),
    })
}

impl From<Arc<str>> for Value<'_> {
    fn from(text: Arc<str>) -> Self {
        Value::String(Text::Shared(text))
    }
}
