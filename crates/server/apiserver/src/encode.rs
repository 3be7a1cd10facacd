//! Representations: JSON that is there already as YAML or indented; Tables and bare metadata; lists as protobuf.

use std::collections::VecDeque;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use meta::{Envelope, Object};
use registry::{Listing, Served};
use serde_json::{Value, json};

use crate::answer::proto_envelope;
use crate::http::body::Body;
use crate::http::media::{Accepted, Format, Shape};
use crate::table::{self, Include};
use crate::yaml;

/// Turns a JSON document into the chosen format; `proto` makes the protobuf form.
pub(crate) fn value(json: &[u8], format: Format, pretty: bool, proto: impl FnOnce() -> Bytes) -> Bytes {
    match format {
        Format::Protobuf => proto(),
        Format::Json if !pretty => with_newline(json),
        Format::Json => indented(json),
        Format::Yaml => match serde_json::from_slice::<Value>(json) {
            Ok(parsed) => yaml::written(&parsed).into(),
            Err(_) => Bytes::copy_from_slice(json),
        },
    }
}

/// A document in one line ends with a newline, as Go's encoder has it; an indented one does not.
fn with_newline(json: &[u8]) -> Bytes {
    if json.ends_with(b"\n") {
        return Bytes::copy_from_slice(json);
    }
    let mut out = Vec::with_capacity(json.len() + 1);
    out.extend_from_slice(json);
    out.push(b'\n');
    out.into()
}

/// Levels down to which documents are indented: each further one would write more spaces than text.
const LEVELS_MAX: usize = 128;

/// A valid document with a member a line, two spaces to a level, its members in the order in which they are. What is nested
/// too deep stays as it is.
pub(crate) fn indented(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut bytes = json.iter().copied().filter(|byte| *byte != b'\n').peekable();
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\r' => {}
            b'"' => {
                out.push(byte);
                let mut escaped = false;
                for byte in bytes.by_ref() {
                    out.push(byte);
                    if byte == b'"' && !escaped {
                        break;
                    }
                    escaped = byte == b'\\' && !escaped;
                }
            }
            b'{' | b'[' => {
                out.push(byte);
                while bytes.next_if(|byte| matches!(byte, b' ' | b'\t' | b'\r')).is_some() {}
                if let Some(close) = bytes.next_if(|byte| matches!(byte, b'}' | b']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    if depth > LEVELS_MAX {
                        return with_newline(json);
                    }
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            other => out.push(other),
        }
    }
    out.into()
}

/// One object as a Table or as its metadata.
pub(crate) fn shaped(
    served: Option<&Served>,
    object: &dyn Object,
    accepted: Accepted,
    include: Include,
) -> Bytes {
    let made = match accepted.shape {
        Shape::Table => {
            table::of_objects(served, &[object], include, &object.meta().resource_version, "", None)
        }
        _ => {
            let mut partial = metadata(object);
            partial["kind"] = json!("PartialObjectMetadata");
            partial["apiVersion"] = json!("meta.k8s.io/v1");
            partial
        }
    };
    typed(made, accepted)
}

/// Annotations that upstream adds when it turns an object into a served version; what is made of its internal form does not
/// have them.
const OF_VERSIONS: [(&str, &[&str]); 2] = [
    ("DaemonSet", &["deprecated.daemonset.template.generation"]),
    (
        "HorizontalPodAutoscaler",
        &[
            "autoscaling.alpha.kubernetes.io/metrics",
            "autoscaling.alpha.kubernetes.io/behavior",
            "autoscaling.alpha.kubernetes.io/conditions",
            "autoscaling.alpha.kubernetes.io/current-metrics",
        ],
    ),
];

/// The metadata of an object, without kind.
pub(crate) fn metadata(object: &dyn Object) -> Value {
    let mut made = json!({ "metadata": meta::to_value(object.meta()) });
    let kind = object.group_version_kind();
    let built_in = matches!(kind.group.as_str(), "apps" | "autoscaling");
    let found = OF_VERSIONS.iter().find(|(of, _)| built_in && kind.kind == *of);
    if let Some((_, drop)) = found
        && let Some(annotations) = made["metadata"].get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.retain(|key, _| !drop.contains(&key.as_str()));
        if annotations.is_empty()
            && let Some(metadata) = made["metadata"].as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    made
}

/// A collection as a Table or as metadata.
pub(crate) fn shaped_list(listing: &Listing, accepted: Accepted, include: Include) -> Bytes {
    let objects: Vec<&dyn Object> = listing.items.iter().map(|item| &**item.object()).collect();
    let version = listing.revision.to_string();
    let made = match accepted.shape {
        Shape::Table => table::of_listing(&listing.served, &objects, include, &version, listing),
        _ => {
            let mut list_meta = json!({ "resourceVersion": version });
            page(&mut list_meta, listing);
            let items: Vec<Value> = objects
                .iter()
                .map(|object| {
                    let mut partial = metadata(*object);
                    partial["kind"] = json!("PartialObjectMetadata");
                    partial["apiVersion"] = json!("meta.k8s.io/v1");
                    partial
                })
                .collect();
            // Upstream's list of nothing is null.
            let items = if items.is_empty() { Value::Null } else { items.into() };
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": list_meta, "items": items,
            })
        }
    };
    typed(made, accepted)
}

/// Adds the paging fields of a list's metadata.
pub(crate) fn page(list_meta: &mut Value, listing: &Listing) {
    if !listing.continue_token.is_empty() {
        list_meta["continue"] = json!(listing.continue_token);
    }
    if let Some(remaining) = listing.remaining {
        list_meta["remainingItemCount"] = json!(remaining);
    }
}

/// Writes a document of `meta.k8s.io`. Those that have a protobuf form go through their generated type.
fn typed(mut made: Value, accepted: Accepted) -> Bytes {
    in_version(&mut made, accepted.beta);
    let json = serde_json::to_vec(&made).unwrap_or_default();
    value(&json, accepted.format, accepted.pretty, || proto_of(&made))
}

/// Gives a document of `meta.k8s.io` and what it holds the older version, where that was asked for.
pub(crate) fn in_version(made: &mut Value, beta: bool) {
    if !beta {
        return;
    }
    let Some(members) = made.as_object_mut() else { return };
    if let Some(version) = members.get_mut("apiVersion").filter(|version| *version == "meta.k8s.io/v1") {
        *version = json!("meta.k8s.io/v1beta1");
    }
    for list in ["items", "rows"] {
        for item in members.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let row = list == "rows";
            let object = if row { item.get_mut("object") } else { Some(item) };
            object.into_iter().for_each(|object| in_version(object, beta));
        }
    }
}

fn proto_of(made: &Value) -> Bytes {
    use meta::Codec as _;
    let kind = made["kind"].as_str().unwrap_or_default();
    let raw = match kind {
        "PartialObjectMetadata" => {
            meta::from_value::<meta::v1::PartialObjectMetadata>(made.clone()).map(|v| v.to_proto())
        }
        "PartialObjectMetadataList" => {
            meta::from_value::<meta::v1::PartialObjectMetadataList>(made.clone()).map(|v| v.to_proto())
        }
        _ => Ok(Vec::new()),
    };
    let version = made["apiVersion"].as_str().unwrap_or("meta.k8s.io/v1");
    proto_envelope(version, kind, &raw.unwrap_or_default())
}

/// `{"kind":"PodList","apiVersion":"v1","metadata":{...}`, still open.
pub(crate) fn list_head(listing: &Listing) -> String {
    // What is stored nowhere has no version.
    let mut list_meta = match listing.revision {
        0 => json!({}),
        revision => json!({ "resourceVersion": revision.to_string() }),
    };
    if listing.served.custom().is_some() {
        // Lists without a struct say that they do not go on.
        list_meta["continue"] = json!("");
    }
    page(&mut list_meta, listing);
    let resource = listing.served.resource();
    format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{list_meta}",
        resource.list_kind,
        listing.served.api_version()
    )
}

/// A collection as `<Kind>List` in protobuf, as slices: field 1 is the list's metadata, field 2 repeats the items, each
/// of which stays the bytes that it has.
pub(crate) fn proto_list(listing: &Listing) -> VecDeque<Bytes> {
    use meta::Codec as _;
    let list_meta = meta::ListMeta {
        resource_version: listing.revision.to_string().into(),
        continue_: listing.continue_token.as_str().into(),
        remaining_item_count: listing.remaining,
        ..Default::default()
    };
    // What stands before each item, one after the other in one buffer.
    let mut between = Vec::with_capacity(64 + listing.items.len() * 4);
    field(&mut between, 1, &list_meta.to_proto());
    let mut ends = Vec::with_capacity(listing.items.len());
    let mut items = Vec::with_capacity(listing.items.len());
    for item in &listing.items {
        let bytes = item.protobuf();
        key(&mut between, 2, bytes.len());
        ends.push(between.len());
        items.push(bytes);
    }
    let length = between.len() + items.iter().map(Bytes::len).sum::<usize>();
    let (head, tail) =
        Envelope::around(&listing.served.api_version(), &listing.served.resource().list_kind, length);
    let between = Bytes::from(between);
    let mut parts = VecDeque::with_capacity(items.len() * 2 + 3);
    parts.push_back(head.into());
    let mut from = 0;
    for (end, item) in ends.into_iter().zip(items) {
        parts.push_back(between.slice(from..end));
        parts.push_back(item);
        from = end;
    }
    parts.push_back(between.slice(from..));
    parts.push_back(tail.into());
    parts
}

/// One length-delimited protobuf field.
pub(crate) fn field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    key(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// What stands before the bytes of a length-delimited field.
fn key(out: &mut Vec<u8>, number: u32, length: usize) {
    varint(out, u64::from(number << 3 | 2));
    varint(out, length as u64);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Compresses a body at the level that upstream uses.
pub(crate) fn gzip(body: Body) -> Bytes {
    let parts = match body {
        Body::Parts(parts, _) => parts,
        other => std::collections::VecDeque::from([other.gather()]),
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    for part in parts {
        // Writing into a Vec cannot fail.
        let _ = encoder.write_all(&part);
    }
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{indented, with_newline};

    #[test]
    fn documents_are_indented_as_they_are() {
        let json = r#"{"z":{"b":[1,{"a":"x\\\"{[,:"}],"e":[],"o":{}},"a":null}"#;
        let text = String::from_utf8(indented(json.as_bytes()).to_vec()).unwrap();
        assert_eq!(
            text,
            "{\n  \"z\": {\n    \"b\": [\n      1,\n      {\n        \"a\": \"x\\\\\\\"{[,:\"\n      }\n    ],\n    \"e\": [],\n    \"o\": {}\n  },\n  \"a\": null\n}"
        );
        let spaced = serde_json::to_vec_pretty(&json!({"a": [{"b": "c d"}, [], {}], "e": 1.5})).unwrap();
        assert_eq!(indented(&spaced), spaced, "what is indented stays so");
        let deep = format!("{}{}1{}", "[".repeat(9_000), "1,".repeat(100_000), "]".repeat(9_000));
        assert_eq!(indented(deep.as_bytes()).len(), deep.len() + 1);
    }

    #[test]
    fn one_line_ends() {
        assert_eq!(&with_newline(b"{}")[..], b"{}\n");
        assert_eq!(&with_newline(b"{}\n")[..], b"{}\n");
    }
}
