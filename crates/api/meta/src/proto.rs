//! Protobuf as Kubernetes' generated Go code writes it: [`ProtoWriter`] and [`ProtoReader`].
//!
//! Fields in order of their numbers; scalars that are no pointers always written; unknown fields skipped.

mod reader;
mod writer;

pub use reader::{ProtoReader, Wire};
pub use writer::ProtoWriter;
