//! PATCH: from the current object and a patch document to the new object.

use bytes::Bytes;
use call::{FieldValidation, PatchKind, WriteOptions};
use meta::{DecodeContext, Object, Status, TypeInfo};
use schema::patch::PatchError;
use serde_json::Value;

use crate::errors;
use crate::managed::Before;
use crate::served::Served;

/// The object that a patch other than an apply makes of the one before.
pub(crate) fn apply(
    served: &Served,
    before: Before<'_>,
    kind: PatchKind,
    body: &Bytes,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Status> {
    let name = before.object.meta().name.clone();
    let mut value: Value = serde_json::from_slice(before.json).map_err(errors::internal)?;
    change(&mut value, kind, body, served.resource().object.info())?;
    decode(served, &value, options, warnings, &name)
}

/// Changes a document by a patch other than an apply.
pub(crate) fn change(
    value: &mut Value,
    kind: PatchKind,
    body: &[u8],
    info: Option<&'static TypeInfo>,
) -> Result<(), Status> {
    let done = match kind {
        PatchKind::Json => schema::patch::json_patch(value, body),
        PatchKind::Merge => schema::patch::merge_patch(value, body),
        PatchKind::Strategic => schema::patch::strategic_merge_patch(value, body, crate::shape::of(info)),
        PatchKind::Apply => return Err(errors::internal("an apply does not patch a document")),
    };
    done.map_err(refused)
}

fn refused(error: PatchError) -> Status {
    match error {
        PatchError::Malformed(text) => errors::bad_request(text),
        PatchError::Directive(text) => errors::bare(text),
        PatchError::TooManyOperations(_) => {
            errors::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {error}"))
        }
        PatchError::Unprocessable(_) => unprocessable(),
    }
}

/// The generic 422 of a patch that does not fit the object.
fn unprocessable() -> Status {
    let mut status =
        errors::failure(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = Some(Box::new(meta::StatusDetails::default()));
    status
}

/// A patch that makes another kind of the object: a 422 that shows the whole of it.
fn other_kind(value: &Value) -> Status {
    let text = value.to_string();
    let (kind, version) =
        (value["kind"].as_str().unwrap_or_default(), value["apiVersion"].as_str().unwrap_or_default());
    let problem = meta::FieldError {
        kind: meta::FieldErrorKind::Invalid,
        field: "patch".into(),
        value: meta::BadValue::Text(text),
        detail: format!("no kind {kind:?} is registered for version {version:?} in scheme"),
    };
    errors::invalid("", "", "", vec![problem])
}

/// Reads the patched document as its kind again.
fn decode(
    served: &Served,
    value: &Value,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
    name: &str,
) -> Result<Box<dyn Object>, Status> {
    let json = serde_json::to_vec(value).map_err(errors::internal)?;
    let validation = match options.field_validation {
        FieldValidation::Ignore => meta::FieldValidation::Ignore,
        FieldValidation::Warn => meta::FieldValidation::Warn,
        FieldValidation::Strict => meta::FieldValidation::Strict,
    };
    let mut context = DecodeContext::new(validation);
    let kind = &*served.resource().kind;
    if value["kind"] != kind || value["apiVersion"] != served.api_version().as_str() {
        return Err(other_kind(value));
    }
    let object = served.resource().object.decode_json(&json, &mut context).map_err(|error| {
        let problem = meta::FieldError {
            kind: meta::FieldErrorKind::Invalid,
            field: "patch".into(),
            value: meta::BadValue::Plain(value.to_string()),
            detail: error.to_string(),
        };
        errors::invalid(&served.resource().group, kind, name, vec![problem])
    })?;
    if let Some(error) = context.strict_error() {
        return Err(errors::bad_request(error.to_string()));
    }
    for finding in context.findings {
        if !warnings.contains(&finding) {
            warnings.push(finding);
        }
    }
    Ok(object)
}
