//! Requests that an extension API server answers: sent on with the user in headers, answered as it answers.
//!
//! Our own authorizer has allowed the request before; the server behind decides for itself again. Watches stream; upgrades
//! (exec and its like) become a tunnel.

use std::sync::Arc;
use std::time::Duration;

use aggregate::address::Address;
use aggregate::identity::assert_user;
use aggregate::{Link, Remote, Unroutable};
use authz::Authorized;
use futures::StreamExt;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either};
use hyper::body::Incoming;

use super::openapi;
use super::plain::TEXT;
use crate::answer::Answer;
use crate::http::body::{Body, Broken};
use crate::pipeline::Decoded;
use crate::server::Server;
use crate::stream::backend::{Backend, HOP_HEADERS, Host};

/// Time for a discovery document, which every client of the cluster waits for.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The extension API server that a request is for, if any.
pub(super) fn find(server: &Server, decoded: &Decoded) -> Option<Arc<Remote>> {
    let info = &decoded.info;
    if info.is_resource {
        return server.aggregator.find(&info.group, &info.version);
    }
    let parts: Vec<&str> = decoded.path.trim_matches('/').split('/').take(4).collect();
    match parts[..] {
        ["apis", group, version] => server.aggregator.find(group, version),
        ["api"] | ["api", _] => server.aggregator.find("", "v1"),
        ["openapi", "v3", ..] => openapi::describes(server, decoded),
        _ => None,
    }
}

/// Sends the request on.
pub(super) async fn serve(
    server: &Server,
    authorized: &Authorized,
    decoded: &Decoded,
    mut request: Request<Incoming>,
    remote: &Remote,
) -> Answer {
    let (link, address) = match remote.route(&server.env.random) {
        Ok(route) => route,
        Err(why @ Unroutable::Unavailable) => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, &why.to_string());
        }
        Err(why) => return refused(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    };
    let asked = request.headers().get(header::HOST).cloned().or_else(|| {
        // HTTP/2 has the host in its address.
        HeaderValue::from_str(request.uri().authority()?.as_str()).ok()
    });
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let headers = request.headers_mut();
    if let Err(why) = assert_user(headers, authorized.user()) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, &format!("error trying to reach service: {why}"));
    }
    tell_of_proxy(headers, decoded, asked);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let answer = if upgrade {
        tunnel(&link, &address, request, &path).await
    } else {
        let exchange = exchange(&link, &address, request, &path);
        match is_discovery(decoded) {
            false => exchange.await,
            true => match tokio::time::timeout(DISCOVERY_TIMEOUT, exchange).await {
                Ok(answer) => answer,
                Err(_) => Err("context deadline exceeded".to_owned()),
            },
        }
    };
    match answer {
        Ok(answer) => Answer::Raw(told(answer, decoded)),
        Err(why) => {
            refused(StatusCode::SERVICE_UNAVAILABLE, &format!("error trying to reach service: {why}"))
        }
    }
}

fn is_discovery(decoded: &Decoded) -> bool {
    !decoded.info.is_resource && decoded.path.trim_matches('/').split('/').count() == 3
}

/// Headers by which the server behind knows for whom this one asks.
fn tell_of_proxy(headers: &mut HeaderMap, decoded: &Decoded, asked: Option<HeaderValue>) {
    let mut add = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    add(AUDIT_ID, &decoded.audit_id);
    let before = decoded.headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let peer = decoded.peer.ip().to_string();
    add(FORWARDED_FOR, &before.chain([peer.as_str()]).collect::<Vec<_>>().join(", "));
    add(HeaderName::from_static("x-forwarded-uri"), &decoded.path);
    add(HeaderName::from_static("x-forwarded-proto"), "https");
    if let Some(asked) = asked {
        headers.insert(HeaderName::from_static("x-forwarded-host"), asked);
    }
}

async fn exchange(
    link: &Link,
    address: &Address,
    mut request: Request<Incoming>,
    path: &str,
) -> Result<Response<Body>, String> {
    let headers = request.headers_mut();
    HOP_HEADERS.iter().for_each(|name| drop(headers.remove(*name)));
    headers.remove(header::HOST);
    let channel = link.channel().map_err(|why| why.to_string())?;
    let answer = channel.send(address, path, request.map(Either::Left)).await?;
    let (mut parts, body) = answer.into_parts();
    HOP_HEADERS.iter().for_each(|name| drop(parts.headers.remove(*name)));
    let chunks = body.into_data_stream().map(|chunk| chunk.map_err(|_| Broken));
    Ok(Response::from_parts(parts, Body::Relay(chunks.boxed())))
}

async fn tunnel(
    link: &Link,
    address: &Address,
    request: Request<Incoming>,
    path: &str,
) -> Result<Response<Body>, String> {
    let (tls, name) = link.channel().map_err(|why| why.to_string())?.for_upgrade();
    let (host, port) = (address.host.clone(), address.port);
    let backend = Backend { host, port, tls: Some(tls), name: Some(name.to_owned()) };
    backend.forward(request, path, Host::Backend).await.map_err(|why| why.to_string())
}

/// The answer as clients of this server get it.
fn told(mut answer: Response<Body>, decoded: &Decoded) -> Response<Body> {
    if answer.status().is_redirection() && answer.headers().contains_key(header::LOCATION) {
        let why = "the backend attempted to redirect this request, which is not permitted";
        let mut answer = Response::new(Body::full(why));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        return answer;
    }
    let headers = answer.headers_mut();
    // Whether pages of other origins may read this is for this server to say.
    let foreign = |name: &&HeaderName| name.as_str().starts_with("access-control-");
    let foreign: Vec<HeaderName> = headers.keys().filter(foreign).cloned().collect();
    foreign.iter().for_each(|name| drop(headers.remove(name)));
    if let Ok(id) = HeaderValue::from_str(&decoded.audit_id) {
        headers.insert(AUDIT_ID, id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    answer
}

fn refused(status: StatusCode, why: &str) -> Answer {
    Answer::Text(status, TEXT, format!("{why}\n").into())
}
