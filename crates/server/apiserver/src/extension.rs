//! Calls of components of this process about what an extension API server serves: sent on as JSON, with the component as the
//! user. These are what ending a namespace takes: reading, listing and deleting.

use std::time::Duration;

use aggregate::Remote;
use aggregate::identity::assert_user;
use authz::Authorized;
use bytes::Bytes;
use call::{Action, Call, DeleteOptions, DryRun, ListOptions, Reply};
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use meta::{Codec as _, Object, Status, Str};
use registry::errors;
use scheme::Unstructured;
use serde_json::{Value, json};

use crate::server::Server;

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Makes the call.
pub(crate) async fn perform(
    server: &Server,
    authorized: &Authorized,
    call: &Call,
    remote: &Remote,
) -> Result<Reply, Status> {
    let unavailable = |why: &dyn std::fmt::Display| {
        errors::failure(
            503,
            meta::reason::SERVICE_UNAVAILABLE,
            format!("error trying to reach service: {why}"),
        )
    };
    let (method, body) = match &call.action {
        Action::Get { .. } | Action::List(_) => (Method::GET, Bytes::new()),
        Action::Delete(options) | Action::DeleteCollection(_, options) => (Method::DELETE, deletion(options)),
        Action::Create(..) | Action::Update(..) | Action::Patch(..) | Action::Watch(_) => {
            return Err(errors::method_not_allowed());
        }
    };
    let (link, address) = remote.route(&server.env.random).map_err(|why| unavailable(&why))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    let headers = request.headers_mut();
    assert_user(headers, authorized.user()).map_err(|why| unavailable(&why))?;
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let channel = link.channel().map_err(|why| unavailable(&why))?;
    let path = path(call);
    let exchange = channel.ask(&address, &path, request, ANSWER_BYTES_MAX);
    let answer = tokio::time::timeout(TIMEOUT, exchange).await;
    let answer = answer.map_err(|_| unavailable(&"request timed out"))?.map_err(|why| unavailable(&why))?;
    match answer.status() {
        status if status.is_success() => read(call, answer.body()),
        status => Err(refusal(status, answer.body())),
    }
}

/// Path and query of the call.
fn path(call: &Call) -> String {
    let target = &call.target;
    let mut path = match target.group.as_str() {
        "" => format!("/api/{}", target.version),
        group => format!("/apis/{group}/{}", target.version),
    };
    let mut add = |part: &str| path.extend(["/", &escaped(part)]);
    if !target.namespace.is_empty() {
        add("namespaces");
        add(&target.namespace);
    }
    [&target.resource, &target.name, &target.subresource]
        .into_iter()
        .filter(|part| !part.is_empty())
        .for_each(|p| add(p));
    if let Action::List(options) | Action::DeleteCollection(options, _) = &call.action {
        let query = query(options);
        if !query.is_empty() {
            path.extend(["?", &query]);
        }
    }
    path
}

fn query(options: &ListOptions) -> String {
    let limit = if options.limit > 0 { options.limit.to_string() } else { String::new() };
    let parts: [(&str, &str); 5] = [
        ("labelSelector", &options.label_selector),
        ("fieldSelector", &options.field_selector),
        ("resourceVersion", &options.resource_version),
        ("limit", &limit),
        ("continue", &options.continue_token),
    ];
    let said = parts.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(key, value)| format!("{key}={}", escaped(value))).collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let byte = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

fn deletion(options: &DeleteOptions) -> Bytes {
    let mut body = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
    let required = &options.precondition;
    let policy = Some(&options.propagation_policy).filter(|policy| !policy.is_empty());
    let texts = [
        ("/propagationPolicy", policy),
        ("/preconditions/uid", required.uid.as_ref()),
        ("/preconditions/resourceVersion", required.resource_version.as_ref()),
    ];
    for (at, text) in texts {
        let Some(text) = text else { continue };
        match at.rsplit_once('/') {
            Some(("/preconditions", field)) => body["preconditions"][field] = text.as_str().into(),
            _ => body[&at[1..]] = text.as_str().into(),
        }
    }
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(orphan) = options.orphan_dependents {
        body["orphanDependents"] = orphan.into();
    }
    if options.dry_run == DryRun::All {
        body["dryRun"] = json!(["All"]);
    }
    body.to_string().into()
}

fn read(call: &Call, body: &[u8]) -> Result<Reply, Status> {
    let garbage = |why: &dyn std::fmt::Display| errors::internal(format!("the answer cannot be read: {why}"));
    let document: Value = serde_json::from_slice(body).map_err(|why| garbage(&why))?;
    let object = |value: &Value| -> Result<std::sync::Arc<dyn Object>, Status> {
        Ok(std::sync::Arc::new(Unstructured::from_value(value).map_err(|why| garbage(&why))?))
    };
    match &call.action {
        Action::List(_) => {
            let metadata = &document["metadata"];
            let text = |field: &str| metadata[field].as_str().unwrap_or_default();
            Ok(Reply::List {
                items: document["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(object)
                    .collect::<Result<_, _>>()?,
                resource_version: text("resourceVersion").parse().unwrap_or(0),
                continue_token: Str::from(text("continue")),
                remaining: metadata["remainingItemCount"].as_i64(),
            })
        }
        Action::DeleteCollection(..) => Ok(Reply::Done(Status::success())),
        _ if document["kind"] == "Status" => Ok(Reply::Done(Status::success())),
        _ => Ok(Reply::Object(object(&document)?)),
    }
}

/// What the server refused with, or the closest to it.
fn refusal(code: StatusCode, body: &[u8]) -> Status {
    let code = i32::from(code.as_u16());
    if let Ok(status) = Status::from_json(body)
        && status.code == code
    {
        return status;
    }
    let reason = match code {
        401 => meta::reason::UNAUTHORIZED,
        403 => meta::reason::FORBIDDEN,
        404 => meta::reason::NOT_FOUND,
        405 => meta::reason::METHOD_NOT_ALLOWED,
        409 => meta::reason::CONFLICT,
        429 => meta::reason::TOO_MANY_REQUESTS,
        503 => meta::reason::SERVICE_UNAVAILABLE,
        500.. => meta::reason::INTERNAL_ERROR,
        _ => "Unknown",
    };
    let text: String = String::from_utf8_lossy(body).trim().chars().take(1024).collect();
    errors::failure(code, reason, if text.is_empty() { format!("the server answered {code}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::Target;

    fn target(group: &str, name: &str) -> Target {
        Target {
            group: group.into(),
            version: "v1".into(),
            resource: "things".into(),
            namespace: "web".into(),
            name: name.into(),
            subresource: Str::new(),
        }
    }

    #[test]
    fn calls_become_requests() {
        let selected = ListOptions { label_selector: "a=b,c".into(), limit: 5, ..ListOptions::default() };
        for (target, action, want) in [
            (
                target("g.io", ""),
                Action::List(selected),
                "/apis/g.io/v1/namespaces/web/things?labelSelector=a%3Db%2Cc&limit=5",
            ),
            (
                target("g.io", "a"),
                Action::Delete(DeleteOptions::default()),
                "/apis/g.io/v1/namespaces/web/things/a",
            ),
            (
                target("", "../b"),
                Action::Get { resource_version: Str::new() },
                "/api/v1/namespaces/web/things/..%2Fb",
            ),
        ] {
            assert_eq!(path(&Call { target, action }), want);
        }
        let mut options =
            DeleteOptions { propagation_policy: "Background".into(), ..DeleteOptions::default() };
        options.precondition.uid = Some("u".into());
        let body: Value = serde_json::from_slice(&deletion(&options)).expect("written here");
        let want = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "preconditions": { "uid": "u" } });
        assert_eq!(body, want);
    }

    #[test]
    fn answers_are_read_whatever_they_are() {
        let call = |action| Call { target: target("g.io", ""), action };
        let list = call(Action::List(ListOptions::default()));
        let document =
            br#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a","finalizers":["f"]}}]}"#;
        let Ok(Reply::List { items, resource_version, .. }) = read(&list, document) else {
            panic!("no list")
        };
        assert_eq!((items[0].meta().finalizers.len(), resource_version), (1, 7));
        for garbage in [&b"\xff"[..], b"{", b"{\"items\":[3]}"] {
            assert!(read(&list, garbage).is_err());
        }
        let told = refusal(
            StatusCode::FORBIDDEN,
            br#"{"kind":"Status","code":403,"reason":"Forbidden","message":"no"}"#,
        );
        assert_eq!((told.code, told.message.as_str()), (403, "no"));
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"").message, "the server answered 502");
    }
}
