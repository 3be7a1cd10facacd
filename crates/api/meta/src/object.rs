//! The traits of structs and kinds, and the object-safe [`Object`] behind which any kind can travel.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};
use crate::v1::ListMeta;
use crate::{DecodeError, GroupVersionKind, List, ObjectMeta, TypeInfo};

/// What `xtask codegen` implements for each struct of the API. Use it through [`crate::Codec`].
pub trait Struct: Default + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// Facts about the struct.
    const INFO: &'static TypeInfo;
    /// Writes the fields, without braces and without `kind` and `apiVersion`.
    fn write_fields(&self, w: &mut JsonWriter);
    /// Reads the field with this index in [`TypeInfo::fields`].
    fn read_field(&mut self, index: usize, r: &mut JsonReader<'_>) -> Result<(), DecodeError>;
    /// Writes the protobuf message, from its last field to its first.
    fn write_message(&self, w: &mut ProtoWriter);
    /// Reads one protobuf field.
    fn read_message_field(
        &mut self,
        number: u32,
        wire: Wire,
        r: &mut ProtoReader<'_>,
    ) -> Result<(), DecodeError>;
    /// Writes the JSON value, without `kind` and `apiVersion`.
    fn write_json_value(&self, w: &mut JsonWriter) {
        w.begin_object();
        self.write_fields(w);
        w.end_object();
    }
    /// Reads the JSON value.
    fn read_json_value(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        r.read_struct(self)
    }
}

impl<T: Struct> Struct for Box<T> {
    const INFO: &'static TypeInfo = T::INFO;
    fn write_fields(&self, w: &mut JsonWriter) {
        (**self).write_fields(w);
    }
    fn read_field(&mut self, index: usize, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        (**self).read_field(index, r)
    }
    fn write_message(&self, w: &mut ProtoWriter) {
        (**self).write_message(w);
    }
    fn read_message_field(
        &mut self,
        number: u32,
        wire: Wire,
        r: &mut ProtoReader<'_>,
    ) -> Result<(), DecodeError> {
        (**self).read_message_field(number, wire, r)
    }
    fn write_json_value(&self, w: &mut JsonWriter) {
        (**self).write_json_value(w);
    }
    fn read_json_value(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        (**self).read_json_value(r)
    }
}

/// A struct that says what it is: it carries `kind` and `apiVersion` in JSON.
pub trait Typed: Struct {
    /// API group, empty for the core group.
    const GROUP: &'static str;
    /// API version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;

    /// Group, version and kind.
    fn gvk() -> GroupVersionKind {
        GroupVersionKind::new(Self::GROUP, Self::VERSION, Self::KIND)
    }

    /// `apps/v1`, or `v1` for the core group.
    fn api_version() -> String {
        if Self::GROUP.is_empty() {
            Self::VERSION.to_owned()
        } else {
            format!("{}/{}", Self::GROUP, Self::VERSION)
        }
    }
}

/// A kind with object metadata.
pub trait Kind: Typed {
    /// Plural resource name; empty for kinds that are only reached through a subresource.
    const PLURAL: &'static str;
    /// Objects live in namespaces.
    const NAMESPACED: bool;
    /// The object's metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// The object's metadata, to be changed.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

/// A list of a kind.
pub trait ListKind: Typed {
    /// The kind of the items.
    type Item: Struct;
    /// The list's metadata.
    fn list_meta(&self) -> &ListMeta;
    /// The list's metadata, to be changed.
    fn list_meta_mut(&mut self) -> &mut ListMeta;
    /// The items.
    fn items(&self) -> &List<Self::Item>;
    /// The items, to be changed.
    fn items_mut(&mut self) -> &mut List<Self::Item>;
}

/// Any object with metadata, of a built-in kind or a custom resource, behind a pointer.
pub trait Object: Any + fmt::Debug + Send + Sync {
    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The object's metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// Group, version and kind.
    fn group_version_kind(&self) -> GroupVersionKind;
    /// Appends the object as JSON, `kind` and `apiVersion` first. Gives back how many bytes, from the opening brace on,
    /// make up that prefix: `{` followed by the bytes after it is the object as an item of a list.
    fn encode_json(&self, out: &mut Vec<u8>) -> usize;
    /// Appends the object as JSON with empty lists where the client sent such, see [`crate::is_absent`].
    fn encode_json_as_sent(&self, out: &mut Vec<u8>) {
        self.encode_json(out);
    }
    /// Appends the object as a protobuf message without envelope; false when the kind has no protobuf form.
    fn encode_proto(&self, out: &mut Vec<u8>) -> bool;
    /// A copy.
    fn clone_object(&self) -> Box<dyn Object>;
    /// Same kind and same value.
    fn eq_object(&self, other: &dyn Object) -> bool;
    /// Facts about the struct; `None` for custom resources.
    fn type_info(&self) -> Option<&'static TypeInfo>;
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// For downcasts.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// For downcasts.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync>;
    /// For downcasts.
    fn into_any_arc(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Kind> Object for T {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }
    fn group_version_kind(&self) -> GroupVersionKind {
        T::gvk()
    }
    fn encode_json(&self, out: &mut Vec<u8>) -> usize {
        let mut w = JsonWriter::new(std::mem::take(out));
        let prefix = w.object(self);
        *out = w.out;
        prefix
    }
    fn encode_json_as_sent(&self, out: &mut Vec<u8>) {
        let mut w = JsonWriter { out: std::mem::take(out), as_sent: true, ..Default::default() };
        w.object(self);
        *out = w.out;
    }
    fn encode_proto(&self, out: &mut Vec<u8>) -> bool {
        let mut w = ProtoWriter::default();
        self.write_message(&mut w);
        out.extend_from_slice(w.written());
        T::INFO.proto
    }
    fn clone_object(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
    fn eq_object(&self, other: &dyn Object) -> bool {
        downcast_ref::<T>(other).is_some_and(|o| o == self)
    }
    fn type_info(&self) -> Option<&'static TypeInfo> {
        Some(T::INFO)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
    fn into_any_arc(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Clone for Box<dyn Object> {
    fn clone(&self) -> Self {
        self.clone_object()
    }
}

/// The object as the kind it is.
pub fn downcast<T: Any + Send + Sync>(object: Arc<dyn Object>) -> Option<Arc<T>> {
    object.into_any_arc().downcast().ok()
}

/// The object as the kind it is.
pub fn downcast_box<T: Any>(object: Box<dyn Object>) -> Option<Box<T>> {
    object.into_any().downcast().ok()
}

/// The object as the kind it is.
pub fn downcast_ref<T: Any>(object: &dyn Object) -> Option<&T> {
    object.as_any().downcast_ref()
}
