//! PATCH: from the current object and a patch document to the new object.

use bytes::Bytes;
use call::{FieldValidation, PatchKind, WriteOptions};
use meta::{DecodeContext, Object, Status, TypeInfo};
use schema::apply::{Doc, Val};
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
    change(&mut value, kind, body, served.resource().object.info())?;
    let document = Patched { before: before.json, kind, body, value };
    decode(served, &document, options, warnings)
}

/// A patched document with where it came from.
struct Patched<'a> {
    before: &'a [u8],
    kind: PatchKind,
    body: &'a [u8],
    value: Value,
}

impl Patched<'_> {
    /// What refusals show: the patch as Go prints it, or the patched document.
    fn shown(&self) -> String {
        match self.kind {
            PatchKind::Strategic => meta::go_plain(&serde_json::from_slice(self.body).unwrap_or_default()),
            _ => patched_text(&self.value, self.before),
        }
    }

    /// What a decoder said, as whoever reads this kind of patch says it.
    fn in_words(&self, why: String) -> String {
        match self.kind {
            PatchKind::Strategic => converter_text(&why).unwrap_or(why),
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
pub(crate) fn unreadable(value: Value, before: &[u8], kind: PatchKind, body: &[u8], why: String) -> Status {
    let document = Patched { before, kind, body, value };
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

/// The patched document as upstream's library leaves it: objects that the patch went into have sorted keys, everything
/// else is as it was.
fn patched_text(value: &Value, before: &[u8]) -> String {
    let Ok(doc) = Doc::parse(before) else { return value.to_string() };
    let mut out = String::new();
    write_patched(value, Some(doc.root()), &mut out);
    out
}

fn write_patched(value: &Value, before: Option<Val<'_>>, out: &mut String) {
    let text = value.to_string();
    if let (Some(before), Ok(now)) = (before, Doc::parse(text.as_bytes()))
        && before.same(&now.root())
    {
        out.push_str(&String::from_utf8_lossy(before.raw()));
        return;
    }
    let Value::Object(map) = value else {
        out.push_str(&text);
        return;
    };
    out.push('{');
    for (at, (key, item)) in map.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(key.as_str()).to_string());
        out.push(':');
        write_patched(item, before.and_then(|before| before.get(key)), out);
    }
    out.push('}');
}

/// What upstream's converter of decoded documents says where the decoder of texts says that a value cannot be
/// unmarshalled; strategic patches go through the former.
fn converter_text(decoder: &str) -> Option<String> {
    let rest = decoder.strip_prefix("json: cannot unmarshal ")?;
    let (found, rest) = rest.split_once(" into Go ")?;
    let wanted = rest.rsplit_once("of type ")?.1;
    let found = match found.split(' ').next().unwrap_or_default() {
        "number" if found.contains('.') => "float64",
        "number" => "int64",
        "object" => "map",
        "array" => "slice",
        other => other,
    };
    Some(if wanted.starts_with("[]") {
        format!("cannot restore slice from {found}")
    } else if wanted.starts_with("map[") {
        format!("cannot restore map from {found}")
    } else if wanted.contains('.') && found == "string" {
        format!("cannot restore struct from: {found}")
    } else if matches!(found, "int64" | "float64") {
        format!("cannot convert {found} to {wanted}")
    } else {
        format!("unrecognized type: {}", wanted.rsplit('.').next().unwrap_or(wanted))
    })
}
