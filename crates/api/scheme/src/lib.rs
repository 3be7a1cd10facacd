//! The table of kinds: which resources the API serves, under which names, and how their objects are made.
//!
//! [`RESOURCES`] is generated from the fact table and walked by discovery, routing and storage; [`lookup`] and
//! [`by_kind`] find one entry. [`fields`] gives the facts about a struct by its OpenAPI model name. Custom resources
//! travel as [`Unstructured`]. To serve one more built-in resource, add its facts and run `cargo xtask codegen`.

pub mod fields;
mod generated;
mod kinds;
mod resource;
mod unstructured;

pub use generated::{KINDS, RESOURCES};
pub use kinds::{decode_json, decode_proto, kind};
pub use resource::{
    CustomObjects, Name, ObjectResult, ObjectType, Objects, Resource, Subresource, by_kind, list_of, lookup,
    resources_of,
};
pub use unstructured::Unstructured;
