//! AdmissionReview: what webhooks are asked and what they answer.

use base64::Engine as _;
use bytes::Bytes;
use meta::{Status, Str};
use serde_json::{Value as Json, json};

use super::Subject;

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
}

/// What a webhook answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub allowed: bool,
    pub status: Option<Json>,
    /// A JSON patch.
    pub patch: Option<Vec<u8>>,
    pub warnings: Vec<String>,
    pub annotations: Vec<(String, String)>,
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
pub(super) fn read(version: Version, uid: &str, mutating: bool, body: &[u8]) -> Result<Answer, String> {
    let review: Json = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let response = review.get("response").filter(|response| response.is_object());
    if version == Version::V1 {
        let (api_version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
        if api_version != version.api_version() || kind != "AdmissionReview" {
            let (group, number) = api_version.split_once('/').unwrap_or(("", &api_version));
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {group}/{number}, Kind={kind}"
            ));
        }
    }
    let response = response.ok_or("webhook response was absent")?;
    let found = text(&response["uid"]);
    if version == Version::V1 && found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let patch = match &response["patch"] {
        Json::String(patch) => base64::engine::general_purpose::STANDARD
            .decode(patch)
            .map_err(|error| format!("illegal base64 data in response.patch: {error}"))?,
        _ => Vec::new(),
    };
    let patch_type = response["patchType"].as_str();
    if version == Version::V1 {
        match (mutating, patch.is_empty(), patch_type) {
            (true, false, None) => {
                return Err("webhook returned response.patch but not response.patchType".to_owned());
            }
            (true, true, Some(_)) => {
                return Err("webhook returned response.patchType but not response.patch".to_owned());
            }
            (true, false, Some(other)) if other != "JSONPatch" => {
                return Err(format!("webhook returned invalid response.patchType of {other:?}"));
            }
            (false, false, _) => return Err("webhook response.patch is not allowed".to_owned()),
            (false, _, Some(_)) => return Err("webhook response.patchType is not allowed".to_owned()),
            _ => {}
        }
    }
    let strings = |json: &Json| -> Vec<String> {
        json.as_array().into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Answer {
        allowed: response["allowed"].as_bool().unwrap_or(false),
        status: response.get("status").filter(|status| status.is_object()).cloned(),
        patch: (mutating && !patch.is_empty()).then_some(patch),
        warnings: strings(&response["warnings"]),
        annotations: annotations.map(|(key, value)| (key.clone(), text(value))).collect(),
    })
}

/// The refusal of a webhook that said no.
pub(super) fn denied(name: &str, status: Option<&Json>) -> Status {
    let by = format!("admission webhook {name:?} denied the request");
    let text = |field: &str| status.and_then(|status| status[field].as_str()).unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let code = status.and_then(|status| status["code"].as_i64()).and_then(|code| i32::try_from(code).ok());
    let code = code.filter(|code| *code >= 400).unwrap_or(400);
    let mut refusal = Status::failure(code, text("reason"), message);
    if let Some(details) =
        status.and_then(|status| status.get("details")).filter(|details| details.is_object())
    {
        refusal.details = meta::from_value(details.clone()).ok().map(Box::new);
    }
    refusal.reason = Str::from(text("reason"));
    refusal
}
