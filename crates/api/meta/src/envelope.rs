//! The envelope in which Kubernetes sends and stores protobuf: four magic bytes and a `runtime.Unknown` message.

use crate::codec::Value as _;
use crate::proto::{ProtoReader, ProtoWriter};
use crate::{DecodeError, Str};

/// What every protobuf document of Kubernetes begins with.
pub const PROTOBUF_MAGIC: &[u8; 4] = b"k8s\0";

/// A decoded envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `v1`, `apps/v1`.
    pub api_version: Str,
    /// Kind.
    pub kind: Str,
    /// The object's message.
    pub raw: &'a [u8],
    /// Encoding of `raw`; empty.
    pub content_encoding: Str,
    /// Media type of `raw`; empty means protobuf.
    pub content_type: Str,
}

impl<'a> Envelope<'a> {
    /// Reads an envelope, magic included.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some(message) = bytes.strip_prefix(PROTOBUF_MAGIC) else {
            return Err(DecodeError::text(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
            ));
        };
        let mut out = Self::default();
        let mut reader = ProtoReader::new(message);
        reader.top("Unknown", |number, wire, r| match number {
            1 => r.nested(wire, "TypeMeta", |number, wire, r| match number {
                1 => out.api_version.read_proto(wire, r),
                2 => out.kind.read_proto(wire, r),
                _ => r.skip(number, wire),
            }),
            2 => {
                out.raw = r.bytes(wire)?;
                Ok(())
            }
            3 => out.content_encoding.read_proto(wire, r),
            4 => out.content_type.read_proto(wire, r),
            _ => r.skip(number, wire),
        })?;
        Ok(out)
    }

    /// Wraps a message, byte for byte as upstream does.
    pub fn encode(api_version: &str, kind: &str, raw: &[u8], out: &mut Vec<u8>) {
        let (head, tail) = Self::around(api_version, kind, raw.len());
        out.reserve(head.len() + raw.len() + tail.len());
        out.extend_from_slice(&head);
        out.extend_from_slice(raw);
        out.extend_from_slice(&tail);
    }

    /// What stands before and after a message of that many bytes.
    pub fn around(api_version: &str, kind: &str, length: usize) -> (Vec<u8>, Vec<u8>) {
        let mut w = ProtoWriter::default();
        let end = w.begin();
        w.bytes(2, kind.as_bytes());
        w.bytes(1, api_version.as_bytes());
        w.end(1, end);
        let mut raw = ProtoWriter::default();
        raw.before_bytes(2, length);
        let head = [PROTOBUF_MAGIC.as_slice(), w.written(), raw.written()].concat();
        let mut w = ProtoWriter::default();
        w.bytes(4, &[]);
        w.bytes(3, &[]);
        (head, w.written().to_vec())
    }
}

/// `kind` and `apiVersion` of a JSON document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeMetaHeader {
    /// `v1`, `apps/v1`; empty when absent.
    pub api_version: Str,
    /// Kind; empty when absent.
    pub kind: Str,
}

/// Reads `kind` and `apiVersion` of a JSON document and checks the syntax of the rest. The error carries upstream's
/// text: `couldn't get version/kind; json parse error: ...`.
pub fn read_type_meta(json: &[u8]) -> Result<TypeMetaHeader, DecodeError> {
    let parse_error =
        |e: DecodeError| DecodeError::text(format!("couldn't get version/kind; json parse error: {e}"));
    crate::json::check_syntax(json).map_err(parse_error)?;
    let mut out = TypeMetaHeader::default();
    let mut r = crate::json::JsonReader::new(json);
    if r.try_null().map_err(parse_error)? {
        return Ok(out);
    }
    const GO: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
    if r.peek().map_err(parse_error)? != b'{' {
        return Err(parse_error(r.mismatch(Some(GO))));
    }
    r.read_map(|r, key| {
        let name = match key {
            "kind" => "kind",
            "apiVersion" => "apiVersion",
            _ => return r.skip_value().map(|()| false),
        };
        if !r.try_null()? {
            if r.peek()? != b'"' {
                return Err(r.mismatch(Some("string")).in_named_field("", name));
            }
            let text = Str::from(&*r.string()?);
            if name == "kind" {
                out.kind = text;
            } else {
                out.api_version = text;
            }
        }
        Ok(false)
    })
    .map_err(parse_error)?;
    Ok(out)
}
