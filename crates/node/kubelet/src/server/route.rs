//! Paths of the kubelet's API.

use std::sync::Arc;

use http::{Method, Response, StatusCode};

use super::{Body, Request, Server, json, logs, metrics, pods, ports, streams, summary, text};

/// The query as pairs, percent-decoded, in order.
pub fn query(request: &Request) -> Vec<(String, String)> {
    parse_query(request.uri().query().unwrap_or(""))
}

/// Splits and decodes a query.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|p| !p.is_empty());
    pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

/// Undoes percent encoding and `+`.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = (bytes[i] == b'%').then(|| bytes.get(i + 1..i + 3)).flatten();
        match code.and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| u8::from_str_radix(c, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(if bytes[i] == b'+' { b' ' } else { bytes[i] });
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// First parts of paths that there are.
const ROOTS: [&str; 13] = [
    "healthz",
    "livez",
    "readyz",
    "pods",
    "runningpods",
    "configz",
    "stats",
    "metrics",
    "containerLogs",
    "exec",
    "attach",
    "run",
    "portForward",
];
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Method and first part of the path as they are counted. Anybody may ask, so nothing else is told apart.
pub fn counted(request: &Request) -> (&'static str, &'static str) {
    let first = request.uri().path().split('/').nth(1).unwrap_or("");
    let known = |list: &[&'static str], text: &str| list.iter().find(|one| **one == text).copied();
    let method = known(&METHODS, request.method().as_str()).unwrap_or("other");
    (method, known(&ROOTS, first).unwrap_or("Invalid path"))
}

/// Whether requests of such a path last as long as whoever asked likes.
pub fn is_long(path: &str) -> bool {
    matches!(path, "exec" | "attach" | "portForward")
}

/// Finds the handler.
pub async fn route(server: Arc<Server>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let get = request.method() == Method::GET;
    match parts.as_slice() {
        ["healthz", ..] | ["livez"] | ["readyz"] if get => text(StatusCode::OK, "ok"),
        ["pods"] if get => pods::list(&server),
        ["runningpods"] if get => pods::running(&server),
        ["configz"] if get => json(&pods::configz(&server)),
        ["stats", "summary"] if get => json(&summary::summary(&server).await),
        ["metrics"] if get => metrics::own(&server).await,
        ["metrics", "probes"] if get => metrics::probes(),
        ["metrics", "resource"] if get => metrics::resource(&server).await,
        ["metrics", "cadvisor"] if get => metrics::cadvisor(&server).await,
        ["containerLogs", namespace, pod, container] if get => {
            logs::serve(&server, &request, namespace, pod, container)
        }
        ["exec" | "attach" | "run", namespace, pod, container]
        | ["exec" | "attach" | "run", namespace, pod, _, container] => {
            let (verb, namespace, pod, container) =
                (parts[0].to_owned(), namespace.to_string(), pod.to_string(), container.to_string());
            streams::serve(server, request, &verb, &namespace, &pod, &container).await
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            let (namespace, pod) = (namespace.to_string(), pod.to_string());
            ports::serve(server, request, &namespace, &pod)
        }
        _ if !get && request.method() != Method::POST => {
            text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let got = parse_query("command=sh&command=-c&command=echo+a%20%26%3Db&tty=1&x");
        let want = [("command", "sh"), ("command", "-c"), ("command", "echo a &=b"), ("tty", "1"), ("x", "")];
        assert_eq!(got, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
