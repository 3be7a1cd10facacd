//! From JSON to objects of a custom kind: unknown fields go, defaults come, embedded objects are objects.

use std::sync::Arc;

use meta::{DecodeContext, DecodeError, FieldPath, FieldValidation, Object, Str};
use schema::structural::Schema;
use scheme::{CustomObjects, ObjectResult, Unstructured};
use serde_json::Value;

use crate::Kind;

/// What decoding needs to know of a kind.
pub(crate) struct Codec {
    pub(crate) api_version: Str,
    pub(crate) kind: Str,
    pub(crate) schema: Arc<Schema>,
}

impl CustomObjects for Codec {
    fn new_object(&self) -> Box<dyn Object> {
        Box::new(Unstructured {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            ..Unstructured::default()
        })
    }

    fn decode_json(&self, json: &[u8], context: &mut DecodeContext) -> ObjectResult {
        let mut object = Unstructured::from_json(json, context)?;
        let noted = context.validation != FieldValidation::Ignore;
        if object.api_version != self.api_version {
            // Nobody knows a field of another version.
            let mut names: Vec<String> =
                std::mem::take(&mut object.fields).into_iter().map(|(k, _)| k).collect();
            names.sort();
            for name in names.iter().filter(|_| noted) {
                context.record(format!("unknown field {}", meta::go_quote(name)));
            }
        } else if object.kind == self.kind {
            let (mut unknown, mut of_metadata) = (Vec::new(), Vec::new());
            with_fields(&mut object, |fields| {
                self.schema.prune(fields, true, noted.then_some(&mut unknown));
                if !context.converted {
                    self.schema.prune_nulls(fields);
                }
                let mut found = noted.then_some(&mut of_metadata);
                rules::embedded::coerce_and_note(&FieldPath::root(), fields, &self.schema, false, &mut found)
            })
            .map_err(|error| DecodeError::text(error.to_string()))?;
            unknown.sort();
            for path in unknown.into_iter().chain(of_metadata) {
                context.record(format!("unknown field {}", meta::go_quote(&path)));
            }
        }
        Ok(Box::new(object))
    }
}

/// Works on the fields of an object as a value.
fn with_fields<T>(object: &mut Unstructured, act: impl FnOnce(&mut Value) -> T) -> T {
    let mut value = Value::Object(std::mem::take(&mut object.fields));
    let result = act(&mut value);
    if let Value::Object(fields) = value {
        object.fields = fields;
    }
    result
}

impl Kind {
    /// Brings an object into the form in which this version has it: unknown fields go, defaults come.
    pub fn settle(&self, object: &mut Unstructured) {
        with_fields(object, |fields| {
            self.schema.prune(fields, true, None);
            self.schema.prune_nulls(fields);
            self.schema.default(fields);
        });
    }

    /// Fills in defaults. Nulls stay: what decoded them has dropped those that mean nothing, and an apply's are checked.
    pub(crate) fn complete(&self, object: &mut Unstructured) {
        with_fields(object, |fields| {
            self.schema.prune(fields, true, None);
            self.schema.default(fields);
        });
    }

    /// The object as this version shows it, when no webhook has a say in it: only the name of the version changes.
    pub fn convert(&self, object: &Unstructured) -> Unstructured {
        let mut converted = Unstructured { api_version: self.api_version.clone(), ..object.clone() };
        self.settle(&mut converted);
        converted
    }

    /// Whether the object is in this version.
    pub fn is_version_of(&self, object: &Unstructured) -> bool {
        object.api_version == self.api_version
    }

    /// `example.com/v1`.
    pub fn api_version(&self) -> &Str {
        &self.api_version
    }
}

/// An object as one value, which rules and columns look into.
pub fn whole(object: &dyn Object) -> Value {
    match meta::downcast_ref::<Unstructured>(object) {
        Some(object) => object.to_value(),
        None => {
            let mut json = Vec::new();
            object.encode_json(&mut json);
            serde_json::from_slice(&json).unwrap_or_default()
        }
    }
}
