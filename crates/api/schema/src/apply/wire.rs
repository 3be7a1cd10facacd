//! Field sets as `FieldsV1` JSON: `{"f:spec":{"f:ports":{"k:{\"port\":80}":{".":{},"f:port":{}}}}}`.

use meta::json::JsonWriter;

use super::doc::{Doc, Form, Val};
use super::path::{PathElement, Scalar};
use super::set::Set;

/// The text was no field set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadFields(pub(super) String);

fn bad<T>(why: impl Into<String>) -> Result<T, BadFields> {
    Err(BadFields(why.into()))
}

impl Set {
    /// Reads `FieldsV1`. Path elements of unknown types are dropped, as a future version may know them.
    ///
    /// # Errors
    /// [`BadFields`] when the text is not JSON of the form, or nests too deep.
    pub fn from_fields(text: &[u8]) -> Result<Set, BadFields> {
        let doc = Doc::parse(text).map_err(|e| BadFields(e.to_string()))?;
        if doc.is_deep() {
            return bad("exceeded max depth");
        }
        read(&doc.root()).map(|(set, _)| set)
    }

    /// Writes `FieldsV1`.
    pub fn to_fields(&self) -> Vec<u8> {
        let mut w = JsonWriter::new(Vec::with_capacity(256));
        let mut name = JsonWriter::default();
        write(self, false, &mut w, &mut name);
        w.out
    }
}

/// The set below a node, and whether the node itself is a member.
fn read(value: &Val<'_>) -> Result<(Set, bool), BadFields> {
    if !matches!(value.form(), Form::Map | Form::Null) {
        return bad("expected an object");
    }
    let mut set = Set::default();
    let mut member = false;
    for (key, below) in value.members() {
        let text = key.string();
        if text == "." {
            member = true;
            continue;
        }
        let Some(element) = element(&text)? else { continue };
        let (children, is_member) = read(&below)?;
        set.push(element, is_member, children);
    }
    set.sort();
    member |= set.is_empty();
    Ok((set, member))
}

fn element(text: &str) -> Result<Option<PathElement>, BadFields> {
    let Some((kind, rest)) = text.split_once(':').filter(|(kind, _)| kind.len() == 1) else {
        return if text.len() < 2 {
            bad("key must be 2 characters long:")
        } else {
            bad(format!("missing colon: {text}"))
        };
    };
    let json = || Doc::parse(rest.as_bytes()).map_err(|e| BadFields(e.to_string()));
    Ok(Some(match kind {
        "f" => PathElement::Field(rest.into()),
        "v" => PathElement::Value(json()?.root().scalar()),
        "i" => PathElement::Index(rest.parse().map_err(|_| BadFields(format!("invalid index {rest:?}")))?),
        "k" => {
            let doc = json()?;
            if doc.root().form() != Form::Map {
                return bad("expected an object as key");
            }
            let fields = doc.root();
            let mut keys: Vec<_> = fields
                .members()
                .map(|(name, value)| (meta::Str::from(name.string().as_ref()), value.scalar()))
                .collect();
            keys.sort();
            PathElement::Key(keys)
        }
        _ => return Ok(None),
    }))
}

fn write(set: &Set, member: bool, w: &mut JsonWriter, name: &mut JsonWriter) {
    w.begin_object();
    if member && !set.is_empty() {
        w.out.extend_from_slice(b"\".\":{}");
    }
    for node in &set.nodes {
        w.comma();
        name.out.clear();
        write_element(&node.element, name);
        w.string(&String::from_utf8_lossy(&name.out));
        w.out.push(b':');
        if node.children.is_empty() {
            w.out.extend_from_slice(b"{}");
        } else {
            write(&node.children, node.member, w, name);
        }
    }
    w.end_object();
}

fn write_element(element: &PathElement, w: &mut JsonWriter) {
    match element {
        PathElement::Field(name) => {
            w.out.extend_from_slice(b"f:");
            w.out.extend_from_slice(name.as_bytes());
        }
        PathElement::Key(keys) => {
            w.out.extend_from_slice(b"k:");
            w.begin_object();
            for (name, value) in keys {
                w.map_key(name);
                write_scalar(value, w);
            }
            w.end_object();
        }
        PathElement::Value(value) => {
            w.out.extend_from_slice(b"v:");
            write_scalar(value, w);
        }
        PathElement::Index(at) => {
            w.out.extend_from_slice(b"i:");
            w.integer(*at);
        }
    }
}

fn write_scalar(value: &Scalar, w: &mut JsonWriter) {
    match value {
        Scalar::Float(n) => w.float(*n),
        Scalar::Int(n) => w.integer(*n),
        Scalar::Text(s) => w.string(s),
        Scalar::Bool(true) => w.out.extend_from_slice(b"true"),
        Scalar::Bool(false) => w.out.extend_from_slice(b"false"),
        Scalar::Json(text) => w.out.extend_from_slice(text.as_bytes()),
        Scalar::Null => w.out.extend_from_slice(b"null"),
    }
}
