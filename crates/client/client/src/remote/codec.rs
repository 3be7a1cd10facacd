//! Objects, lists and refusals as they travel over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use call::{DeleteOptions, DryRun, Reply};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use meta::{Codec, DecodeContext, DecodeError, Envelope, Object, Status, Str, read_type_meta};
use scheme::ObjectType;
use serde::Deserialize;
use serde_json::value::RawValue;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON: &str = "application/json";
/// What answers may be: protobuf where there is one, JSON otherwise. The same for watches.
pub(super) const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";

/// Whether the body is protobuf.
pub(super) fn is_protobuf(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(PROTOBUF.as_bytes()))
}

/// An object as a request body, with its content type.
pub(super) fn encode(object: &dyn Object) -> (&'static str, Bytes) {
    let mut message = Vec::new();
    if object.encode_proto(&mut message) {
        let gvk = object.group_version_kind();
        let mut body = Vec::with_capacity(message.len() + 64);
        Envelope::encode(&gvk.api_version(), &gvk.kind, &message, &mut body);
        return (PROTOBUF, body.into());
    }
    let mut body = Vec::new();
    object.encode_json(&mut body);
    (JSON, body.into())
}

/// Delete options as a request body.
pub(super) fn delete_options(options: &DeleteOptions) -> (&'static str, Bytes) {
    let mut body = serde_json::json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = seconds.into();
    }
    if !options.propagation_policy.is_empty() {
        body["propagationPolicy"] = options.propagation_policy.as_str().into();
    }
    if let Some(orphan) = options.orphan_dependents {
        body["orphanDependents"] = orphan.into();
    }
    if options.dry_run == DryRun::All {
        body["dryRun"] = serde_json::json!(["All"]);
    }
    if options.ignore_store_read_error {
        body["ignoreStoreReadErrorWithClusterBreakingPotential"] = true.into();
    }
    let required = &options.precondition;
    if let Some(uid) = &required.uid {
        body["preconditions"]["uid"] = uid.as_str().into();
    }
    if let Some(version) = &required.resource_version {
        body["preconditions"]["resourceVersion"] = version.as_str().into();
    }
    (JSON, body.to_string().into())
}

fn malformed(error: DecodeError) -> Status {
    Status::internal_error(format!("decode the server's answer: {error}"))
}

/// One object.
pub(super) fn decode(protobuf: bool, body: &[u8]) -> Result<Arc<dyn Object>, Status> {
    let object = if protobuf {
        scheme::decode_proto(body)
    } else {
        scheme::decode_json(body, &mut DecodeContext::lenient())
    };
    object.map(Arc::from).map_err(malformed)
}

fn kind_of(protobuf: bool, body: &[u8]) -> Result<(Str, Str), Status> {
    if protobuf {
        let envelope = Envelope::decode(body).map_err(malformed)?;
        return Ok((envelope.api_version, envelope.kind));
    }
    let header = read_type_meta(body).map_err(malformed)?;
    Ok((Str::from(header.api_version.as_str()), Str::from(header.kind.as_str())))
}

/// The answer to everything but lists and watches: an object, or a Status for what has none.
pub(super) fn object(protobuf: bool, body: &[u8]) -> Result<Reply, Status> {
    let (_, kind) = kind_of(protobuf, body)?;
    // A deletecollection answers with the list of what it deleted, which nobody here reads.
    match kind.as_str() {
        "Status" => Ok(Reply::Done(status(protobuf, body))),
        kind if kind.ends_with("List") && kind != "List" => Ok(Reply::Done(Status::success())),
        _ => decode(protobuf, body).map(Reply::Object),
    }
}

/// A Status object, or the closest to it that the bytes allow.
pub(super) fn status(protobuf: bool, body: &[u8]) -> Status {
    let decoded = if protobuf {
        Envelope::decode(body).and_then(|envelope| Status::from_proto(envelope.raw))
    } else {
        Status::from_json(body)
    };
    decoded.unwrap_or_else(malformed)
}

/// The refusal that a response with an error code tells of.
pub(super) fn refusal(code: StatusCode, headers: &HeaderMap, protobuf: bool, body: &[u8]) -> Status {
    let is_status = kind_of(protobuf, body).is_ok_and(|(_, kind)| kind == "Status");
    if is_status {
        return status(protobuf, body);
    }
    let text = String::from_utf8_lossy(body).trim().to_owned();
    let message = if text.is_empty() { format!("the server answered {code}") } else { text };
    let reason = match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        500..=599 => "InternalError",
        _ => "Unknown",
    };
    let mut status = Status::failure(i32::from(code.as_u16()), reason, message);
    if let Some(seconds) = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()) {
        status.details_mut().retry_after_seconds = seconds;
    }
    status
}

/// A collection.
pub(super) fn list(protobuf: bool, body: &[u8]) -> Result<Reply, Status> {
    if protobuf { proto_list(body) } else { json_list(body) }
}

/// How to make the members of a list, `None` when they are custom resources.
fn member_type(api_version: &str, list_kind: &str) -> Option<&'static ObjectType> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    scheme::kind(group, version, list_kind.strip_suffix("List")?)
}

fn json_list(body: &[u8]) -> Result<Reply, Status> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        #[serde(default)]
        api_version: String,
        #[serde(default)]
        kind: String,
        #[serde(default)]
        metadata: ListMeta,
        #[serde(borrow, default)]
        items: Option<Vec<&'a RawValue>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct ListMeta {
        resource_version: String,
        #[serde(rename = "continue")]
        continue_token: String,
        remaining_item_count: Option<i64>,
    }
    let list: List<'_> = serde_json::from_slice(body)
        .map_err(|error| Status::internal_error(format!("decode the server's answer: {error}")))?;
    let member = member_type(&list.api_version, &list.kind);
    let decode = |item: &&RawValue| {
        let (json, mut context) = (item.get().as_bytes(), DecodeContext::lenient());
        let object = match member {
            Some(member) => (member.decode_json)(json, &mut context),
            None => scheme::decode_json(json, &mut context),
        };
        object.map(Arc::from).map_err(malformed)
    };
    Ok(Reply::List {
        items: list.items.unwrap_or_default().iter().map(decode).collect::<Result<_, _>>()?,
        resource_version: list.metadata.resource_version.parse().unwrap_or(0),
        continue_token: list.metadata.continue_token.as_str().into(),
        remaining: list.metadata.remaining_item_count,
    })
}

fn proto_list(body: &[u8]) -> Result<Reply, Status> {
    let broken = || Status::internal_error("decode the server's answer: malformed protobuf");
    let envelope = Envelope::decode(body).map_err(malformed)?;
    let member = member_type(&envelope.api_version, &envelope.kind).ok_or_else(broken)?;
    let (mut items, mut version, mut continue_token, mut remaining) = (Vec::new(), 0, Str::new(), None);
    for (field, value) in fields(&Bytes::copy_from_slice(envelope.raw)).ok_or_else(broken)? {
        match field {
            1 => {
                for (field, value) in fields(&value).ok_or_else(broken)? {
                    let text = || String::from_utf8_lossy(&value);
                    match field {
                        2 => version = text().parse().unwrap_or(0),
                        3 => continue_token = Str::from(&*text()),
                        4 => remaining = value.as_ref().try_into().ok().map(i64::from_le_bytes),
                        _ => {}
                    }
                }
            }
            2 => items.push(Arc::from((member.decode_proto)(&value).map_err(malformed)?)),
            _ => {}
        }
    }
    Ok(Reply::List { items, resource_version: version, continue_token, remaining })
}

/// The fields of a protobuf message in order: bytes of those that have a length, eight little-endian bytes of numbers.
pub(super) fn fields(message: &Bytes) -> Option<Vec<(u32, Bytes)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < message.len() {
        let tag = varint(message, &mut at)?;
        let number = u32::try_from(tag >> 3).ok()?;
        let value = match tag & 7 {
            0 => Bytes::copy_from_slice(&varint(message, &mut at)?.to_le_bytes()),
            1 => take(message, &mut at, 8)?,
            2 => {
                let length = usize::try_from(varint(message, &mut at)?).ok()?;
                take(message, &mut at, length)?
            }
            5 => take(message, &mut at, 4)?,
            _ => return None,
        };
        found.push((number, value));
    }
    Some(found)
}

fn take(message: &Bytes, at: &mut usize, length: usize) -> Option<Bytes> {
    let end = at.checked_add(length).filter(|end| *end <= message.len())?;
    let value = message.slice(*at..end);
    *at = end;
    Some(value)
}

fn varint(message: &Bytes, at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *message.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use types::core::v1::ConfigMap;

    use super::*;

    fn map() -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = "a".into();
        map
    }

    #[test]
    fn objects_travel_as_protobuf() {
        let (content_type, body) = encode(&map());
        assert_eq!(content_type, PROTOBUF);
        let Ok(Reply::Object(object)) = object(true, &body) else { panic!("an object") };
        assert_eq!(*meta::downcast::<ConfigMap>(object).unwrap(), map());
    }

    #[test]
    fn lists_are_read_in_both_encodings() {
        let json = br#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"x"},"items":[{"metadata":{"name":"a"}}]}"#;
        let mut message = vec![0x0a, 6, 0x12, 1, b'7', 0x1a, 1, b'x'];
        let item = map().to_proto();
        message.extend([0x12, item.len() as u8]);
        message.extend(&item);
        let mut proto = Vec::new();
        Envelope::encode("v1", "ConfigMapList", &message, &mut proto);
        for reply in [list(false, json), list(true, &proto)] {
            let Ok(Reply::List { items, resource_version, continue_token, .. }) = reply else {
                panic!("a list")
            };
            assert_eq!((items.len(), resource_version, continue_token.as_str()), (1, 7, "x"));
            assert_eq!(items[0].meta().name, "a");
        }
    }

    #[test]
    fn refusals_are_read_whatever_the_body() {
        let code = StatusCode::SERVICE_UNAVAILABLE;
        let status = refusal(code, &HeaderMap::new(), false, b"service unavailable\n");
        assert_eq!((status.code, status.message.as_str()), (503, "service unavailable"));
        let json =
            br#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
        assert_eq!(refusal(StatusCode::NOT_FOUND, &HeaderMap::new(), false, json).reason, "NotFound");
    }

    #[test]
    fn broken_protobuf_is_an_error() {
        for bytes in [&[0x0a, 5, 1][..], &[0xff; 12], &[0x0b]] {
            assert!(fields(&Bytes::copy_from_slice(bytes)).is_none());
        }
    }
}
