//! What can be done to an object knowing only the shape of its kind: patches, server-side apply, structural schemas, and
//! the OpenAPI documents that tell clients that shape; and how YAML is read. Everything works on JSON values and is pure.

pub mod apply;
pub mod openapi;
pub mod patch;
pub mod structural;
pub mod yaml;
