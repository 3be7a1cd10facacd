//! [`Document`]: any generated struct behind a pointer, and [`DocumentType`]: how to make one by its name.

use std::any::Any;

use crate::codec::Codec;
use crate::json::JsonWriter;
use crate::proto::ProtoWriter;
use crate::{DecodeContext, DecodeError, Struct, TypeInfo};

/// Any generated struct, kinds without metadata and lists included. Objects with metadata have [`crate::Object`].
pub trait Document: Any + Send + Sync {
    /// Facts about the struct.
    fn info(&self) -> &'static TypeInfo;
    /// Appends JSON, with `kind` and `apiVersion` where the struct has them.
    fn write_json(&self, out: &mut Vec<u8>);
    /// Appends the protobuf message without envelope.
    fn write_proto(&self, out: &mut Vec<u8>);
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// For downcasts.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync>;
}

impl<T: Struct> Document for T {
    fn info(&self) -> &'static TypeInfo {
        T::INFO
    }
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut w = JsonWriter::new(std::mem::take(out));
        w.object(self);
        *out = w.out;
    }
    fn write_proto(&self, out: &mut Vec<u8>) {
        let mut w = ProtoWriter::default();
        self.write_message(&mut w);
        out.extend_from_slice(w.written());
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
}

/// A decoded document or why there is none.
pub type DocumentResult = Result<Box<dyn Document>, DecodeError>;

/// How to make documents of one type.
#[derive(Clone, Copy)]
pub struct DocumentType {
    /// Facts about the struct.
    pub info: &'static TypeInfo,
    /// An empty one.
    pub new: fn() -> Box<dyn Document>,
    /// Decodes JSON.
    pub from_json: fn(&[u8], &mut DecodeContext) -> DocumentResult,
    /// Decodes a protobuf message without envelope.
    pub from_proto: fn(&[u8]) -> DocumentResult,
}

fn new<T: Struct>() -> Box<dyn Document> {
    Box::new(T::default())
}

fn from_json<T: Struct>(json: &[u8], context: &mut DecodeContext) -> DocumentResult {
    Ok(Box::new(T::from_json_with(json, context)?))
}

fn from_proto<T: Struct>(bytes: &[u8]) -> DocumentResult {
    Ok(Box::new(T::from_proto(bytes)?))
}

impl DocumentType {
    /// The entry of a type.
    pub const fn of<T: Struct>() -> Self {
        Self { info: T::INFO, new: new::<T>, from_json: from_json::<T>, from_proto: from_proto::<T> }
    }
}
