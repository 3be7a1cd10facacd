//! Conversation with a conversion webhook: what is asked, and what of the answer is accepted.

use scheme::Unstructured;
use serde_json::{Value, json};

/// Why an answer is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReviewError(String);

/// The version of the review to speak: the first of those that the webhook takes which this server knows.
pub fn version(accepted: &[meta::Str]) -> &'static str {
    match accepted.iter().find(|v| *v == "v1" || *v == "v1beta1").map(|v| v.as_str()) {
        Some("v1beta1") => "v1beta1",
        _ => "v1",
    }
}

/// What is asked of the webhook.
pub fn request(version: &str, uid: &str, desired: &str, objects: &[&Unstructured]) -> Value {
    json!({
        "kind": "ConversionReview",
        "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {
            "uid": uid,
            "desiredAPIVersion": desired,
            "objects": objects.iter().map(|object| object.to_value()).collect::<Vec<_>>(),
        },
    })
}

/// The converted objects of an answer.
pub fn response(
    answer: &Value,
    version: &str,
    uid: &str,
    desired: &str,
    originals: &[&Unstructured],
) -> Result<Vec<Unstructured>, ReviewError> {
    let fail = |text: String| Err(ReviewError(text));
    let (kind, api_version) =
        (answer["kind"].as_str().unwrap_or_default(), answer["apiVersion"].as_str().unwrap_or_default());
    let wanted = format!("apiextensions.k8s.io/{version}");
    if kind != "ConversionReview" || api_version != wanted {
        let (group, found) = api_version.split_once('/').unwrap_or(("", api_version));
        return fail(format!(
            "expected webhook response of apiextensions.k8s.io/{version}, Kind=ConversionReview, got {group}/{found}, Kind={kind}"
        ));
    }
    let response = &answer["response"];
    if response.is_null() {
        return fail("no response provided".to_owned());
    }
    let found_uid = response["uid"].as_str().unwrap_or_default();
    if version == "v1" && found_uid != uid {
        return fail(format!("expected response.uid={uid:?}, got {found_uid:?}"));
    }
    let result = &response["result"];
    match result["status"].as_str() {
        Some("Success") => {}
        Some("") | None => return fail("response.result.status was '', expected 'Success'".to_owned()),
        Some(status) if result["message"].as_str().is_none_or(str::is_empty) => {
            return fail(format!("response.result.status was '{status}', expected 'Success'"));
        }
        Some(_) => return fail(result["message"].as_str().unwrap_or_default().to_owned()),
    }
    let converted = response["convertedObjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if converted.len() != originals.len() {
        return fail(format!("webhook returned {} objects, expected {}", converted.len(), originals.len()));
    }
    let mut objects = Vec::with_capacity(converted.len());
    for (index, (value, original)) in converted.iter().zip(originals).enumerate() {
        objects.push(one(index, value, original, desired)?);
    }
    Ok(objects)
}

/// One converted object: the same object, in the version that was asked for. Of its metadata only labels and
/// annotations may have changed.
fn one(
    index: usize,
    value: &Value,
    original: &Unstructured,
    desired: &str,
) -> Result<Unstructured, ReviewError> {
    let invalid = |text: String| ReviewError(format!("invalid converted object at index {index}: {text}"));
    let mut object = Unstructured::from_value(value).map_err(|e| invalid(e.to_string()))?;
    if object.api_version != desired {
        return Err(invalid(format!("expected apiVersion {desired}, got {}", object.api_version)));
    }
    if object.kind != original.kind {
        return Err(invalid(format!("expected kind {}, got {}", original.kind, object.kind)));
    }
    let (new, old) = (&object.metadata, &original.metadata);
    for (field, new, old) in [
        ("name", &new.name, &old.name),
        ("namespace", &new.namespace, &old.namespace),
        ("uid", &new.uid, &old.uid),
    ] {
        if new != old {
            return Err(invalid(format!("metadata.{field} must not be changed: {new} != {old}")));
        }
    }
    let metadata = meta::ObjectMeta {
        labels: object.metadata.labels.clone(),
        annotations: object.metadata.annotations.clone(),
        ..original.metadata.clone()
    };
    object.metadata = metadata;
    Ok(object)
}
