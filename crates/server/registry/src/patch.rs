//! PATCH: from the current object and a patch document to the new object.

use bytes::Bytes;
use call::{FieldValidation, PatchKind, Target, WriteOptions};
use meta::{DecodeContext, Object, Status};
use schema::patch::PatchError;
use serde_json::Value;

use crate::errors;
use crate::served::Served;
use crate::stored::Stored;

/// The object that the patch makes of `current`.
pub(crate) fn apply(
    served: &Served,
    current: &Stored,
    kind: PatchKind,
    body: &Bytes,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Status> {
    let json = current.json();
    let before: Value = serde_json::from_slice(&json).map_err(errors::internal)?;
    let name = current.object().meta().name.clone();
    let mut after = before;
    let done = match kind {
        PatchKind::Json => schema::patch::json_patch(&mut after, body),
        PatchKind::Merge => schema::patch::merge_patch(&mut after, body),
        PatchKind::Strategic => schema::patch::strategic_merge_patch(
            &mut after,
            body,
            crate::shape::of(served.resource().object.info()),
        ),
        PatchKind::Apply => return Err(errors::failure(415, "UnsupportedMediaType", unsupported())),
    };
    done.map_err(|error| refused(served, &name, error))?;
    decode(served, &after, options, warnings, &name)
}

fn unsupported() -> String {
    let accepted =
        [PatchKind::Json, PatchKind::Merge, PatchKind::Strategic].map(PatchKind::content_type).join(", ");
    format!("the body of the request was in an unknown format - accepted media types include: {accepted}")
}

/// The object that an apply patch makes where nothing is yet.
pub(crate) fn create(
    served: &Served,
    target: &Target,
    _body: &Bytes,
    _options: &WriteOptions,
    _warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Status> {
    let _ = (served, target);
    Err(errors::failure(415, "UnsupportedMediaType", unsupported()))
}

fn refused(served: &Served, name: &str, error: PatchError) -> Status {
    match error {
        PatchError::Malformed(text) => errors::bad_request(text),
        PatchError::Directive(text) => errors::bare(text),
        PatchError::TooManyOperations(_) => {
            errors::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {error}"))
        }
        PatchError::Unprocessable(text) => {
            let _ = text;
            unprocessable(served, name)
        }
    }
}

/// The generic 422 of a patch that does not fit the object.
fn unprocessable(served: &Served, name: &str) -> Status {
    let mut status =
        errors::failure(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = Some(Box::new(meta::StatusDetails::default()));
    let _ = (served, name);
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
