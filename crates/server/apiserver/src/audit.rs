//! Where the pipeline tells the audit log: at the start of a request, when its body is understood, and at its end.
//!
//! Without a policy, or where it says that nothing is told, a request has no record and every function here returns at
//! once.

use std::sync::Arc;

use audit::{Asked, Record, Stage};
use authn::User;
use authz::Attributes;
use call::{Action, Call};
use futures::StreamExt;
use http::Response;
use meta::{Codec as _, Object, Status};
use registry::Outcome;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::pipeline::Decoded;
use crate::serve::listen::Connection;
use crate::server::Server;

/// The record of a request that came over HTTP, if it is to have one.
pub(crate) fn begin(
    server: &Server,
    connection: &Connection,
    decoded: &Decoded,
    user: &User,
) -> Option<Arc<Record>> {
    let auditor = server.audit.as_ref()?;
    let attributes = decoded.attributes();
    let asked = Asked {
        id: &decoded.audit_id,
        uri: decoded.uri.as_ref().map_or("", http::uri::PathAndQuery::as_str),
        user,
        impersonated: None,
        source_ips: &source_ips(connection, decoded),
        user_agent: decoded.header(http::header::USER_AGENT),
        attributes: &attributes,
    };
    auditor.begin(&asked).map(Arc::new)
}

/// What admission has to say.
pub(crate) fn notes(record: &Record, notes: &admission::Notes) {
    for note in notes.take_annotations() {
        if !note.with_request || record.wants_request() {
            record.annotate(&note.key, note.value);
        }
    }
}

/// The record of a call inside this process, if it is to have one.
pub(crate) fn begin_inside(
    server: &Server,
    user: &User,
    attributes: &Attributes,
    call: &Call,
) -> Option<Record> {
    let auditor = server.audit.as_ref()?;
    let (id, uri) = (server.next_audit_id(), call.target.path());
    let source_ips = [server.address.ip().to_string()];
    let user_agent = crate::transport::component(&user.name);
    auditor.begin(&Asked {
        id: &id,
        uri: &uri,
        user,
        impersonated: None,
        source_ips: &source_ips,
        user_agent,
        attributes,
    })
}

/// By which credentials somebody tried to be known whom none of them named.
pub(crate) fn attempted(connection: &Connection, decoded: &Decoded) -> String {
    let authorization = decoded.header(http::header::AUTHORIZATION).trim();
    let scheme = authorization.split_once(' ').map(|(scheme, _)| scheme.to_lowercase());
    let token = decoded.query.get("access_token").is_some_and(|token| !token.trim().is_empty());
    let tried = [
        (scheme.as_deref() == Some("basic"), "basic"),
        (scheme.as_deref() == Some("bearer"), "bearer"),
        (token, "access_token"),
        (connection.shows_certificate(), "x509"),
    ];
    let tried: Vec<&str> = tried.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    match tried[..] {
        [] => "Authentication failed, no credentials provided".to_owned(),
        _ => format!("Authentication failed, attempted: {}", tried.join(", ")),
    }
}

/// Tells that nobody was named: one event, when the answer begins.
pub(crate) async fn refuse(record: &Arc<Record>, response: Response<Body>) -> Response<Body> {
    record.tell(Stage::ResponseStarted).await;
    response
}

/// Addresses that the request came by: those that proxies tell, then the connection's own.
fn source_ips(connection: &Connection, decoded: &Decoded) -> Vec<String> {
    let told = decoded.header("x-forwarded-for").split(',').map(str::trim);
    let told = told.chain([decoded.header("x-real-ip").trim()]);
    let own = connection.peer.ip().to_canonical();
    let mut addresses: Vec<std::net::IpAddr> = told.filter_map(|text| text.parse().ok()).collect();
    addresses.push(own);
    addresses.dedup();
    addresses.iter().map(ToString::to_string).collect()
}

/// What the authorizer said.
pub(crate) fn decision(record: Option<&Record>, allowed: bool, reason: &str) {
    let Some(record) = record else { return };
    record.annotate("authorization.k8s.io/decision", if allowed { "allow" } else { "forbid" });
    record.annotate("authorization.k8s.io/reason", reason);
}

/// What was sent.
pub(crate) fn request(record: Option<&Record>, call: &Call) {
    let Some(record) = record else { return };
    match &call.action {
        Action::Create(object, _) | Action::Update(object, _) => {
            if !object.meta().name.is_empty() {
                record.object_name(&object.meta().name);
            }
            if record.wants_request() {
                record.request_object(&encoded(&**object));
            }
        }
        Action::Patch(_, document, _) if record.wants_request() => record.request_object(document),
        _ => {}
    }
}

/// What is answered. A refusal is told by [`end`].
pub(crate) fn response(record: Option<&Record>, outcome: &Outcome) {
    let Some(record) = record.filter(|record| record.wants_response()) else { return };
    match outcome {
        Outcome::Stored(stored) | Outcome::Created(stored) => {
            record.response_object(&encoded(&**stored.object()));
        }
        Outcome::Made(object, _) => record.response_object(&encoded(&**object)),
        Outcome::Done(status, _) => record.response_object(&status.to_json()),
        Outcome::List(list) => {
            let item = |object: &dyn Object| serde_json::from_slice::<Value>(&encoded(object)).ok();
            let items: Vec<Value> = list.items.iter().filter_map(|i| item(&**i.object())).collect();
            let resource = list.served.resource();
            let version = match &*resource.group {
                "" => resource.version.to_string(),
                group => format!("{group}/{}", resource.version),
            };
            let whole = json!({
                "kind": format!("{}List", resource.kind),
                "apiVersion": version,
                "metadata": { "resourceVersion": list.revision.to_string() },
                "items": items,
            });
            record.response_object(whole.to_string().as_bytes());
        }
        Outcome::Watch(_) => {}
    }
}

fn encoded(object: &dyn Object) -> Vec<u8> {
    let mut json = Vec::new();
    object.encode_json(&mut json);
    json
}

/// Tells the end: of a long-running request once its stream ends, of any other now.
pub(crate) async fn end(
    record: &Arc<Record>,
    mut response: Response<Body>,
    refusal: Option<&Status>,
    long_running: bool,
) -> Response<Body> {
    record.status(response.status().as_u16(), refusal);
    if let Some(refusal) = refusal.filter(|_| record.wants_response()) {
        record.response_object(&refusal.to_json());
    }
    if !long_running {
        record.tell(Stage::ResponseComplete).await;
        return response;
    }
    record.tell(Stage::ResponseStarted).await;
    let told = AtEnd(record.clone());
    let body = std::mem::replace(response.body_mut(), Body::empty());
    *response.body_mut() = match body {
        Body::Stream(stream) => Body::stream(stream.map(move |bytes| {
            let _ = &told;
            bytes
        })),
        Body::Relay(stream) => Body::Relay(Box::pin(stream.map(move |bytes| {
            let _ = &told;
            bytes
        }))),
        whole => whole,
    };
    response
}

/// Tells the end of a stream, however it comes.
struct AtEnd(Arc<Record>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.tell_soon(Stage::ResponseComplete);
    }
}

/// What came of a call inside this process; [`end_inside`] tells it.
pub(crate) fn answered(record: Option<&Record>, result: Result<&Outcome, &Status>) {
    let Some(record) = record else { return };
    match result {
        Ok(outcome) => {
            response(Some(record), outcome);
            let code = match outcome {
                Outcome::Created(_) => 201,
                Outcome::Made(_, code) | Outcome::Done(_, code) => *code,
                _ => 200,
            };
            record.status(code, None);
        }
        Err(status) => record.status(u16::try_from(status.code).unwrap_or(500), Some(status)),
    }
}

/// What came of a call inside this process that an extension API server answered.
pub(crate) fn relayed(record: Option<&Record>, refused: Option<&Status>) {
    let code = refused.map_or(200, |status| u16::try_from(status.code).unwrap_or(500));
    if let Some(record) = record {
        record.status(code, refused);
    }
}

/// Tells the end of a call inside this process.
pub(crate) async fn end_inside(record: Option<&Record>) {
    if let Some(record) = record {
        record.tell(Stage::ResponseComplete).await;
    }
}
