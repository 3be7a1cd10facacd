//! The three patch formats that change a document in place: JSON patch (RFC 6902), merge patch (RFC 7386) and
//! strategic merge patch. Each takes the current object as a JSON value and the patch as the bytes that the client
//! sent, and gives the patched value; decoding it into the kind again is the caller's step.
//!
//! Error texts and status codes follow upstream's `endpoints/handlers/patch.go` and `evanphx/json-patch` v4.

mod json;
mod merge;
mod shape;
mod strategic;

use serde_json::Value;

pub use json::apply as json_patch;
pub use merge::apply as merge_patch;
pub use shape::{Shape, Strategy};
pub use strategic::apply as strategic_merge_patch;

/// Most operations that one JSON patch may hold, as upstream's `maxJSONPatchOperations`.
pub const OPERATIONS_MAX: usize = 10_000;

/// Most bytes that all `copy` operations of one JSON patch may copy together.
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Most elements that inserting and removing may shift in the lists of one JSON patch.
pub const MOVED_MAX: usize = 50_000_000;

/// Why a patch was refused. None of these helps to retry.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PatchError {
    /// The document is not JSON, or not of the format's form: a 400.
    #[error("{0}")]
    Malformed(String),
    /// The document is well formed but does not fit the object: a 422 whose text the server replaces by a generic one.
    #[error("{0}")]
    Unprocessable(String),
    /// A value is not what a `test` says it is, at this path: a 422 as well, unless the patch is one of a policy.
    #[error("testing value {0} failed: test failed")]
    TestFailed(String),
    /// More than [`OPERATIONS_MAX`] operations: a 413.
    #[error("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {0}")]
    TooManyOperations(usize),
    /// A strategic merge patch whose directives contradict its own lists, where upstream's `mergepatch` has no name for
    /// the error: a 500.
    #[error("{0}")]
    Directive(String),
}

/// What strict readers say about a patch document: keys that it has twice, and in a JSON patch keys that mean nothing.
pub fn findings(patch: &[u8], json_patch: bool) -> Vec<String> {
    let mut context = meta::DecodeContext::strict();
    let mut tree = Value::Null;
    // What is malformed was refused before.
    let _ = meta::json::JsonReader::with_context(patch, &mut context).whole(|r| {
        tree = r.tree()?;
        Ok(())
    });
    if !json_patch {
        return context.findings;
    }
    let operations = tree.as_array().map(Vec::as_slice).unwrap_or_default();
    for (at, operation) in operations.iter().enumerate() {
        for key in operation.as_object().into_iter().flat_map(|fields| fields.keys()) {
            if !matches!(key.as_str(), "op" | "path" | "from" | "value") {
                context.record(format!("unknown field {}", meta::go_quote(&format!("[{at}].{key}"))));
            }
        }
    }
    context.findings.into_iter().map(|finding| format!("json patch {finding}")).collect()
}

/// What JSON patches and merge patches say before the text of Go's decoder.
const UNDECODED: &str = "error decoding patch: ";

/// Parses a patch document, with the texts that Go's decoder has for truncated and malformed input after `before`.
fn parse(bytes: &[u8], before: &str) -> Result<Value, PatchError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = match meta::json::check_syntax(bytes) {
            Err(syntax) => syntax.to_string(),
            // Well-formed for Go and not for this decoder, such as nesting without end.
            Ok(()) => error.to_string(),
        };
        PatchError::Malformed(format!("{before}{text}"))
    })
}
