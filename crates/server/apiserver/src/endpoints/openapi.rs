//! `/openapi/v3`, its documents with hashes in their addresses so that clients may keep them forever, and
//! `/openapi/v2` in JSON and protobuf.
//!
//! Documents are built when somebody first asks, and kept compressed: nearly every client takes them so, and the
//! others have them unpacked for each answer.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::sync::{Arc, LazyLock};

use aggregate::Remote;
use bytes::Bytes;
use descriptions::Descriptions;
use flate2::read::GzDecoder;
use http::{HeaderMap, Response, StatusCode, header};
use parking_lot::Mutex;
use registry::{Definition, Definitions, Served};
use schema::openapi;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::groups;
use super::plain::{TEXT, page_not_found};
use super::regeneration;
use super::swagger::{Base, Part};
use crate::answer::Answer;
use crate::encode::gzip;
use crate::http::body::Body;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Protobuf of version 2, as clients name it.
const SWAGGER_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const SWAGGER_PROTO_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const JSON: &str = "application/json";

/// A document, compressed, with the hash of its text.
pub(super) struct Packed {
    pub(super) gzip: Bytes,
    pub(super) hash: String,
}

impl Packed {
    fn new(text: Vec<u8>) -> Self {
        let hash = Sha512::digest(&text).iter().map(|b| format!("{b:02X}")).collect();
        Packed { gzip: gzip(Body::full(text)), hash }
    }

    pub(super) fn unpacked(&self) -> Bytes {
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
    Published { index: index(&documents, &[], &[]), documents }
});

/// The document that names all others with their hashes.
fn index(
    built_in: &BTreeMap<String, Packed>,
    custom: &[(String, Arc<Packed>)],
    remotes: &[Arc<Remote>],
) -> Bytes {
    let address = |path: &str, hash: &str| {
        (path.to_owned(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
    };
    let built_in = built_in.iter().map(|(path, packed)| address(path, &packed.hash));
    let custom = custom.iter().map(|(path, packed)| address(path, &packed.hash));
    let mut paths: serde_json::Map<String, Value> = built_in.chain(custom).collect();
    for remote in remotes {
        for (path, url) in &remote.documents().v3 {
            // What this server describes itself, nobody else does.
            let entry = paths.entry(path.clone());
            entry.or_insert_with(|| json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths }).to_string().into()
}

/// The documents of definitions, each kept for as long as its definitions stay what they are.
#[derive(Default)]
pub(crate) struct CustomDocuments {
    by_path: Mutex<HashMap<String, Kept<Arc<Packed>>>>,
    parts: Mutex<HashMap<String, Kept<Arc<Part>>>>,
    /// By path, what extension API servers say in version 2 only, and the same in version 3.
    upgraded: Mutex<HashMap<String, Upgraded>>,
    swagger: Mutex<Option<Merged>>,
}

/// A document of version 3, and the part of version 2 that it was made of.
struct Upgraded {
    of: Arc<Value>,
    made: Arc<Packed>,
}

/// Something made of definitions.
struct Kept<T> {
    of: Vec<Arc<Definition>>,
    made: T,
}

impl<T> Kept<T> {
    fn is_of(&self, served: &[Served]) -> bool {
        let same = |(a, b): (&Arc<Definition>, &Served)| {
            b.custom().is_some_and(|custom| Arc::ptr_eq(a, &custom.definition))
        };
        self.of.len() == served.len() && self.of.iter().zip(served).all(same)
    }
}

/// The document of version 2 with everything in it, and of what it was made.
struct Merged {
    kept: Kept<Arc<(Packed, Packed)>>,
    parts: Vec<Arc<Value>>,
}

impl Merged {
    fn is_of(&self, served: &[Served], parts: &[Arc<Value>]) -> bool {
        let same = |(a, b): (&Arc<Value>, &Arc<Value>)| Arc::ptr_eq(a, b);
        self.kept.is_of(served) && self.parts.len() == parts.len() && self.parts.iter().zip(parts).all(same)
    }
}

fn definitions_of(served: &[Served]) -> Vec<Arc<Definition>> {
    served.iter().filter_map(|served| Some(served.custom()?.definition.clone())).collect()
}

/// What OpenAPI says of kinds is made of their definitions.
fn kinds(served: &[Served]) -> Vec<openapi::Custom<'_>> {
    served
        .iter()
        .filter_map(|served| {
            let version = &served.resource().version;
            let spec = &served.custom()?.definition.spec;
            let version = spec.versions.iter().find(|v| v.name == version.as_ref())?;
            let schema = version.schema.as_ref()?.open_apiv3_schema.as_deref()?;
            Some(openapi::Custom {
                resource: served.resource(),
                schema,
                preserves: spec.preserve_unknown_fields,
            })
        })
        .collect()
}

impl CustomDocuments {
    /// The document of a group and version, named by its path.
    async fn document(&self, definitions: &Definitions, path: &str) -> Option<Arc<Packed>> {
        let (group, version) = path.strip_prefix("apis/")?.split_once('/')?;
        let served: Vec<Served> = definitions
            .of_group(group)
            .filter(|served| served.resource().version == version)
            .cloned()
            .collect();
        if served.is_empty() {
            if let Some(gone) = self.by_path.lock().remove(path) {
                regeneration::third(group, version, &gone.of, &[]);
            }
            return None;
        }
        if let Some(kept) = self.by_path.lock().get(path).filter(|kept| kept.is_of(&served)) {
            return Some(kept.made.clone());
        }
        let of = definitions_of(&served);
        let build = move || {
            let document = openapi::custom_document(&kinds(&served), &Descriptions::load());
            Arc::new(Packed::new(text(&document)))
        };
        let made = tokio::task::spawn_blocking(build).await.ok()?;
        let before = self.by_path.lock().insert(path.to_owned(), Kept { of: of.clone(), made: made.clone() });
        regeneration::third(group, version, before.as_ref().map_or(&[], |kept| &kept.of), &of);
        Some(made)
    }

    /// All documents of definitions.
    async fn documents(&self, definitions: &Definitions) -> Vec<(String, Arc<Packed>)> {
        let mut paths: Vec<String> = definitions
            .all()
            .map(|served| format!("apis/{}/{}", served.resource().group, served.resource().version))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        self.by_path.lock().retain(|path, _| paths.binary_search(path).is_ok());
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            if let Some(packed) = self.document(definitions, &path).await {
                found.push((path, packed));
            }
        }
        found
    }

    /// The document of an extension API server that speaks version 2 only.
    async fn upgraded(&self, remote: &Remote) -> Option<(String, Arc<Packed>)> {
        let documents = remote.documents();
        let part = documents.v2.as_ref().filter(|_| documents.v3.is_empty())?;
        if part["paths"].as_object().is_none_or(|paths| paths.is_empty()) {
            return None;
        }
        let path = format!("apis/{}/{}", remote.group, remote.version);
        if let Some(kept) = self.upgraded.lock().get(&path).filter(|kept| Arc::ptr_eq(&kept.of, part)) {
            return Some((path, kept.made.clone()));
        }
        let told = part.clone();
        let build = move || Arc::new(Packed::new(text(&aggregate::upgrade::document(&told))));
        let made = tokio::task::spawn_blocking(build).await.ok()?;
        self.upgraded.lock().insert(path.clone(), Upgraded { of: part.clone(), made: made.clone() });
        Some((path, made))
    }

    /// All documents of such servers.
    async fn all_upgraded(&self, remotes: &[Arc<Remote>]) -> Vec<(String, Arc<Packed>)> {
        let mut found = Vec::new();
        for remote in remotes {
            found.extend(self.upgraded(remote).await);
        }
        let kept = |path: &String| found.iter().any(|(found, _)| found == path);
        self.upgraded.lock().retain(|path, _| kept(path));
        found
    }

    /// The document of version 2 with all definitions and the parts of extension API servers, in JSON and protobuf.
    async fn swagger(
        &self,
        definitions: &Definitions,
        parts: Vec<Arc<Value>>,
    ) -> Option<Arc<(Packed, Packed)>> {
        let served: Vec<Served> = definitions.all().cloned().collect();
        if let Some(merged) = self.swagger.lock().as_ref().filter(|merged| merged.is_of(&served, &parts)) {
            return Some(merged.kept.made.clone());
        }
        let mut by_version: BTreeMap<String, Vec<Served>> = BTreeMap::new();
        for served in &served {
            let resource = served.resource();
            by_version
                .entry(format!("{}/{}", resource.group, resource.version))
                .or_default()
                .push(served.clone());
        }
        self.parts.lock().retain(|version, _| by_version.contains_key(version));
        let mut known = Vec::with_capacity(by_version.len());
        for (version, served) in by_version {
            let kept = self
                .parts
                .lock()
                .get(&version)
                .filter(|kept| kept.is_of(&served))
                .map(|kept| kept.made.clone());
            known.push((version, served, kept));
        }
        let merging = parts.clone();
        let build = move || {
            let about = LazyLock::<Descriptions>::new(Descriptions::load);
            let mut fresh = Vec::new();
            let all: Vec<Arc<Part>> = known
                .into_iter()
                .map(|(version, served, kept)| {
                    kept.unwrap_or_else(|| {
                        let part = Arc::new(Part::new(&openapi::swagger_part(&kinds(&served), &about)));
                        fresh.push((version, Kept { of: definitions_of(&served), made: part.clone() }));
                        part
                    })
                })
                .collect();
            (fresh, Arc::new(BASE.with(&all, &merging)))
        };
        let (fresh, made) = tokio::task::spawn_blocking(build).await.ok()?;
        self.parts.lock().extend(fresh);
        let of = definitions_of(&served);
        let merged = Merged { kept: Kept { of: of.clone(), made: made.clone() }, parts };
        let before = self.swagger.lock().replace(merged);
        regeneration::second(before.as_ref().map_or(&[], |merged| &merged.kept.of), &of);
        Some(made)
    }
}

static BASE: LazyLock<Base> = LazyLock::new(|| Base::new(&openapi::swagger(&Descriptions::load())));

static V2: LazyLock<(Packed, Packed)> = LazyLock::new(|| BASE.with(&[], &[]));

fn text(document: &Value) -> Vec<u8> {
    // A value's keys are strings: writing it cannot fail.
    serde_json::to_vec(document).unwrap_or_default()
}

/// Serves a path below `/openapi`.
pub(super) async fn serve(server: &Server, decoded: &Decoded, path: &str) -> Answer {
    match path.strip_prefix("/openapi/") {
        Some("v2") => swagger(server, decoded).await,
        Some("v3") => {
            built(&V3).await;
            let custom = server.openapi.documents(&server.registry.definitions()).await;
            let remotes = server.aggregator.remotes();
            let mut custom = custom;
            for (path, packed) in server.openapi.all_upgraded(&remotes).await {
                // What this server describes itself, nobody else does.
                if !V3.documents.contains_key(&path) && custom.iter().all(|(known, _)| *known != path) {
                    custom.push((path, packed));
                }
            }
            let index = match custom.is_empty() && remotes.is_empty() {
                true => V3.index.clone(),
                false => index(&V3.documents, &custom, &remotes),
            };
            let mut response = Response::new(Body::full(index));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TEXT));
            Answer::Raw(response)
        }
        Some(rest) if rest.starts_with("v3/") => {
            built(&V3).await;
            if let Some(packed) = V3.documents.get(&rest[3..]) {
                return third(decoded, packed);
            }
            let definitions = server.registry.definitions();
            let custom = server.openapi.document(&definitions, &rest[3..]).await;
            if let Some(packed) = custom {
                return third(decoded, &packed);
            }
            let remote = rest[3..].strip_prefix("apis/").and_then(|path| path.split_once('/'));
            let remote = remote.and_then(|(group, version)| server.aggregator.find(group, version));
            let Some(remote) = remote else { return empty(StatusCode::NOT_FOUND, false) };
            let upgraded = server.openapi.upgraded(&remote).await;
            upgraded
                .map_or_else(|| empty(StatusCode::NOT_FOUND, false), |(_, packed)| third(decoded, &packed))
        }
        _ => page_not_found(),
    }
}

/// A refusal of documents, which has no body.
fn empty(status: StatusCode, varies: bool) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if varies {
        vary(response.headers_mut());
    }
    Answer::Raw(response)
}

/// A document of version 3, in the one format that there is.
fn third(decoded: &Decoded, packed: &Packed) -> Answer {
    let takes = |clause: &str| {
        let media = clause.split(';').next().unwrap_or_default().trim();
        matches!(media, "" | "*/*" | "application/*" | JSON)
    };
    match decoded.header(header::ACCEPT).split(',').any(takes) {
        true => answer(decoded, packed, JSON),
        false => empty(StatusCode::NOT_ACCEPTABLE, true),
    }
}

/// The extension API server that describes a path of version 3 which nothing here does.
pub(super) fn describes(server: &Server, decoded: &Decoded) -> Option<Arc<Remote>> {
    let remotes = server.aggregator.remotes();
    let path = decoded.path.strip_prefix("/openapi/v3/").filter(|_| !remotes.is_empty())?;
    let rest = path.strip_prefix("apis/")?;
    let (group, version) =
        rest.split_once('/').map_or((rest, None), |(group, version)| (group, Some(version)));
    let definitions = server.registry.definitions();
    let mut of_group = definitions.of_group(group);
    if groups::is_built_in(group, version) || of_group.any(|s| Some(&*s.resource().version) == version) {
        return None;
    }
    remotes.into_iter().find(|remote| remote.documents().v3.contains_key(path))
}

/// Builds a document aside, so that other requests of this thread go on.
async fn built<T: Send + Sync + 'static>(document: &'static LazyLock<T>) {
    let force = tokio::task::spawn_blocking(|| {
        LazyLock::force(document);
    });
    // Should building have panicked, so does the use of the document, and this request fails alone.
    let _ = force.await;
}

async fn swagger(server: &Server, decoded: &Decoded) -> Answer {
    let definitions = server.registry.definitions();
    let remotes = server.aggregator.remotes();
    let parts: Vec<Arc<Value>> = remotes.iter().filter_map(|remote| remote.documents().v2.clone()).collect();
    let custom = match definitions.all().next().is_some() || !parts.is_empty() {
        true => server.openapi.swagger(&definitions, parts).await,
        false => None,
    };
    for clause in decoded.header(header::ACCEPT).split(',') {
        let media = clause.split(';').next().unwrap_or_default().trim();
        match media {
            SWAGGER_PROTO | SWAGGER_PROTO_OLD => {
                if let Some(custom) = &custom {
                    return answer(decoded, &custom.1, SWAGGER_PROTO);
                }
                built(&V2).await;
                return answer(decoded, &V2.1, SWAGGER_PROTO);
            }
            "" | "*/*" | "application/*" | JSON => {
                if let Some(custom) = &custom {
                    return answer(decoded, &custom.0, JSON);
                }
                built(&V2).await;
                return answer(decoded, &V2.0, JSON);
            }
            _ => {}
        }
    }
    empty(StatusCode::NOT_ACCEPTABLE, true)
}

fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, header::HeaderValue::from_static("Accept-Encoding"));
    headers.append(header::VARY, header::HeaderValue::from_static("Accept"));
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
    vary(headers);
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
