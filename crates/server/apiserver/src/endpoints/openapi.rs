//! `/openapi/v3`: the index and its documents, with hashes in their addresses so that clients may keep them forever.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use registry::errors;
use schema::openapi::documents;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::plain::page_not_found;
use crate::answer::Answer;
use crate::http::body::Body;
use crate::pipeline::Decoded;

struct Published {
    index: Bytes,
    /// Document and hash by path.
    documents: BTreeMap<&'static str, (Bytes, String)>,
}

static PUBLISHED: LazyLock<Published> = LazyLock::new(|| {
    let hashed = documents().iter().map(|document| {
        let hash: String = Sha256::digest(&document.json).iter().map(|b| format!("{b:02X}")).collect();
        (document.path.as_str(), (Bytes::from_static(&document.json), hash))
    });
    let documents: BTreeMap<&'static str, (Bytes, String)> = hashed.collect();
    let paths: serde_json::Map<String, serde_json::Value> = documents
        .iter()
        .map(|(path, (_, hash))| {
            ((*path).to_owned(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
        })
        .collect();
    Published { index: json!({ "paths": paths }).to_string().into(), documents }
});

/// Serves a path below `/openapi`.
pub(super) fn serve(decoded: &Decoded, path: &str) -> Answer {
    let Some(rest) = path.strip_prefix("/openapi/v3") else { return page_not_found() };
    if decoded.method != Method::GET {
        return Answer::Refused(errors::method_not_allowed());
    }
    if rest.is_empty() {
        let mut response = Response::new(Body::full(PUBLISHED.index.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        return Answer::Raw(response);
    }
    let Some((document, hash)) = PUBLISHED.documents.get(rest.trim_start_matches('/')) else {
        return page_not_found();
    };
    let tag = format!("\"{hash}\"");
    if decoded.header(header::IF_NONE_MATCH) == tag {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Answer::Raw(response);
    }
    let mut response = Response::new(Body::full(document.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::VARY, header::HeaderValue::from_static("Accept"));
    if let Ok(tag) = header::HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if decoded.query.get("hash") == Some(hash) {
        let forever = header::HeaderValue::from_static("public, immutable");
        headers.insert(header::CACHE_CONTROL, forever);
    }
    Answer::Raw(response)
}
