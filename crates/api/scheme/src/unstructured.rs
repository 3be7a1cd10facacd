//! [`Unstructured`]: an object of a custom resource: typed metadata, everything else as a JSON tree.

use std::any::Any;
use std::sync::Arc;

use meta::json::{JsonReader, JsonWriter};
use meta::{
    Codec as _, DecodeContext, DecodeError, GroupVersionKind, Object, ObjectMeta, Str, Struct as _, TypeInfo,
    downcast_ref,
};
use serde_json::{Map, Value};

/// An object without a struct of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unstructured {
    /// `example.com/v1`.
    pub api_version: Str,
    /// Kind.
    pub kind: Str,
    /// The object's metadata; fields that Kubernetes does not know are dropped, as upstream does.
    pub metadata: ObjectMeta,
    /// All other top-level fields: `spec`, `status`, ...
    pub fields: Map<String, Value>,
}

impl Unstructured {
    /// Decodes JSON. Duplicate fields anywhere, and unknown fields in the metadata, are recorded in the context.
    pub fn from_json(json: &[u8], context: &mut DecodeContext) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        let mut seen: Vec<Str> = Vec::new();
        let read = |r: &mut JsonReader<'_>| {
            r.read_map(|r, key| {
                let again = seen.iter().any(|s| s == key);
                seen.push(key.into());
                match key {
                    "metadata" => metadata(r, &mut out.metadata)?,
                    "apiVersion" => out.api_version = text(r)?,
                    "kind" => out.kind = text(r)?,
                    _ => drop(out.fields.insert(key.to_owned(), r.tree()?)),
                }
                Ok(again)
            })
        };
        JsonReader::with_context(json, context).whole(read)?;
        Ok(out)
    }

    /// From a JSON tree, passing over what does not fit.
    pub fn from_value(value: &Value) -> Result<Self, DecodeError> {
        let mut w = JsonWriter::default();
        w.tree(value);
        Self::from_json(&w.out, &mut DecodeContext::lenient())
    }

    /// The whole object as a tree.
    pub fn to_value(&self) -> Value {
        let mut map = self.fields.clone();
        map.insert("apiVersion".to_owned(), self.api_version.as_str().into());
        map.insert("kind".to_owned(), self.kind.as_str().into());
        map.insert("metadata".to_owned(), meta::to_value(&self.metadata));
        Value::Object(map)
    }

    /// The value at a path of field names.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.fields.get(*first)?, |v, name| v.get(name))
    }
}

/// Reads metadata. What is none is named as Go names it, which knows the struct.
fn metadata(r: &mut JsonReader<'_>, metadata: &mut ObjectMeta) -> Result<(), DecodeError> {
    let found = match r.peek()? {
        b'{' | b'n' => return metadata.read_json_value(r),
        b'"' => "string",
        b'[' => "array",
        b't' | b'f' => "bool",
        _ => "number",
    };
    r.skip_value()?;
    Err(DecodeError::text(format!("json: cannot unmarshal {found} into Go value of type v1.ObjectMeta")))
}

fn text(r: &mut JsonReader<'_>) -> Result<Str, DecodeError> {
    Ok(if r.try_null()? { Str::new() } else { Str::from(&*r.string()?) })
}

impl Object for Unstructured {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind::from_api_version(&self.api_version, &self.kind)
    }
    /// Items of a list of custom resources keep `kind` and `apiVersion`, so the prefix is the opening brace alone.
    fn encode_json(&self, out: &mut Vec<u8>) -> usize {
        let mut w = JsonWriter::new(std::mem::take(out));
        w.begin_object();
        // The metadata comes before anything that a user wrote: the store stamps the version that it finds first.
        w.req("apiVersion", &self.api_version);
        w.req("kind", &self.kind);
        w.key("metadata");
        self.metadata.write_json_value(&mut w);
        for (k, v) in &self.fields {
            w.map_key(k);
            w.tree(v);
        }
        w.end_object();
        *out = w.out;
        1
    }
    fn encode_proto(&self, _: &mut Vec<u8>) -> bool {
        false
    }
    fn clone_object(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
    fn eq_object(&self, other: &dyn Object) -> bool {
        downcast_ref::<Self>(other).is_some_and(|o| o == self)
    }
    fn type_info(&self) -> Option<&'static TypeInfo> {
        None
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
    fn into_any_arc(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl TryFrom<&dyn Object> for Unstructured {
    type Error = DecodeError;

    /// Any object without its type.
    fn try_from(object: &dyn Object) -> Result<Self, DecodeError> {
        let mut json = Vec::new();
        object.encode_json(&mut json);
        Self::from_json(&json, &mut DecodeContext::lenient())
    }
}

impl Unstructured {
    /// The object as a kind; `None` when it does not fit the struct.
    pub fn decode<K: meta::Kind>(&self) -> Result<K, DecodeError> {
        let mut json = Vec::new();
        self.encode_json(&mut json);
        K::from_json(&json)
    }
}
