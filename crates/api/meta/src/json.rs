//! JSON as Go's `encoding/json` and Kubernetes' stricter reader do it: [`JsonWriter`] and [`JsonReader`].

mod reader;
mod scan;
mod tree;
mod writer;

pub use reader::JsonReader;
pub use scan::check_syntax;
pub use writer::JsonWriter;
