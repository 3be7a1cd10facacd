//! PATCH: from the current object and a patch document to the new object.

pub(crate) mod converter;
mod text;

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
    let mut value: Value = serde_json::from_slice(before.json).map_err(errors::internal)?;
    let info = served.resource().object.info();
    change(&mut value, kind, body, info)?;
    let document = Patched { before: before.json, kind, body, value, info };
    decode(served, &document, options, warnings)
}

/// A patched document with where it came from.
struct Patched<'a> {
    before: &'a [u8],
    kind: PatchKind,
    body: &'a [u8],
    value: Value,
    info: Option<&'static TypeInfo>,
}

impl Patched<'_> {
    /// What refusals show: the patch as Go prints it, or the patched document.
    fn shown(&self) -> String {
        match self.kind {
            PatchKind::Strategic => meta::go_plain(&serde_json::from_slice(self.body).unwrap_or_default()),
            // Custom objects are read as maps, whose keys upstream writes in order.
            kind if self.info.is_none() => {
                let before: Value = serde_json::from_slice(self.before).unwrap_or_default();
                text::patched(&self.value, before.to_string().as_bytes(), kind, self.body)
            }
            kind => text::patched(&self.value, self.before, kind, self.body),
        }
    }

    /// What a decoder said, as whoever reads this kind of patch says it.
    fn in_words(&self, why: String) -> String {
        match self.kind {
            PatchKind::Strategic => converter::words(why, &self.value, self.info),
            _ => why,
        }
    }

    fn refused(&self, detail: String) -> Status {
        let problem = meta::FieldError {
            kind: meta::FieldErrorKind::Invalid,
            field: "patch".into(),
            value: meta::BadValue::Text(self.shown()),
            detail,
        };
        errors::invalid("", "", "", vec![problem])
    }
}

/// The refusal of a patched document that is no object of its kind.
pub(crate) fn unreadable(
    value: Value,
    before: &[u8],
    kind: PatchKind,
    body: &[u8],
    info: Option<&'static TypeInfo>,
    why: String,
) -> Status {
    let document = Patched { before, kind, body, value, info };
    document.refused(document.in_words(why))
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
        PatchError::Unprocessable(_) | PatchError::TestFailed(_) => unprocessable(),
    }
}

/// The generic 422 of a patch that does not fit the object.
fn unprocessable() -> Status {
    let mut status =
        errors::failure(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = Some(Box::new(meta::StatusDetails::default()));
    status
}

/// Reads the patched document as its kind again.
fn decode(
    served: &Served,
    document: &Patched<'_>,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Status> {
    let json = serde_json::to_vec(&document.value).map_err(errors::internal)?;
    let validation = match options.validation() {
        FieldValidation::Ignore => meta::FieldValidation::Ignore,
        FieldValidation::Warn => meta::FieldValidation::Warn,
        FieldValidation::Strict => meta::FieldValidation::Strict,
    };
    let mut context = DecodeContext::new(validation);
    context.converted = document.kind == PatchKind::Strategic;
    if validation != meta::FieldValidation::Ignore {
        context.findings = schema::patch::findings(document.body, document.kind == PatchKind::Json);
    }
    let text = |key: &str| document.value[key].as_str().unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    // A strategic patch goes into the type that is there: what it leaves need not say which.
    let unnamed = kind.is_empty() && version.is_empty() && document.kind == PatchKind::Strategic;
    // A custom object is still one if its kind is another; validation says what it must be.
    let readable = served.custom().is_some() && !kind.is_empty() && !version.is_empty();
    let same = kind == &*served.resource().kind && version == served.api_version();
    if !(same || unnamed || readable) {
        return Err(document.refused(other_kind(served, version, kind, &json)));
    }
    let object = served
        .resource()
        .object
        .decode_json(&json, &mut context)
        .map_err(|error| document.refused(document.in_words(error.to_string())))?;
    if let Some(error) = context.strict_error() {
        return Err(document.refused(error.to_string()));
    }
    if let Some(why) = served.rules().unreadable(&*object) {
        return Err(document.refused(why));
    }
    for finding in context.findings {
        if !warnings.contains(&finding) {
            warnings.push(finding);
        }
    }
    Ok(object)
}

/// Why a patched document that says that it is of another kind is none of this one.
fn other_kind(served: &Served, api_version: &str, kind: &str, json: &[u8]) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(found) = scheme::kind(group, version, kind) else {
        return format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        );
    };
    // It is read as what it says before it turns out to be something else.
    if let Err(error) = (found.decode_json)(json, &mut DecodeContext::lenient()) {
        return error.to_string();
    }
    let resource = served.resource();
    let package = match resource.group.split('.').next() {
        None | Some("" | "events") => "core",
        Some(first) => first,
    };
    format!("converting ({}) to ({package}.{}): unknown conversion", found.info.go, resource.kind)
}
