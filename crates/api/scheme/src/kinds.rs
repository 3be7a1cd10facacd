//! Every kind with object metadata, whether it is a resource or only the body of a subresource (`Scale`, `Eviction`).

use std::collections::HashMap;
use std::sync::LazyLock;

use meta::{DecodeContext, DecodeError, Envelope, read_type_meta};

use crate::resource::{ObjectResult, ObjectType};
use crate::{KINDS, Unstructured};

static BY_KIND: LazyLock<HashMap<(&'static str, &'static str, &'static str), &'static ObjectType>> =
    LazyLock::new(|| KINDS.iter().map(|k| ((k.info.group, k.info.version, k.info.name), k)).collect());

/// How to make objects of a built-in kind.
pub fn kind(group: &str, version: &str, kind: &str) -> Option<&'static ObjectType> {
    BY_KIND.get(&(group, version, kind)).copied()
}

/// Decodes a JSON document by what it says it is; kinds that are not built in become [`Unstructured`].
pub fn decode_json(json: &[u8], context: &mut DecodeContext) -> ObjectResult {
    let header = read_type_meta(json)?;
    if header.kind.is_empty() {
        return Err(DecodeError::text(format!(
            "Object 'Kind' is missing in '{}'",
            String::from_utf8_lossy(json)
        )));
    }
    let (group, version) = header.api_version.split_once('/').unwrap_or(("", &header.api_version));
    match kind(group, version, &header.kind) {
        Some(k) => (k.decode_json)(json, context),
        None => Ok(Box::new(Unstructured::from_json(json, context)?)),
    }
}

/// Decodes a protobuf document in its envelope. Kinds that are not built in have no protobuf form.
pub fn decode_proto(bytes: &[u8]) -> ObjectResult {
    let envelope = Envelope::decode(bytes)?;
    let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
    match kind(group, version, &envelope.kind) {
        Some(k) => (k.decode_proto)(envelope.raw),
        None => Err(DecodeError::text(format!(
            "no kind {} is registered for version {}",
            meta::go_quote(&envelope.kind),
            meta::go_quote(&envelope.api_version)
        ))),
    }
}
