//! JSON without a schema: [`serde_json::Value`] through the same reader and writer, so that duplicate fields are noted
//! and escapes are Go's.

use serde_json::{Map, Number, Value};

use super::{JsonReader, JsonWriter};
use crate::DecodeError;

impl JsonReader<'_> {
    /// Reads any value. Integers that fit stay integers, everything else becomes a float, as Kubernetes does.
    pub fn tree(&mut self) -> Result<Value, DecodeError> {
        if self.try_null()? {
            return Ok(Value::Null);
        }
        Ok(match self.peek()? {
            b'"' => Value::String(self.string()?.into_owned()),
            b't' | b'f' => Value::Bool(self.boolean()?),
            b'[' => {
                let mut list = Vec::new();
                self.read_list(|r| {
                    list.push(r.tree()?);
                    Ok(())
                })?;
                Value::Array(list)
            }
            b'{' => {
                let mut map = Map::new();
                self.read_map(|r, key| {
                    let value = r.tree()?;
                    Ok(map.insert(key.to_owned(), value).is_some())
                })?;
                Value::Object(map)
            }
            _ => {
                let text = self.number()?;
                if let Ok(n) = text.parse::<i64>() {
                    Value::Number(n.into())
                } else {
                    let float = text.parse::<f64>().ok().and_then(Number::from_f64);
                    let found = || DecodeError::mismatch(format!("number {text}"), Some("float64"));
                    Value::Number(float.ok_or_else(found)?)
                }
            }
        })
    }
}

impl JsonWriter {
    /// Writes any value.
    pub fn tree(&mut self, value: &Value) {
        match value {
            Value::Null => self.out.extend_from_slice(b"null"),
            Value::Bool(b) => self.out.extend_from_slice(if *b { b"true" } else { b"false" }),
            Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(n), ..) => self.integer(n),
                (_, Some(n), _) => self.out.extend_from_slice(n.to_string().as_bytes()),
                (.., n) => self.float(n.unwrap_or(0.0)),
            },
            Value::String(s) => self.string(s),
            Value::Array(list) => {
                self.out.push(b'[');
                for v in list {
                    self.comma();
                    self.tree(v);
                }
                self.out.push(b']');
            }
            Value::Object(map) => {
                self.begin_object();
                for (k, v) in map {
                    self.map_key(k);
                    self.tree(v);
                }
                self.end_object();
            }
        }
    }
}
