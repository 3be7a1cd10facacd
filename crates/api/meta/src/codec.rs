//! [`Value`]: what a field can hold, in JSON and in protobuf; [`Codec`]: whole documents.

use std::fmt;

use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};
use crate::{DecodeContext, DecodeError, Struct};

/// Anything a field can hold. Generated structs get it through [`Struct`].
pub trait Value: Default {
    /// An empty protobuf message stands for no value at all (Go's zero times).
    const EMPTY_MESSAGE_IS_NONE: bool = false;
    /// Left out under Go's `omitempty`. Structs never are.
    fn is_empty(&self) -> bool;
    /// Left out under Go's `omitzero`.
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
    /// Writes the value.
    fn write_json(&self, w: &mut JsonWriter);
    /// Reads the value into `self`, with Go's rules for `null` and for values that are there already.
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError>;
    /// Writes the field with its tag: scalars always, pointers and collections when they hold something.
    fn put_proto(&self, number: u32, w: &mut ProtoWriter);
    /// Writes the field even when nothing is in it.
    fn put_always(&self, number: u32, w: &mut ProtoWriter) {
        self.put_proto(number, w);
    }
    /// Reads one occurrence of the field.
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError>;
    /// Writes the value as one element: a list inside a map, or a named list, is a message of its own.
    fn put_element(&self, number: u32, w: &mut ProtoWriter) {
        self.put_always(number, w);
    }
    /// Reads what [`Value::put_element`] wrote.
    fn read_element(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        self.read_proto(wire, r)
    }
    /// Reads a named list that protobuf wraps in a message.
    fn read_wrapped(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        self.read_element(wire, r)
    }
}

impl<T: Struct> Value for T {
    fn is_empty(&self) -> bool {
        false
    }
    fn is_zero(&self) -> bool {
        *self == T::default()
    }
    fn write_json(&self, w: &mut JsonWriter) {
        self.write_json_value(w);
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        self.read_json_value(r)
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        let end = w.begin();
        self.write_message(w);
        w.end(number, end);
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        r.message(wire, self)
    }
}

/// Most objects fit; larger ones grow the buffer a few times.
const TYPICAL_BYTES: usize = 2048;

/// Whole documents: implemented for every generated struct.
pub trait Codec: Struct {
    /// Decodes JSON, passing over unknown fields.
    fn from_json(json: &[u8]) -> Result<Self, DecodeError> {
        let mut value = Self::default();
        JsonReader::new(json).read_document(&mut value)?;
        Ok(value)
    }

    /// Decodes JSON and records unknown and duplicate fields in the context.
    fn from_json_with(json: &[u8], context: &mut DecodeContext) -> Result<Self, DecodeError> {
        let mut value = Self::default();
        JsonReader::with_context(json, context).read_document(&mut value)?;
        Ok(value)
    }

    /// Encodes as JSON, kinds with `kind` and `apiVersion` first.
    fn to_json(&self) -> Vec<u8> {
        let mut w = JsonWriter::new(Vec::with_capacity(TYPICAL_BYTES));
        w.object(self);
        w.out
    }

    /// Decodes a protobuf message (without the envelope that kinds travel in, see [`crate::Envelope`]).
    fn from_proto(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut value = Self::default();
        ProtoReader::new(bytes).read_into(&mut value)?;
        Ok(value)
    }

    /// Encodes as a protobuf message, without the envelope.
    fn to_proto(&self) -> Vec<u8> {
        let mut w = ProtoWriter::default();
        self.write_message(&mut w);
        w.finish()
    }
}

impl<T: Struct> Codec for T {}

/// The value as a JSON tree.
pub fn to_value<T: Struct>(value: &T) -> serde_json::Value {
    serde_json::from_slice(&value.to_json()).unwrap_or_default()
}

/// Decodes a JSON tree.
pub fn from_value<T: Struct>(value: serde_json::Value) -> Result<T, DecodeError> {
    T::from_json(&serde_json::to_vec(&value).map_err(|e| DecodeError::text(e.to_string()))?)
}

/// Debug output of a struct: its name and JSON.
#[doc(hidden)]
pub fn debug_struct<T: Struct>(value: &T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut w = JsonWriter::default();
    value.write_json_value(&mut w);
    write!(f, "{}{}", T::INFO.name, String::from_utf8_lossy(&w.out))
}
