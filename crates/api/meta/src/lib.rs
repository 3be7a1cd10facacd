//! What every Kubernetes object is made of: metadata, quantities, times, selectors, `Status`, field errors, and the
//! codec that reads and writes JSON and protobuf exactly as Go does.
//!
//! Start at [`Struct`] (what `xtask codegen` implements for each generated struct), [`Codec`] (how to read and write one),
//! [`Kind`] and [`Object`] (what a top-level kind adds). Nothing here does I/O.

mod codec;
mod document;
mod envelope;
mod error;
mod field_error;
mod field_path;
pub mod format;
mod generated;
mod go;
mod group;
mod info;
mod int_or_string;
mod intern;
pub mod json;
mod map;
pub mod names;
mod object;
mod object_meta;
pub mod proto;
mod quantity;
mod raw;
pub mod selector;
mod status;
mod time;
mod values;

pub use codec::{Codec, Value, from_value, to_value};
pub use document::{Document, DocumentResult, DocumentType};
pub use envelope::{Envelope, PROTOBUF_MAGIC, TypeMetaHeader, read_type_meta};
pub use error::{DecodeContext, DecodeError, FieldValidation};
pub use field_error::{BadValue, FieldError, FieldErrorKind, FieldErrors, aggregate_message};
pub use field_path::FieldPath;
pub use go::{go_kind, go_plain, go_quote, quote_join};
pub use info::{Field, Ty, TypeInfo};
pub use int_or_string::IntOrString;
pub use intern::intern;
pub use map::Map;
pub use object::{Kind, ListKind, Object, Struct, Typed, downcast, downcast_box, downcast_ref};
pub use quantity::{Quantity, QuantityError};
pub use raw::{ByteString, RawJson};
pub use selector::{fields::FieldSelector, labels::Selector};
pub use status::{StatusResult, reason};
pub use time::{Duration, MicroTime, Time};
pub use v1::{
    Condition, DeleteOptions, GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource,
    LabelSelector, LabelSelectorRequirement, ListMeta, ListOptions, ObjectMeta, OwnerReference,
    Preconditions, Status, StatusCause, StatusDetails,
};
pub use values::is_absent;

/// The generated types of `meta/v1`, which every group shares.
pub mod v1 {
    pub use crate::generated::*;
    pub use crate::{Duration, MicroTime, Time};
}

/// A string of the API: cheap to clone, up to 15 bytes inline. Empty means absent, as in Go.
pub type Str = ecow::EcoString;

/// A list of the API: one pointer wide. Empty and nil are the same.
pub type List<T> = thin_vec::ThinVec<T>;

pub use thin_vec::thin_vec;

/// Everything that generated code names.
#[doc(hidden)]
pub mod gen_prelude {
    pub use crate::codec::{Value, debug_struct};
    pub use crate::json::{JsonReader, JsonWriter};
    pub use crate::proto::{ProtoReader, ProtoWriter, Wire};
    pub use crate::{
        ByteString, DecodeError, Duration, Field, IntOrString, List as Items, Map, MicroTime, Quantity,
        RawJson, Str, Struct, Time, Ty, TypeInfo,
    };
    pub use std::fmt;
}
