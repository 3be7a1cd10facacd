//! Logs, exec, attach and port-forward: forwarded to the kubelet of the pod's node.

use std::sync::Arc;

use authz::Authorized;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use meta::{BadValue, FieldError, FieldErrorKind, Status};
use registry::{Served, errors};
use telemetry::Counter;
use types::core::v1::{Node, Pod};

use super::backend::{Backend, BackendError};
use crate::answer::Answer;
use crate::http::body::Body;
use crate::http::query::Query;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Kinds of node addresses, the preferred first.
const ADDRESS_ORDER: [&str; 5] = ["InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS"];
/// The kubelet's port, unless the node says otherwise.
const KUBELET_PORT: u16 = 10250;

async fn pod(server: &Server, decoded: &Decoded) -> Result<Arc<Pod>, Status> {
    let info = &decoded.info;
    let served = Served::find("", "v1", "pods").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, &info.namespace, &info.name).await?;
    let found = found.and_then(|stored| meta::downcast::<Pod>(stored.object().clone()));
    found.ok_or_else(|| errors::not_found("", "pods", &info.name))
}

/// Where a node's kubelet listens.
pub(crate) async fn backend(server: &Server, name: &str) -> Result<Backend, Status> {
    let served = Served::find("", "v1", "nodes").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, "", name).await?;
    let node = found.and_then(|stored| meta::downcast::<Node>(stored.object().clone()));
    let node = node.ok_or_else(|| errors::not_found("", "nodes", name))?;
    let address = ADDRESS_ORDER
        .iter()
        .find_map(|kind| node.status.addresses.iter().find(|a| a.type_ == *kind && !a.address.is_empty()))
        .ok_or_else(|| {
            let known: Vec<String> =
                node.status.addresses.iter().map(|a| format!("{{{} {}}}", a.type_, a.address)).collect();
            errors::bare(format!("no preferred addresses found; known addresses: [{}]", known.join(" ")))
        })?;
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    let port = u16::try_from(port).ok().filter(|p| *p != 0).unwrap_or(KUBELET_PORT);
    let tls = server.kubelet_client.as_ref().map(|client| client.config());
    let Some(tls) = tls else {
        return Err(Status::service_unavailable("this server has no client certificate for kubelets"));
    };
    Ok(Backend { host: address.address.to_string(), port, tls: Some(tls), name: None })
}

/// The container that a request means: the named one, or the only regular one. Annotations are for clients to read.
fn container(pod: &Pod, wanted: &str) -> Result<String, Status> {
    let spec = &pod.spec;
    let init = spec.init_containers.iter().map(|c| c.name.as_str());
    let regular = init.chain(spec.containers.iter().map(|c| c.name.as_str()));
    let names: Vec<&str> = regular.chain(spec.ephemeral_containers.iter().map(|c| c.name.as_str())).collect();
    let pod_name = &pod.metadata.name;
    if !wanted.is_empty() {
        return if names.contains(&wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(errors::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
        };
    }
    match &spec.containers[..] {
        [one] => Ok(one.name.to_string()),
        [] => Err(errors::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        _ => Err(errors::bad_request(format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            names.join(" ")
        ))),
    }
}

/// Parameters of the log subresource must be sensible before anybody is asked.
fn check_log(query: &Query, pod: &str) -> Result<(), Status> {
    let mut problems = Vec::new();
    for (field, least) in [("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1)] {
        let Some(value) = query.integer(field).map_err(errors::bad_request)? else { continue };
        if value < least {
            let detail = match least {
                0 => "must be greater than or equal to 0",
                _ => "must be greater than 0",
            };
            problems.push(FieldError {
                kind: FieldErrorKind::Invalid,
                field: field.into(),
                value: BadValue::Plain(value.to_string()),
                detail: detail.into(),
            });
        }
    }
    if query.has("sinceSeconds") && query.has("sinceTime") {
        problems.push(FieldError {
            kind: FieldErrorKind::Forbidden,
            field: "[]".into(),
            value: BadValue::Omitted,
            detail: "at most one of `sinceTime` or `sinceSeconds` may be specified".into(),
        });
    }
    if problems.is_empty() { Ok(()) } else { Err(errors::invalid("", "PodLogOptions", pod, problems)) }
}

fn query_of(decoded: &Decoded, names: &[&str]) -> String {
    let pairs: Vec<String> = decoded
        .query
        .iter()
        .filter(|(key, _)| names.contains(key))
        .map(|(key, value)| format!("{key}={}", encode(value)))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// Percent-encodes a query value or a path segment.
pub(crate) fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// `pods/log`.
pub(crate) async fn log(
    server: &Server,
    _: &Authorized,
    decoded: &Decoded,
    mut request: Request<Incoming>,
) -> Result<Answer, Status> {
    server.metrics.logs.iter().for_each(Counter::inc);
    let pod = pod(server, decoded).await?;
    check_log(&decoded.query, &pod.metadata.name)?;
    let container = container(&pod, decoded.query.get("container").unwrap_or_default())?;
    if pod.spec.node_name.is_empty() {
        // Nothing ran yet, so there is nothing to read; upstream answers an empty body.
        return Ok(Answer::Raw(no_content()));
    }
    let backend = backend(server, &pod.spec.node_name).await?;
    let names = [
        "follow",
        "previous",
        "sinceSeconds",
        "sinceTime",
        "timestamps",
        "tailLines",
        "limitBytes",
        "stream",
    ];
    let path = format!(
        "/containerLogs/{}/{}/{}{}",
        encode(&pod.metadata.namespace),
        encode(&pod.metadata.name),
        encode(&container),
        query_of(decoded, &names)
    );
    let websocket = super::websocket::take(&mut request)?;
    let url = format!("https://{}{path}", backend.authority());
    let failed = |error: BackendError| {
        if matches!(error, BackendError::Tls(_)) {
            server.metrics.logs_distrusted.iter().for_each(Counter::inc);
        }
        errors::bare(format!("Get {url:?}: {error}"))
    };
    let mut response = backend.forward(request, &path).await.map_err(failed)?;
    if !response.status().is_success() {
        return Ok(Answer::Refused(errors::internal(format!("the kubelet answered {}", response.status()))));
    }
    if let Some(websocket) = websocket {
        return Ok(Answer::Raw(websocket.answer(response.into_body())));
    }
    let kind = header::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(Answer::Raw(response))
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// `pods/exec`, `pods/attach` and `pods/portforward`.
pub(crate) async fn stream(
    server: &Server,
    _: &Authorized,
    decoded: &Decoded,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let pod = pod(server, decoded).await?;
    let what = decoded.info.subresource.as_str();
    let mut path_container = String::new();
    if what != "portforward" {
        path_container =
            format!("/{}", encode(&container(&pod, decoded.query.get("container").unwrap_or_default())?));
    }
    if pod.spec.node_name.is_empty() {
        return Err(errors::bad_request(format!("pod {} does not have a host assigned", pod.metadata.name)));
    }
    let backend = backend(server, &pod.spec.node_name).await?;
    let root = if what == "portforward" { "portForward" } else { what };
    let mut query = query_of(decoded, &["command", "tty", "ports", "port"]);
    for (given, kubelet) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error")] {
        if decoded.query.flag(given) {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&format!("{kubelet}=1"));
        }
    }
    let path = format!(
        "/{root}/{}/{}{path_container}{query}",
        encode(&pod.metadata.namespace),
        encode(&pod.metadata.name)
    );
    let failed = |error: BackendError| errors::internal(format!("error dialing backend: {error}"));
    Ok(Answer::Raw(backend.forward(request, &path).await.map_err(failed)?))
}
