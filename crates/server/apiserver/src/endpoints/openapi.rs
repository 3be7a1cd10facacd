//! `/openapi/v3`, its documents with hashes in their addresses so that clients may keep them forever, and
//! `/openapi/v2` in JSON and protobuf.
//!
//! Documents are built when somebody first asks, and kept compressed: nearly every client takes them so, and the
//! others have them unpacked for each answer.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::LazyLock;

use bytes::Bytes;
use descriptions::Descriptions;
use flate2::read::GzDecoder;
use http::{Method, Response, StatusCode, header};
use registry::errors;
use schema::openapi;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::plain::{TEXT, page_not_found, unavailable_representation};
use crate::answer::Answer;
use crate::encode::gzip;
use crate::http::body::Body;
use crate::pipeline::Decoded;

/// Protobuf of version 2, as clients name it.
const SWAGGER_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const SWAGGER_PROTO_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const JSON: &str = "application/json";

/// A document, compressed, with the hash of its text.
struct Packed {
    gzip: Bytes,
    hash: String,
}

impl Packed {
    fn new(text: Vec<u8>) -> Self {
        let hash = Sha512::digest(&text).iter().map(|b| format!("{b:02X}")).collect();
        Packed { gzip: gzip(Body::full(text)), hash }
    }

    fn unpacked(&self) -> Bytes {
        let mut text = Vec::with_capacity(self.gzip.len() * 16);
        // What was packed here unpacks.
        let _ = GzDecoder::new(&self.gzip[..]).read_to_end(&mut text);
        text.into()
    }
}

struct Published {
    index: Bytes,
    documents: BTreeMap<String, Packed>,
}

static V3: LazyLock<Published> = LazyLock::new(|| {
    let about = Descriptions::load();
    let documents: BTreeMap<String, Packed> = openapi::document_paths()
        .into_iter()
        .filter_map(|path| {
            let document = openapi::document(&path, &about)?;
            Some((path, Packed::new(text(&document))))
        })
        .collect();
    let address = |path: &str, hash: &str| {
        (path.to_owned(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
    };
    let paths: serde_json::Map<String, Value> =
        documents.iter().map(|(path, packed)| address(path, &packed.hash)).collect();
    Published { index: json!({ "paths": paths }).to_string().into(), documents }
});

static V2: LazyLock<(Packed, Packed)> = LazyLock::new(|| {
    let document = openapi::swagger(&Descriptions::load());
    let proto = openapi::swagger_proto(&document);
    (Packed::new(text(&document)), Packed::new(proto))
});

fn text(document: &Value) -> Vec<u8> {
    // A value's keys are strings: writing it cannot fail.
    serde_json::to_vec(document).unwrap_or_default()
}

/// Serves a path below `/openapi`.
pub(super) async fn serve(decoded: &Decoded, path: &str) -> Answer {
    if decoded.method != Method::GET {
        return Answer::Refused(errors::method_not_allowed());
    }
    match path.strip_prefix("/openapi/") {
        Some("v2") => swagger(decoded).await,
        Some("v3") => {
            built(&V3).await;
            let mut response = Response::new(Body::full(V3.index.clone()));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TEXT));
            Answer::Raw(response)
        }
        Some(rest) if rest.starts_with("v3/") => {
            built(&V3).await;
            V3.documents.get(&rest[3..]).map_or_else(page_not_found, |packed| answer(decoded, packed, JSON))
        }
        _ => page_not_found(),
    }
}

/// Builds a document aside, so that other requests of this thread go on.
async fn built<T: Send + Sync + 'static>(document: &'static LazyLock<T>) {
    let force = tokio::task::spawn_blocking(|| {
        LazyLock::force(document);
    });
    // Should building have panicked, so does the use of the document, and this request fails alone.
    let _ = force.await;
}

async fn swagger(decoded: &Decoded) -> Answer {
    for clause in decoded.header(header::ACCEPT).split(',') {
        let media = clause.split(';').next().unwrap_or_default().trim();
        match media {
            SWAGGER_PROTO | SWAGGER_PROTO_OLD => {
                built(&V2).await;
                return answer(decoded, &V2.1, SWAGGER_PROTO);
            }
            "" | "*/*" | "application/*" | JSON => {
                built(&V2).await;
                return answer(decoded, &V2.0, JSON);
            }
            _ => {}
        }
    }
    Answer::Refused(unavailable_representation(&format!("{JSON}, {SWAGGER_PROTO}")))
}

fn answer(decoded: &Decoded, packed: &Packed, media: &'static str) -> Answer {
    let tag = format!("\"{}\"", packed.hash);
    if decoded.header(header::IF_NONE_MATCH).split(',').any(|known| known.trim() == tag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Answer::Raw(response);
    }
    let encodings = decoded.header(header::ACCEPT_ENCODING);
    let takes_gzip = encodings.split(',').any(|e| e.trim().split(';').next() == Some("gzip"));
    let body = if takes_gzip { packed.gzip.clone() } else { packed.unpacked() };
    let mut response = Response::new(Body::full(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
    headers.append(header::VARY, header::HeaderValue::from_static("Accept-Encoding"));
    headers.append(header::VARY, header::HeaderValue::from_static("Accept"));
    if takes_gzip {
        headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    if let Ok(tag) = header::HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if decoded.query.get("hash") == Some(&packed.hash) {
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("public, immutable"));
    }
    Answer::Raw(response)
}
