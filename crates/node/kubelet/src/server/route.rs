//! Paths of the kubelet's API.

use std::sync::Arc;

use http::{Response, StatusCode, header};

use super::{Body, Request, Server, files, json, logs, metrics, pods, ports, run, streams, summary, text};

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
const ROOTS: [&str; 15] = [
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
    "logs",
    "checkpoint",
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

/// Methods that a path takes; none for paths that there are not.
fn methods(parts: &[&str]) -> &'static [&'static str] {
    match parts {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] | ["livez"] | ["readyz"] => &["GET"],
        ["pods" | "runningpods" | "configz" | "metrics" | "logs"] | ["logs", ..] => &["GET"],
        ["stats", "summary"] | ["metrics", "probes" | "resource" | "cadvisor"] => &["GET"],
        ["containerLogs", _, _, _] => &["GET"],
        ["exec" | "attach", _, _, _] | ["exec" | "attach", _, _, _, _] => &["GET", "POST"],
        ["portForward", _, _] | ["portForward", _, _, _] => &["GET", "POST"],
        ["run", _, _, _] | ["run", _, _, _, _] | ["checkpoint", _, _, _] => &["POST"],
        _ => &[],
    }
}

/// The refusal of a path or a method that there is not, as upstream's `go-restful` gives it.
fn refused(parts: &[&str], methods: &[&str]) -> Response<Body> {
    if methods.is_empty() {
        let known = parts.first().is_some_and(|first| ROOTS.contains(first));
        let why = if known { "404: Page Not Found" } else { "404 page not found\n" };
        return text(StatusCode::NOT_FOUND, why);
    }
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    if let Ok(allowed) = methods.join(", ").parse() {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Finds the handler.
pub async fn route(server: Arc<Server>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let methods = methods(&parts);
    if !methods.contains(&request.method().as_str()) {
        return refused(&parts, methods);
    }
    match parts.as_slice() {
        ["healthz", ..] | ["livez"] | ["readyz"] => text(StatusCode::OK, "ok"),
        ["pods"] => pods::list(&server),
        ["runningpods"] => pods::running(&server),
        ["configz"] => json(&pods::configz(&server)),
        ["stats", "summary"] => json(&summary::summary(&server).await),
        ["metrics"] => metrics::own(&server).await,
        ["metrics", "probes"] => metrics::probes(),
        ["metrics", "resource"] => metrics::resource(&server).await,
        ["metrics", "cadvisor"] => metrics::cadvisor(&server).await,
        ["logs", rest @ ..] => files::serve(&request, &rest.join("/")).await,
        ["containerLogs", namespace, pod, container] => {
            logs::serve(&server, &request, namespace, pod, container)
        }
        ["checkpoint", namespace, pod, container] => {
            run::checkpoint(&server, &request, (namespace, pod, container))
        }
        [verb, namespace, pod, rest @ .., container] if *verb != "portForward" => {
            let whose = (*namespace, *pod, rest.first().copied().unwrap_or_default(), *container);
            if *verb == "run" {
                return run::run(&server, &request, whose).await;
            }
            streams::serve(server, request, *verb == "attach", whose).await
        }
        [_, namespace, pod, rest @ ..] => {
            ports::serve(server, request, (namespace, pod, rest.first().copied().unwrap_or_default()))
        }
        _ => refused(&parts, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_methods() {
        for (path, want) in [
            ("pods", &["GET"][..]),
            ("exec/ns/p/c", &["GET", "POST"]),
            ("exec/ns/p/uid/c", &["GET", "POST"]),
            ("exec/ns/p", &[]),
            ("run/ns/p/c", &["POST"]),
            ("checkpoint/ns/p/c", &["POST"]),
            ("logs/a/b", &["GET"]),
            ("healthz/syncloop", &["GET"]),
            ("healthz/none", &[]),
            ("stats/container", &[]),
            ("", &[]),
        ] {
            let parts: Vec<&str> = path.split('/').collect();
            assert_eq!(methods(&parts), want, "{path}");
        }
        let refusal = refused(&["run"], &["POST"]);
        assert_eq!((refusal.status().as_u16(), &refusal.headers()["allow"]), (405, &"POST".parse().unwrap()));
    }

    #[test]
    fn queries() {
        let got = parse_query("command=sh&command=-c&command=echo+a%20%26%3Db&tty=1&x");
        let want = [("command", "sh"), ("command", "-c"), ("command", "echo a &=b"), ("tty", "1"), ("x", "")];
        assert_eq!(got, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
