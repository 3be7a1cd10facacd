//! Bytes and raw JSON.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::codec::Value;
use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};
use crate::{DecodeError, Struct};

/// Go's `[]byte`: base64 in JSON. Empty and nil are the same.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteString(pub Vec<u8>);

/// Go's standard base64: padding required, stray low bits accepted.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

impl ByteString {
    /// Decodes base64 as Go does: line breaks are skipped.
    pub fn from_base64(text: &str) -> Result<Self, DecodeError> {
        let plain: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        BASE64.decode(&plain).map(Self).map_err(|e| {
            let at = match e {
                // Padding that is complete is what comes after it that is too much.
                base64::DecodeError::InvalidByte(at, b'=') if at % 4 == 3 && at + 1 < plain.len() => at + 1,
                base64::DecodeError::InvalidByte(at, _) => at,
                base64::DecodeError::InvalidLastSymbol { .. } => plain.len().saturating_sub(1),
                // Go points at the end of a padding that is too short, else at the group of four that is.
                base64::DecodeError::InvalidPadding if plain.ends_with(b"=") => plain.len(),
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    plain.len() - plain.len() % 4
                }
            };
            DecodeError::text(format!("illegal base64 data at input byte {at}"))
        })
    }

    /// Standard base64 with padding.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl std::ops::Deref for ByteString {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl std::ops::DerefMut for ByteString {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl From<Vec<u8>> for ByteString {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for ByteString {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteString({} bytes)", self.0.len())
    }
}

impl Value for ByteString {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn write_json(&self, w: &mut JsonWriter) {
        w.out.push(b'"');
        let start = w.out.len();
        w.out.resize(start + self.0.len().div_ceil(3) * 4, 0);
        // The room is exactly what base64 with padding takes.
        let written = BASE64.encode_slice(&self.0, &mut w.out[start..]).unwrap_or(0);
        w.out.truncate(start + written);
        w.out.push(b'"');
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if r.try_null()? {
            self.0.clear();
            return Ok(());
        }
        if r.peek()? != b'[' {
            *self = Self::from_base64(&r.string()?)?;
            return Ok(());
        }
        // Go reads a list of numbers into bytes, too.
        self.0.clear();
        r.read_list(|r| {
            let byte = if r.try_null()? {
                0
            } else if matches!(r.peek()?, b'-' | b'0'..=b'9') {
                let text = r.number()?;
                text.parse().map_err(|_| DecodeError::mismatch(format!("number {text}"), Some("uint8")))?
            } else {
                return Err(r.mismatch(Some("uint8")));
            };
            self.0.push(byte);
            Ok(())
        })
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        if !self.0.is_empty() {
            w.bytes(number, &self.0);
        }
    }
    fn put_always(&self, number: u32, w: &mut ProtoWriter) {
        w.bytes(number, &self.0);
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        self.0 = r.bytes(wire)?.to_vec();
        Ok(())
    }
}

/// Any JSON, kept as text: `runtime.RawExtension`, `FieldsV1`, `apiextensions.JSON`. Empty means nil, which is written
/// as `null`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawJson(Box<[u8]>);

impl RawJson {
    /// Wraps text that is JSON (or another encoding, where protobuf carries it).
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into().into_boxed_slice())
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text as a tree.
    pub fn to_value(&self) -> Result<serde_json::Value, DecodeError> {
        if self.0.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&self.0).map_err(|e| DecodeError::text(e.to_string()))
    }

    /// The text of a tree.
    pub fn from_value(value: &serde_json::Value) -> Self {
        Self::new(value.to_string())
    }

    /// An object's JSON, with `kind` and `apiVersion`.
    pub fn from_struct<T: Struct>(value: &T) -> Self {
        let mut w = JsonWriter::default();
        w.object(value);
        Self::new(w.out)
    }
}

impl From<serde_json::Value> for RawJson {
    fn from(value: serde_json::Value) -> Self {
        Self::from_value(&value)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Value for RawJson {
    fn is_empty(&self) -> bool {
        // A struct in Go: `omitempty` does not apply.
        false
    }
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
    fn write_json(&self, w: &mut JsonWriter) {
        if self.0.is_empty() {
            w.out.extend_from_slice(b"null");
        } else {
            w.raw(&self.0);
        }
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if !r.try_null()? {
            *self = Self::new(r.raw_value()?);
        }
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        let end = w.begin();
        if !self.0.is_empty() {
            w.bytes(1, &self.0);
        }
        w.end(number, end);
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        let mut raw = None;
        r.nested(wire, "RawExtension", |number, wire, r| match number {
            1 => {
                raw = Some(r.bytes(wire)?);
                Ok(())
            }
            _ => r.skip(number, wire),
        })?;
        if let Some(raw) = raw {
            *self = Self::new(raw);
        }
        Ok(())
    }
}
