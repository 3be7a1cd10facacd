//! AdmissionReview: what webhooks are asked and what they answer.

use ::webhook::{self, CallError};
use bytes::Bytes;
use meta::{Codec, Status};
use serde_json::{Value as Json, json};
use types::admission::v1::{AdmissionResponse, AdmissionReview};

use super::Subject;

const KIND: &str = "AdmissionReview";
/// The one type of patches.
pub(super) const JSON_PATCH: &str = "JSONPatch";

/// A version of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1Beta1,
}

impl Version {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1Beta1),
            _ => None,
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Version::V1 => "admission.k8s.io/v1",
            Version::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }

    /// A decoder's words with the types of this version.
    fn names(self, words: String) -> String {
        match self {
            Version::V1 => words,
            Version::V1Beta1 => words
                .replace("v1.Admission", "v1beta1.Admission")
                .replace("v1.PatchType", "v1beta1.PatchType"),
        }
    }
}

/// What upstream's reader of answers knows beside the version that it expects.
fn known(api_version: &str, kind: &str) -> bool {
    const OPTIONS: [&str; 7] = [
        "WatchEvent",
        "ListOptions",
        "GetOptions",
        "DeleteOptions",
        "CreateOptions",
        "UpdateOptions",
        "PatchOptions",
    ];
    match api_version {
        "admission.k8s.io/v1" | "admission.k8s.io/v1beta1" => kind == KIND || OPTIONS.contains(&kind),
        "v1" => ["APIVersions", "APIGroupList", "APIGroup", "APIResourceList"].contains(&kind),
        _ => false,
    }
}

/// The question.
pub(super) fn request(version: Version, uid: &str, subject: &Subject) -> Bytes {
    let mut request = subject.request.clone();
    request["uid"] = uid.into();
    request["object"] = subject.object.clone();
    request["oldObject"] = subject.old.clone();
    let review =
        json!({ "kind": "AdmissionReview", "apiVersion": version.api_version(), "request": request });
    Bytes::from(review.to_string())
}

/// Reads an answer, and refuses those that say what an answer cannot say.
pub(super) fn read(
    version: Version,
    uid: &str,
    mutating: bool,
    answer: &webhook::Answer,
) -> Result<AdmissionResponse, CallError> {
    let failed = |error: CallError| CallError { why: format!("failed to call webhook: {error}"), ..error };
    let document = answer.document((version.api_version(), KIND), known).map_err(failed)?;
    let review = AdmissionReview::from_json(&document.json)
        .map_err(|error| failed(CallError::unavailable(version.names(error.to_string()))))?;
    verify(version, uid, mutating, &document, review)
        .map_err(|why| CallError::unavailable(format!("received invalid webhook response: {why}")))
}

fn verify(
    version: Version,
    uid: &str,
    mutating: bool,
    document: &webhook::Document,
    review: AdmissionReview,
) -> Result<AdmissionResponse, String> {
    let mut response = *review.response.ok_or("webhook response was absent")?;
    if version == Version::V1Beta1 {
        // The first version of the conversation knows one type of patch, and ignores them where they make no sense.
        if !mutating {
            response.patch = Default::default();
        }
        response.patch_type = (!response.patch.is_empty()).then(|| JSON_PATCH.into());
        return Ok(response);
    }
    if response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid.as_str()));
    }
    let header = &document.header;
    if (header.api_version.as_str(), header.kind.as_str()) != (version.api_version(), KIND) {
        let (group, number) = header.api_version.split_once('/').unwrap_or(("", &header.api_version));
        return Err(format!(
            "expected webhook response of {}, Kind={KIND}, got {group}/{number}, Kind={}",
            version.api_version(),
            header.kind
        ));
    }
    let why = match (mutating, response.patch.is_empty(), response.patch_type.as_deref()) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, false, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, _, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(response),
    };
    Err(why.to_owned())
}

/// The operations of an answer's patch; none where it has no patch or an empty one.
pub(super) fn operations(response: &AdmissionResponse) -> Result<Vec<Json>, CallError> {
    let undecodable = |why: String| {
        CallError::unavailable(format!("received undecodable patch in webhook response: {why}"))
    };
    if response.patch.is_empty() {
        return Ok(Vec::new());
    }
    meta::json::check_syntax(&response.patch).map_err(|error| undecodable(error.to_string()))?;
    let patch = serde_json::from_slice(&response.patch).map_err(|error| undecodable(error.to_string()))?;
    let mismatch = |found: &Json, wanted: &str| {
        undecodable(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.{wanted}",
            meta::go_kind(found)
        ))
    };
    match patch {
        Json::Null => Ok(Vec::new()),
        Json::Array(operations) => match operations.iter().find(|one| !one.is_object() && !one.is_null()) {
            Some(other) => Err(mismatch(other, "Operation")),
            None => Ok(operations),
        },
        other => Err(mismatch(&other, "Patch")),
    }
}

/// The refusal of a webhook that said no: its own status, with what makes it a refusal.
pub(super) fn denied(name: &str, status: Option<Status>) -> Status {
    let mut refusal = status.unwrap_or_default();
    let by = format!("admission webhook {name:?} denied the request");
    refusal.message = match (refusal.message.as_str(), refusal.reason.as_str()) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    }
    .into();
    refusal.code = if refusal.code < 400 { 400 } else { refusal.code };
    if matches!(refusal.status.as_str(), "" | "Success") {
        refusal.status = "Failure".into();
    }
    refusal
}
