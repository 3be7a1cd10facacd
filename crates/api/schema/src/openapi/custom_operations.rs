//! How the operations of custom resources are told: without protobuf, without strategic merge patches, and, as upstream
//! does, with what a list takes where a collection is deleted.

use super::operation::{Gvk, LIST, Operation, PRETTY, VERSION};

const MEDIA: &[&str] = &["application/json", "application/yaml"];
const PATCH_MEDIA: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// Tells an operation of a built-in kind as one of the custom `kind`, to which its subresources count too.
pub(super) fn retell(operation: &mut Operation, kind: Gvk<'_>) {
    let patches = operation.action == "patch";
    operation.kind = Some((kind.0.into(), kind.1.into(), kind.2.into()));
    operation.consumes = if patches { PATCH_MEDIA } else { MEDIA };
    operation.produces = MEDIA;
    if let Some(body) = &mut operation.body {
        body.media = operation.consumes;
    }
    match operation.action {
        "patch" => operation.codes = &["200"],
        "get" => operation.parameters.push(VERSION),
        "deletecollection" => {
            operation.body = None;
            operation.parameters.retain(|parameter| parameter.place == "path");
            operation.parameters.extend(LIST);
            operation.parameters.push(PRETTY);
        }
        _ => {}
    }
    operation.parameters.sort();
}
