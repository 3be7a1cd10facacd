//! `pods/proxy`, `services/proxy` and `nodes/proxy`: HTTP to what the object stands for.

use std::io::{Read, Write};
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use meta::Status;
use registry::{Served, errors};
use types::core::v1::{Pod, Service};
use types::discovery::v1::EndpointSlice;

use super::backend::{Backend, Host, wants_upgrade};
use super::kubelet::{backend, upgrade_failed};
use super::rewrite::Place;
use crate::answer::Answer;
use crate::http::body::Body;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Largest page whose links are rewritten, in bytes; larger ones pass as they are.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Headers by which a backend would let pages of other origins read what passes here; that is the server's to say.
const CORS_HEADERS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// A name in a proxy path: `[https:]name[:port]`.
struct Named<'a> {
    tls: bool,
    name: &'a str,
    port: &'a str,
}

fn split(text: &str) -> Option<Named<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    let named = match parts[..] {
        [name] => Named { tls: false, name, port: "" },
        [name, port] => Named { tls: false, name, port },
        ["http" | "", name, port] => Named { tls: false, name, port },
        ["https", name, port] => Named { tls: true, name, port },
        _ => return None,
    };
    (!named.name.is_empty()).then_some(named)
}

/// The path as a backend sees it: without empty and dot segments, a slash at the end kept (Go's `path.Join`), escaped as Go's
/// `URL.EscapedPath` does.
fn backend_path(rest: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in rest.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut path = format!("/{}", segments.join("/"));
    if rest.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Serves a proxy subresource.
pub(crate) async fn serve(
    server: &Server,
    decoded: &Decoded,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let info = &decoded.info;
    let kind = info.resource.trim_end_matches('s');
    let bad = || errors::bad_request(format!("invalid {kind} request {}", meta::go_quote(&info.name)));
    let named = split(&info.name).ok_or_else(bad)?;
    let target = match info.resource.as_str() {
        "nodes" => node(server, &named).await?,
        "pods" => pod(server, &info.namespace, &named).await?,
        _ => service(server, &info.namespace, &named).await?,
    };
    let rest = backend_path(&info.rest);
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{rest}{query}");
    let mut request = request;
    forwarded_for(request.headers_mut(), decoded.peer.ip());
    if wants_upgrade(request.headers()) {
        let upgraded = target.upgrade(request, &path, Host::Asked).await;
        return upgraded.map(Answer::Raw).map_err(upgrade_failed);
    }
    // Relative links of a page need a directory to start from.
    if asks_for_directory(request.method(), request.uri().path()) {
        return Ok(Answer::Raw(with_slash(&request)?));
    }
    let prefix = prefix(request.uri().path());
    let asked = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = asked.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let asked = asked.map(str::to_owned).unwrap_or_default();
    if let Ok(uri) = format!("{prefix}{rest}").parse() {
        request.headers_mut().insert("x-forwarded-uri", uri);
    }
    let answer = target.forward(request, &path, Host::Asked).await;
    let mut answer = answer
        .map_err(|error| Status::service_unavailable(format!("error trying to reach service: {error}")))?;
    for name in CORS_HEADERS {
        answer.headers_mut().remove(name);
    }
    let authority = target.authority();
    let place = Place { prefix: &prefix, backend: &authority, asked: &asked };
    Ok(Answer::Raw(through(answer, &place).await))
}

/// Adds who asks to those on whose behalf it was asked.
fn forwarded_for(headers: &mut HeaderMap, peer: IpAddr) {
    let before = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let mut chain: Vec<String> = before.map(str::to_owned).collect();
    chain.push(peer.to_canonical().to_string());
    if let Ok(value) = chain.join(", ").parse() {
        headers.insert("x-forwarded-for", value);
    }
}

/// Whether the path ends with `/proxy` itself.
fn asks_for_directory(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && prefix(path) == path
}

/// Sends the client to the same place with a slash behind it.
fn with_slash<B>(request: &Request<B>) -> Result<Response<Body>, Status> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let place = format!("{}/{query}", request.uri().path());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let place = place.parse().map_err(|_| errors::bad_request("the request's path is no URL"))?;
    response.headers_mut().insert(header::LOCATION, place);
    Ok(response)
}

/// The path up to and with `/proxy`: `/api/v1/nodes/n/proxy`, `/api/v1/namespaces/ns/pods/p/proxy`.
fn prefix(path: &str) -> String {
    let segments = if path.starts_with("/api/v1/nodes/") { 6 } else { 8 };
    path.split('/').take(segments).collect::<Vec<_>>().join("/")
}

/// The backend's answer as the client may have it: redirects and links of pages lead through the proxy.
async fn through(answer: Response<Body>, place: &Place<'_>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    let text = |name: header::HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let location = text(header::LOCATION).to_owned();
    if !location.is_empty() {
        if let Ok(location) = place.url(&location).parse() {
            parts.headers.insert(header::LOCATION, location);
        }
        return Response::from_parts(parts, body);
    }
    let kind = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let gzip = match text(header::CONTENT_ENCODING) {
        "" => false,
        "gzip" => true,
        _ => return Response::from_parts(parts, body),
    };
    if !kind.eq_ignore_ascii_case("text/html") {
        return Response::from_parts(parts, body);
    }
    let mut page = BytesMut::new();
    let mut chunks = body.into_relay();
    while let Some(chunk) = chunks.next().await {
        let broken = match chunk {
            Ok(chunk) => {
                page.extend_from_slice(&chunk);
                None
            }
            Err(broken) => Some(Err(broken)),
        };
        // What broke off is no page, and must not look whole.
        if broken.is_some() || page.len() > PAGE_BYTES_MAX {
            let begun = std::iter::once(Ok(page.freeze())).chain(broken);
            let whole = futures::stream::iter(begun.collect::<Vec<_>>()).chain(chunks);
            return Response::from_parts(parts, Body::Relay(whole.boxed()));
        }
    }
    let page = page.freeze();
    let Some(changed) = rewritten(&page, gzip, place) else {
        return Response::from_parts(parts, Body::full(page));
    };
    // A HEAD has the length of what a GET would bring, and no body.
    if !page.is_empty() {
        parts.headers.insert(header::CONTENT_LENGTH, changed.len().into());
    }
    Response::from_parts(parts, Body::full(changed))
}

/// The page with other links; `None` when it is no text.
fn rewritten(page: &Bytes, gzip: bool, place: &Place<'_>) -> Option<Bytes> {
    if !gzip {
        return Some(place.html(std::str::from_utf8(page).ok()?).into());
    }
    let mut text = String::new();
    // A small page may unfold into an endless one.
    let read = GzDecoder::new(&page[..]).take(PAGE_BYTES_MAX as u64 + 1).read_to_string(&mut text).ok()?;
    if read > PAGE_BYTES_MAX {
        return None;
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(place.html(&text).as_bytes()).ok()?;
    Some(packed.finish().ok()?.into())
}

/// Backends behind a proxy are whatever a user runs: their certificates cannot be checked.
fn tls(server: &Server, wanted: bool) -> Result<Option<std::sync::Arc<rustls::ClientConfig>>, Status> {
    if !wanted {
        return Ok(None);
    }
    let client = server.kubelet_client.as_ref().map(|client| client.unchecked.clone());
    // What was to be private is not sent in the clear.
    client.map(Some).ok_or_else(|| errors::internal("this server has no TLS for connections to backends"))
}

async fn pod(server: &Server, namespace: &str, named: &Named<'_>) -> Result<Backend, Status> {
    let served = Served::find("", "v1", "pods").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, namespace, named.name).await?;
    let pod = found.and_then(|stored| meta::downcast::<Pod>(stored.object().clone()));
    let pod = pod.ok_or_else(|| errors::not_found("", "pods", named.name))?;
    let host = pod.status.pod_ip.to_string();
    if forbidden(&host) {
        return Err(errors::bad_request("address not allowed"));
    }
    let declared = pod.spec.containers.iter().flat_map(|c| &c.ports);
    let port = match named.port {
        "" => declared.clone().map(|p| p.container_port).next().unwrap_or(standard_port(named.tls)),
        text => match text.parse() {
            Ok(number) => number,
            Err(_) => declared.clone().find(|p| p.name == text).map(|p| p.container_port).unwrap_or_default(),
        },
    };
    let port = u16::try_from(port).ok().filter(|p| *p != 0);
    let port = port.ok_or_else(|| errors::bad_request(format!("no port {:?}", named.port)))?;
    Ok(Backend { host, port, tls: tls(server, named.tls)?, name: None })
}

/// The port of a scheme.
fn standard_port(tls: bool) -> i32 {
    if tls { 443 } else { 80 }
}

/// Addresses that must not be reached through the server: its own machine, link-local services, groups of machines, and what
/// is no address.
fn forbidden(host: &str) -> bool {
    // An IPv4 address is the same one in the clothes of IPv6.
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            let nobody = ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast();
            nobody || ip.is_loopback() || ip.is_link_local()
        }
        Ok(IpAddr::V6(ip)) => {
            let nobody = ip.is_unspecified() || ip.is_multicast();
            nobody || ip.is_loopback() || (ip.segments()[0] & 0xffc0) == 0xfe80
        }
        Err(_) => true,
    }
}

/// The address of a host that may be reached through the server. A name is looked up here, so that what was judged is
/// what is connected to (upstream's `IsProxyableHostname`).
async fn reachable(host: &str, port: u16) -> Result<String, Status> {
    let not_allowed = || errors::bad_request("address not allowed");
    if host.parse::<IpAddr>().is_ok() {
        return if forbidden(host) { Err(not_allowed()) } else { Ok(host.to_owned()) };
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| errors::bad_request(format!("lookup {host}: {error}")))?;
    let addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
    if addresses.iter().any(|ip| forbidden(ip)) {
        return Err(not_allowed());
    }
    addresses.into_iter().next().ok_or_else(not_allowed)
}

/// A node's kubelet, or another port of the node's: to that one the server does not show who it is.
async fn node(server: &Server, named: &Named<'_>) -> Result<Backend, Status> {
    let mut target = backend(server, named.name).await?;
    if named.port.is_empty() || named.port == target.port.to_string() {
        return Ok(target);
    }
    let port = named.port.parse::<u16>().ok().filter(|port| *port != 0);
    target.port = port.ok_or_else(|| errors::bad_request(format!("no port {:?}", named.port)))?;
    target.host = reachable(&target.host, target.port).await?;
    target.tls = tls(server, named.tls)?;
    Ok(target)
}

async fn service(server: &Server, namespace: &str, named: &Named<'_>) -> Result<Backend, Status> {
    let served = Served::find("", "v1", "services").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, namespace, named.name).await?;
    let service = found.and_then(|stored| meta::downcast::<Service>(stored.object().clone()));
    let service = service.ok_or_else(|| errors::not_found("", "services", named.name))?;
    let unavailable =
        || Status::service_unavailable(format!("no endpoints available for service {:?}", named.name));
    // A number is the Service's port; a name is looked for among those of the endpoints.
    let port_name = match named.port.parse::<i32>() {
        Ok(number) => {
            let port = service.spec.ports.iter().find(|p| p.port == number).ok_or_else(|| {
                let why = format!("no service port {number} found for service {:?}", named.name);
                Status::service_unavailable(why)
            })?;
            port.name.clone()
        }
        Err(_) => named.port.into(),
    };
    let slices =
        Served::find("discovery.k8s.io", "v1", "endpointslices").ok_or_else(errors::no_such_resource)?;
    let pods = Served::find("", "v1", "pods").ok_or_else(errors::no_such_resource)?;
    let mut backends = Vec::new();
    for stored in server.registry.all(&slices, namespace).await? {
        let Some(slice) = meta::downcast_ref::<EndpointSlice>(&**stored.object()) else { continue };
        if slice.metadata.label("kubernetes.io/service-name") != named.name {
            continue;
        }
        let number = slice
            .ports
            .iter()
            .find(|p| p.name.as_deref().unwrap_or_default() == port_name.as_str())
            .and_then(|p| p.port)
            .and_then(|p| u16::try_from(p).ok());
        let Some(number) = number else { continue };
        for endpoint in slice.endpoints.iter().filter(|e| e.conditions.ready.unwrap_or(true)) {
            let Some(ip) = endpoint.addresses.first().filter(|ip| !forbidden(ip)) else { continue };
            backends.push((ip.to_string(), number, endpoint.target_ref.clone()));
        }
    }
    // Whoever writes endpoints must not make the server reach what no pod stands behind.
    while !backends.is_empty() {
        let (host, port, target) = backends.swap_remove(server.env.random.below(backends.len()));
        let Some(target) = target.filter(|target| target.namespace == namespace) else { continue };
        let found = server.registry.find_object(&pods, namespace, &target.name).await?;
        let pod = found.and_then(|stored| meta::downcast::<Pod>(stored.object().clone()));
        if pod.is_some_and(|pod| pod.status.pod_ips.iter().any(|ip| ip.ip == host.as_str())) {
            return Ok(Backend { host, port, tls: tls(server, named.tls)?, name: None });
        }
    }
    Err(unavailable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_with_the_subresource() {
        for (path, want) in [
            ("/api/v1/nodes/n/proxy/a/proxy/b", "/api/v1/nodes/n/proxy"),
            (
                "/api/v1/namespaces/ns/pods/https:p:8443/proxy/",
                "/api/v1/namespaces/ns/pods/https:p:8443/proxy",
            ),
            ("/api/v1/namespaces/ns/services/s/proxy", "/api/v1/namespaces/ns/services/s/proxy"),
        ] {
            assert_eq!(prefix(path), want);
            assert_eq!(asks_for_directory(&Method::GET, path), path == want);
            assert!(!asks_for_directory(&Method::POST, path));
        }
    }

    #[test]
    fn names_may_have_a_scheme_and_a_port() {
        for (text, want) in [
            ("web", Some((false, "web", ""))),
            ("web:http", Some((false, "web", "http"))),
            (":web:", Some((false, "web", ""))),
            ("https:web:443", Some((true, "web", "443"))),
            ("ftp:web:21", None),
            (":80", None),
            ("https::443", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(split(text).map(|n| (n.tls, n.name, n.port)), want, "{text}");
        }
    }

    #[test]
    fn paths_are_as_backends_of_upstream_see_them() {
        for (rest, want) in [
            ("", "/"),
            ("/", "/"),
            ("/a//b/./c/../d/", "/a/b/d/"),
            ("/../..", "/"),
            ("/a b:c@d?e%", "/a%20b:c@d%3Fe%25"),
            ("/ü", "/%C3%BC"),
        ] {
            assert_eq!(backend_path(rest), want, "{rest}");
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_their_addresses() {
        assert_eq!(reachable("localhost", 80).await.unwrap_err().message, "address not allowed");
        assert_eq!(reachable("127.0.0.1", 80).await.unwrap_err().code, 400);
        assert_eq!(reachable("10.0.0.1", 80).await.unwrap(), "10.0.0.1");
    }

    #[test]
    fn some_addresses_are_nobodys_to_reach() {
        for bad in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "ff02::1",
            "fe80::1",
            "",
            "x",
        ] {
            assert!(forbidden(bad), "{bad}");
        }
        for good in ["10.0.0.1", "2001:db8::1"] {
            assert!(!forbidden(good), "{good}");
        }
        assert_eq!((standard_port(true), standard_port(false)), (443, 80));
    }

    #[test]
    fn who_asks_is_added_to_those_before() {
        let mut headers = HeaderMap::new();
        forwarded_for(&mut headers, "::ffff:10.0.0.1".parse().unwrap());
        forwarded_for(&mut headers, "10.0.0.2".parse().unwrap());
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2");
    }

    #[test]
    fn packed_pages_are_rewritten_too() {
        let place = Place { prefix: "/p/proxy", backend: "b", asked: "a" };
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"<a href=\"/x\">").unwrap();
        let changed = rewritten(&packed.finish().unwrap().into(), true, &place).unwrap();
        let mut text = String::new();
        GzDecoder::new(&changed[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "<a href=\"/p/proxy/x\">");
        assert_eq!(rewritten(&Bytes::from_static(b"\xff"), false, &place), None);
    }
}
