//! From an outcome to an HTTP response: choosing the representation and writing it.
//!
//! Stored objects are written from the bytes that the feed holds; a list is a gather of slices.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use meta::{Codec as _, Envelope, Object, Status};
use registry::{Listing, Outcome, Stored, errors};

use crate::encode;
use crate::endpoints::{groups, internal_type};
use crate::http::body::Body;
use crate::http::media::{Accepted, Format, OBJECTS, Offer, STREAMS, Shape, accept};
use crate::metrics::WatchMetrics;
use crate::pipeline::Decoded;
use crate::server::Shared;
use crate::table::Include;

/// What a handler answers.
pub(crate) enum Answer {
    /// A resource's outcome, with texts for Warning headers.
    Outcome(Outcome, Vec<String>),
    /// A refusal.
    Refused(Status),
    /// A refusal, with texts for Warning headers.
    RefusedWith(Status, Vec<String>),
    /// A document of discovery, in whatever format the client accepts.
    Document(Document),
    /// Plain text.
    Text(StatusCode, &'static str, Bytes),
    /// Anything else.
    Raw(Response<Body>),
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Answer::Refused(status)
    }
}

impl Answer {
    /// The Status of a refusal.
    pub(crate) fn refusal(&self) -> Option<&Status> {
        match self {
            Answer::Refused(status) | Answer::RefusedWith(status, _) => Some(status),
            _ => None,
        }
    }
}

/// A document of discovery.
pub(crate) struct Document {
    /// As JSON.
    pub json: Bytes,
    /// In the aggregated form.
    pub aggregated: bool,
    /// Headers that tell clients how long it is good for.
    pub headers: http::HeaderMap,
    /// Its protobuf form.
    pub proto: fn(&[u8]) -> Bytes,
}

/// What of the request decides how its answer is written.
pub(crate) struct Writer {
    accept: String,
    pretty: bool,
    /// The request is about custom resources, which have no protobuf form of their own.
    custom: bool,
    gzip: bool,
    include_object: Result<Include, String>,
    audit_id: String,
    /// When the request came.
    begun: Instant,
    /// What its path narrows it to, for what is measured of watches.
    scope: &'static str,
}

impl Writer {
    pub(crate) fn new(decoded: &Decoded, audit_id: String, begun: Instant) -> Self {
        let agent = decoded.header(header::USER_AGENT);
        let pretty = match decoded.query.get("pretty") {
            Some(_) => decoded.query.flag("pretty"),
            None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|p| agent.starts_with(p)),
        };
        let encodings = decoded.header(header::ACCEPT_ENCODING);
        Writer {
            accept: decoded.header(header::ACCEPT).to_owned(),
            pretty,
            custom: is_custom(decoded),
            gzip: encodings.split(',').any(|e| e.trim().split(';').next() == Some("gzip")),
            include_object: Include::parse(decoded.query.get("includeObject")),
            audit_id,
            begun,
            scope: crate::metrics::scope(decoded),
        }
    }

    fn accepted(&self, offer: Offer) -> Result<Accepted, Status> {
        let offer = Offer { protobuf: offer.protobuf && !self.custom, ..offer };
        accept(&self.accept, offer, self.pretty).ok_or_else(|| not_acceptable(offer))
    }

    /// What the rows of a table carry; only tables care whether that was said right.
    fn include(&self, accepted: Accepted) -> Result<Include, Status> {
        match &self.include_object {
            Ok(include) => Ok(*include),
            Err(_) if accepted.shape != Shape::Table => Ok(Include::Metadata),
            Err(text) => Err(errors::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {text:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// Whether a request is about resources of a group that is not built in.
fn is_custom(decoded: &Decoded) -> bool {
    let info = &decoded.info;
    info.is_resource && !info.group.is_empty() && !groups::is_built_in(&info.group, None)
}

/// The refusal of a request that accepts no form there is.
pub(crate) fn not_acceptable(offer: Offer) -> Status {
    let types: &[&str] = if offer.stream { &STREAMS } else { &OBJECTS };
    Status::failure(
        406,
        meta::reason::NOT_ACCEPTABLE,
        format!("only the following media types are accepted: {}", types.join(", ")),
    )
}

/// The refusal of bare metadata in the form for the other number of objects.
fn not_that_many(wanted: &str, kind: &meta::GroupVersionKind, list: bool) -> Status {
    let (is, list) = if list { ("a list", "List") } else { ("not a list", "") };
    let name = internal_type(&kind.group, &kind.kind);
    let why = format!("you requested {wanted}, but the requested object is {is} (*{name}{list})");
    errors::failure(406, meta::reason::NOT_ACCEPTABLE, why)
}

/// Writes an answer. Whatever cannot be written as the client wants becomes a refusal that can.
pub(crate) fn write(answer: Answer, writer: &Writer, shared: &Shared) -> Response<Body> {
    let (result, warnings) = match answer {
        Answer::Raw(mut response) => {
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                finish(&mut response, &[], writer);
            }
            return response;
        }
        Answer::Text(status, kind, text) => {
            let mut response = Response::new(Body::full(text));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            if kind == crate::endpoints::TEXT {
                let nosniff = HeaderValue::from_static("nosniff");
                response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
            }
            finish(&mut response, &[], writer);
            return response;
        }
        Answer::Document(made) => (document(made, writer), Vec::new()),
        Answer::Refused(status) => (Err(status), Vec::new()),
        Answer::RefusedWith(status, warnings) => (Err(status), warnings),
        Answer::Outcome(outcome, warnings) => (outcome_response(outcome, writer, shared), warnings),
    };
    let mut response = result.unwrap_or_else(|status| refused(&status, writer));
    finish(&mut response, &warnings, writer);
    response
}

fn finish(response: &mut Response<Body>, warnings: &[String], writer: &Writer) {
    let headers = response.headers_mut();
    for text in told(warnings) {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        // Any text but control characters may travel, ASCII or not.
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{escaped}\"").as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
    if let Ok(mut id) = HeaderValue::from_str(&writer.audit_id) {
        // No two are equal: HTTP/2's table of headers would only fill with them, and be searched through.
        id.set_sensitive(true);
        headers.insert("audit-id", id);
    }
    let caching = HeaderValue::from_static("no-cache, private");
    headers.entry(header::CACHE_CONTROL).or_insert(caching);
}

/// The warnings as clients get them (upstream's `filters/warning.go`): each text once, and where all of them are too long
/// each is cut and the last ones are left out.
fn told(warnings: &[String]) -> Vec<&str> {
    const ALL_CHARS_MAX: usize = 4 * 1024;
    const ONE_CHARS_MAX: usize = 256;
    let mut seen = HashSet::new();
    // What has control characters cannot be told.
    let tellable = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
    let texts = warnings.iter().map(String::as_str).filter(tellable);
    let mut texts: Vec<&str> = texts.filter(|text| seen.insert(*text)).collect();
    let length = |texts: &[&str]| texts.iter().map(|text| text.chars().count()).sum::<usize>();
    if length(&texts) <= ALL_CHARS_MAX {
        return texts;
    }
    for text in &mut texts {
        let end = text.char_indices().nth(ONE_CHARS_MAX).map_or(text.len(), |(end, _)| end);
        *text = &text[..end];
    }
    let mut told = 0;
    texts.retain(|text| {
        let fits = told < ALL_CHARS_MAX;
        told += text.chars().count();
        fits
    });
    texts
}

fn respond(code: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// Writes a refusal in the client's format, or in JSON for people to read when that cannot be.
fn refused(status: &Status, writer: &Writer) -> Response<Body> {
    let accepted = accept(&writer.accept, Offer::PLAIN, writer.pretty);
    let format = accepted.map_or(Format::Json, |a| a.format);
    let pretty = accepted.is_none_or(|a| a.pretty);
    let code = u16::try_from(status.code).ok().filter(|c| *c >= 100).unwrap_or(500);
    let body = encode::value(&status.to_json(), format, pretty, || {
        proto_envelope("v1", "Status", &status.to_proto())
    });
    let mut response = respond(code, format.name(), Body::full(body));
    if code == 401 && !writer.accept.is_empty() {
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
    }
    let wait = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if wait > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

fn document(document: Document, writer: &Writer) -> Result<Response<Body>, Status> {
    let offer = if document.aggregated { Offer::DISCOVERY } else { Offer::PLAIN };
    let accepted = writer.accepted(offer)?;
    let proto = || (document.proto)(&document.json);
    let body = encode::value(&document.json, accepted.format, accepted.pretty, proto);
    let kind = match document.aggregated {
        true => format!("{};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", accepted.format.name()),
        false => accepted.format.name().to_owned(),
    };
    let mut response = respond(200, &kind, Body::full(body));
    response.headers_mut().extend(document.headers);
    Ok(compressed(response, writer))
}

pub(crate) fn proto_envelope(api_version: &str, kind: &str, raw: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(raw.len() + 64);
    Envelope::encode(api_version, kind, raw, &mut out);
    out.into()
}

fn outcome_response(outcome: Outcome, writer: &Writer, shared: &Shared) -> Result<Response<Body>, Status> {
    match outcome {
        Outcome::Stored(stored) => stored_response(&stored, 200, writer),
        Outcome::Created(stored) => stored_response(&stored, 201, writer),
        Outcome::Made(object, code) => made_response(&*object, code, writer),
        Outcome::List(listing) => list_response(listing, writer),
        Outcome::Done(status, code) => {
            let accepted = writer.accepted(Offer::OBJECT)?;
            let proto = || proto_envelope("v1", "Status", &status.to_proto());
            let body = encode::value(&status.to_json(), accepted.format, accepted.pretty, proto);
            Ok(respond(code, accepted.format.name(), Body::full(body)))
        }
        Outcome::Watch(watching) => {
            let offer = Offer { stream: true, ..Offer::OBJECT };
            let accepted = writer.accepted(offer)?;
            let measured = WatchMetrics::new(&watching.served, writer.scope, writer.begun);
            Ok(crate::watching::respond(*watching, accepted, writer.include(accepted)?, measured, shared))
        }
    }
}

fn stored_response(stored: &Stored, code: u16, writer: &Writer) -> Result<Response<Body>, Status> {
    let accepted = writer.accepted(Offer::OBJECT)?;
    let body = match (accepted.shape, accepted.format) {
        (Shape::Object, Format::Json) if !accepted.pretty => {
            let parts = Body::parts(VecDeque::from([stored.json(), Bytes::from_static(b"\n")]));
            return Ok(compressed(respond(code, accepted.format.name(), parts), writer));
        }
        (Shape::Object, Format::Protobuf) => {
            let served = stored.served();
            proto_envelope(&served.api_version(), &served.resource().kind, &stored.protobuf())
        }
        (Shape::Object, format) => encode::value(&stored.json(), format, accepted.pretty, Bytes::new),
        (Shape::MetadataList, _) => {
            let kind = stored.served().resource().gvk();
            return Err(not_that_many("PartialObjectMetadataList", &kind, false));
        }
        _ => encode::shaped(Some(stored.served()), &**stored.object(), accepted, writer.include(accepted)?),
    };
    Ok(compressed(respond(code, accepted.format.name(), Body::full(body)), writer))
}

/// Whether the kinds of a group are questions, of which there is nothing to show in columns.
pub(crate) fn is_review(group: &str) -> bool {
    matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
}

fn made_response(object: &dyn Object, code: u16, writer: &Writer) -> Result<Response<Body>, Status> {
    let reviewed = is_review(&object.group_version_kind().group);
    let accepted = writer.accepted(if reviewed { Offer::UNTABLED } else { Offer::OBJECT })?;
    let body = match accepted.shape {
        Shape::Object => {
            let gvk = object.group_version_kind();
            let mut json = Vec::with_capacity(1024);
            object.encode_json(&mut json);
            encode::value(&json, accepted.format, accepted.pretty, || {
                let mut raw = Vec::new();
                object.encode_proto(&mut raw);
                proto_envelope(&gvk.api_version(), &gvk.kind, &raw)
            })
        }
        Shape::MetadataList => {
            let kind = object.group_version_kind();
            return Err(not_that_many("PartialObjectMetadataList", &kind, false));
        }
        _ => encode::shaped(None, object, accepted, writer.include(accepted)?),
    };
    Ok(respond(code, accepted.format.name(), Body::full(body)))
}

fn list_response(listing: Listing, writer: &Writer) -> Result<Response<Body>, Status> {
    let accepted = writer.accepted(Offer::OBJECT)?;
    let body = match (accepted.shape, accepted.format) {
        (Shape::Object, Format::Json) if !accepted.pretty => Body::parts(json_list(&listing)),
        (Shape::Object, Format::Protobuf) => Body::parts(encode::proto_list(&listing)),
        (Shape::Object, format) => {
            let json = Body::parts(json_list(&listing)).gather();
            Body::full(encode::value(&json, format, accepted.pretty, Bytes::new))
        }
        (Shape::Metadata, _) => {
            return Err(not_that_many("PartialObjectMetadata", &listing.served.resource().gvk(), true));
        }
        _ => Body::full(encode::shaped_list(&listing, accepted, writer.include(accepted)?)),
    };
    Ok(compressed(respond(200, accepted.format.name(), body), writer))
}

/// The list as slices: a head, each item's own bytes between separators, a tail.
pub(crate) fn json_list(listing: &Listing) -> VecDeque<Bytes> {
    let mut head = BytesMut::with_capacity(256);
    head.put_slice(encode::list_head(listing).as_bytes());
    head.put_slice(b",\"items\":[");
    let mut parts = VecDeque::with_capacity(listing.items.len() * 2 + 2);
    parts.push_back(head.freeze());
    let (first, next) = (Bytes::from_static(b"{"), Bytes::from_static(b",{"));
    for (index, item) in listing.items.iter().enumerate() {
        parts.push_back(if index == 0 { first.clone() } else { next.clone() });
        parts.push_back(item.item_json());
    }
    parts.push_back(Bytes::from_static(b"]}\n"));
    parts
}

/// Bodies from this size on are compressed for clients that take gzip (upstream's threshold).
const GZIP_BYTES_MIN: usize = 128 << 10;

fn compressed(response: Response<Body>, writer: &Writer) -> Response<Body> {
    if !writer.gzip || response.body().length().is_none_or(|length| length < GZIP_BYTES_MIN) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, Body::full(encode::gzip(body)))
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn warnings_are_told_once_and_not_without_end() {
        let texts = |warnings: &[&str]| -> Vec<String> { warnings.iter().map(ToString::to_string).collect() };
        assert_eq!(told(&texts(&["a", "b", "a", "", "t\tt", "ä"])), ["a", "b", "ä"]);
        let many: Vec<String> = (0..100).map(|n| format!("{n:03}{}", "ü".repeat(500))).collect();
        let cut = told(&many);
        assert_eq!(cut.len(), 16, "4,096 characters at 256 each");
        assert!(cut.iter().all(|text| text.chars().count() == 256));
    }
}
