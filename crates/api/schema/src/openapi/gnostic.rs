//! The Swagger document in protobuf, as `application/com.github.proto-openapi.spec.v2.v1.0+protobuf` has it: messages of
//! gnostic's `openapi.v2`. kubectl up to 1.35 and other clients built on client-go ask for this form.
//!
//! A message is a JSON object whose members have numbers; [`Shape`] says how each is written. Members that a message
//! does not know go into its list of vendor extensions as YAML, of which JSON is a part.

use serde_json::{Map, Value};

/// How a member's value is written.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Flag,
    Integer,
    Double,
    /// Any value, as YAML text in field 2.
    Any,
    /// Strings in an inner message (`StringArray`, `TypeItem`), one or many.
    Strings,
    /// A message.
    Message(&'static Message),
    /// A message in field 1 of a wrapper.
    Wrapped(&'static Message),
    /// An object's members as repeated `{name = 1, value = 2}` in the given field of an inner message.
    Named(u32, &'static Shape),
    /// A parameter, or a reference to one.
    Parameter,
    /// A parameter that is no reference.
    Declared,
    /// The security definition of an API key.
    ApiKey,
}

/// A message: its members' names, numbers and shapes, and the number of its vendor extensions (0 for none).
struct Message {
    fields: &'static [(&'static str, u32, Shape)],
    vendor: u32,
}

use Shape::{Any, Double, Flag, Integer, Named, Strings, Text, Wrapped};

static SCHEMA_SHAPE: Shape = Shape::Message(&SCHEMA);
static STRINGS: Shape = Strings;
static PATH_SHAPE: Shape = Shape::Message(&PATH);
static RESPONSE_SHAPE: Shape = Wrapped(&RESPONSE);
static DECLARED: Shape = Shape::Declared;
static API_KEY: Shape = Shape::ApiKey;

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Double),
        ("maximum", 7, Double),
        ("exclusiveMaximum", 8, Flag),
        ("minimum", 9, Double),
        ("exclusiveMinimum", 10, Flag),
        ("maxLength", 11, Integer),
        ("minLength", 12, Integer),
        ("pattern", 13, Text),
        ("maxItems", 14, Integer),
        ("minItems", 15, Integer),
        ("uniqueItems", 16, Flag),
        ("maxProperties", 17, Integer),
        ("minProperties", 18, Integer),
        ("required", 19, Text),
        ("enum", 20, Any),
        ("additionalProperties", 21, Wrapped(&SCHEMA)),
        ("type", 22, Strings),
        ("items", 23, Wrapped(&SCHEMA)),
        ("allOf", 24, Shape::Message(&SCHEMA)),
        ("properties", 25, Named(1, &SCHEMA_SHAPE)),
        ("example", 30, Any),
    ],
    vendor: 31,
};

static INFO: Message = Message { fields: &[("title", 1, Text), ("version", 2, Text)], vendor: 7 };

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, Shape::Message(&INFO)),
        ("paths", 8, Named(2, &PATH_SHAPE)),
        ("definitions", 9, Named(1, &SCHEMA_SHAPE)),
        ("parameters", 10, Named(1, &DECLARED)),
        ("security", 12, Named(1, &STRINGS)),
        ("securityDefinitions", 13, Named(1, &API_KEY)),
    ],
    vendor: 16,
};

static PATH: Message = Message {
    fields: &[
        ("get", 2, Shape::Message(&OPERATION)),
        ("put", 3, Shape::Message(&OPERATION)),
        ("post", 4, Shape::Message(&OPERATION)),
        ("delete", 5, Shape::Message(&OPERATION)),
        ("options", 6, Shape::Message(&OPERATION)),
        ("head", 7, Shape::Message(&OPERATION)),
        ("patch", 8, Shape::Message(&OPERATION)),
        ("parameters", 9, Shape::Parameter),
    ],
    vendor: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Text),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Text),
        ("consumes", 7, Text),
        ("parameters", 8, Shape::Parameter),
        ("responses", 9, Named(1, &RESPONSE_SHAPE)),
        ("schemes", 10, Text),
        ("deprecated", 11, Flag),
    ],
    vendor: 13,
};

static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("schema", 2, Wrapped(&SCHEMA))], vendor: 5 };

static BODY: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, Shape::Message(&SCHEMA)),
    ],
    vendor: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("format", 7, Text),
        ("uniqueItems", 20, Flag),
    ],
    vendor: 23,
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("uniqueItems", 19, Flag),
    ],
    vendor: 22,
};

static KEY: Message = Message {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    vendor: 5,
};

static REFERENCE: Message = Message { fields: &[("$ref", 1, Text), ("description", 2, Text)], vendor: 0 };

/// A Swagger document as protobuf.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 << 20);
    message(&DOCUMENT, document, &mut out);
    out
}

fn message(shape: &Message, value: &Value, out: &mut Vec<u8>) {
    let Some(members) = value.as_object() else { return };
    for (name, number, shape) in shape.fields {
        let Some(member) = members.get(*name) else { continue };
        match member {
            // The members of `enum`, `required`, `tags` and the like are repeated fields.
            Value::Array(items) if !matches!(shape, Any | Strings) || *name == "enum" => {
                items.iter().for_each(|item| field(*number, *shape, item, out));
            }
            _ => field(*number, *shape, member, out),
        }
    }
    if shape.vendor == 0 {
        return;
    }
    for (name, member) in members.iter().filter(|(name, _)| name.starts_with("x-")) {
        length_delimited(shape.vendor, &named(name, Any, member), out);
    }
}

fn field(number: u32, shape: Shape, value: &Value, out: &mut Vec<u8>) {
    match shape {
        Text => {
            if let Some(text) = value.as_str() {
                length_delimited(number, text.as_bytes(), out);
            }
        }
        Flag => {
            if value.as_bool() == Some(true) {
                varint(u64::from(number << 3), out);
                out.push(1);
            }
        }
        Integer => {
            if let Some(integer) = value.as_i64() {
                varint(u64::from(number << 3), out);
                varint(integer.cast_unsigned(), out);
            }
        }
        Double => {
            if let Some(double) = value.as_f64() {
                varint(u64::from(number << 3 | 1), out);
                out.extend_from_slice(&double.to_le_bytes());
            }
        }
        _ => length_delimited(number, &inner(shape, value), out),
    }
}

/// The bytes of a value that is a message.
fn inner(shape: Shape, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match shape {
        Any => {
            let text = match value {
                Value::String(text) => serde_json::to_string(text).unwrap_or_default(),
                other => other.to_string(),
            };
            length_delimited(2, format!("{text}\n").as_bytes(), &mut out);
        }
        Strings => {
            let one = std::slice::from_ref(value);
            let items = value.as_array().map_or(one, Vec::as_slice);
            items.iter().for_each(|item| field(1, Text, item, &mut out));
        }
        Shape::Message(shape) => message(shape, value, &mut out),
        Wrapped(shape) => match value {
            Value::Bool(flag) => {
                varint(2 << 3, &mut out);
                out.push(u8::from(*flag));
            }
            _ => {
                let mut raw = Vec::new();
                message(shape, value, &mut raw);
                length_delimited(1, &raw, &mut out);
            }
        },
        Named(number, shape) => {
            for (name, member) in value.as_object().unwrap_or(&Map::new()) {
                length_delimited(number, &named(name, *shape, member), &mut out);
            }
        }
        Shape::Parameter if value.get("$ref").is_some() => {
            let mut raw = Vec::new();
            message(&REFERENCE, value, &mut raw);
            length_delimited(2, &raw, &mut out);
        }
        Shape::Parameter => length_delimited(1, &declared(value), &mut out),
        Shape::Declared => out = declared(value),
        Shape::ApiKey => {
            let mut raw = Vec::new();
            message(&KEY, value, &mut raw);
            length_delimited(2, &raw, &mut out);
        }
        Text | Flag | Integer | Double => {}
    }
    out
}

/// A `Parameter`: a body in field 1, or in field 2 one of the others, each with a number of its own.
fn declared(value: &Value) -> Vec<u8> {
    let (shape, other) = match value["in"].as_str() {
        Some("body") => (&BODY, None),
        Some("path") => (&PATH_PARAMETER, Some(4)),
        _ => (&QUERY, Some(3)),
    };
    let (mut raw, mut out) = (Vec::new(), Vec::new());
    message(shape, value, &mut raw);
    match other {
        None => length_delimited(1, &raw, &mut out),
        Some(number) => {
            let mut choice = Vec::new();
            length_delimited(number, &raw, &mut choice);
            length_delimited(2, &choice, &mut out);
        }
    }
    out
}

/// An entry of a map.
fn named(name: &str, shape: Shape, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    length_delimited(1, name.as_bytes(), &mut out);
    length_delimited(2, &inner(shape, value), &mut out);
    out
}

fn length_delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 2), out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_get_their_numbers() {
        let schema = json!({ "type": "object", "required": ["x", "y"], "x-k": [1] });
        let document = json!({ "swagger": "2.0", "definitions": { "a": schema } });
        let mut want: Vec<u8> = Vec::new();
        want.extend(b"\x9a\x01\x01x\x9a\x01\x01y"); // required = 19
        want.extend(b"\xb2\x01\x08\x0a\x06object"); // type = 22
        want.extend(b"\xfa\x01\x0d\x0a\x03x-k\x12\x06\x12\x04[1]\n"); // vendor extension = 31
        let mut entry = b"\x0a\x01a\x12".to_vec();
        entry.push(want.len() as u8);
        entry.extend(want);
        let bytes = encode(&document);
        assert!(bytes.starts_with(b"\x0a\x032.0"));
        assert!(bytes.ends_with(&entry), "{bytes:?}");
    }
}
