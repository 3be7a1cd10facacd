//! `/healthz`, `/livez` and `/readyz`: a list of checks that are really made.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::StatusCode;

use super::plain::{TEXT, page_not_found};
use crate::answer::Answer;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Checks by name; `/readyz` makes all, the others all but the last two.
const CHECKS: [&str; 5] = ["ping", "log", "etcd", "informer-sync", "shutdown"];

async fn check(server: &Server, name: &str) -> Result<(), String> {
    match name {
        // The store behind the API, whatever it is; the name is upstream's.
        "etcd" => server.registry.store().revision().await.map(drop).map_err(|e| e.to_string()),
        "informer-sync" if !server.ready.load(Ordering::Acquire) => Err("not started".into()),
        "shutdown" if *server.shared.stopping.borrow() => Err("process is shutting down".into()),
        name => match server.checks.iter().find(|(known, _)| *known == name) {
            Some((_, check)) => check(),
            None => Ok(()),
        },
    }
}

/// Serves `/healthz`, `/healthz/<check>` and the like.
pub(super) async fn serve(server: &Server, decoded: &Decoded, path: &str) -> Answer {
    let mut parts = path.split('/').skip(1);
    let root = parts.next().unwrap_or_default();
    let (own, last) = CHECKS.split_at(3);
    let last = if root == "readyz" { last } else { &[] };
    let more = server.checks.iter().map(|(name, _)| *name);
    let names: Vec<&str> = own.iter().copied().chain(more).chain(last.iter().copied()).collect();
    if let Some(one) = parts.next() {
        let Some(name) = names.iter().find(|n| **n == one) else { return page_not_found() };
        return match check(server, name).await {
            Ok(()) => text(StatusCode::OK, "ok".into()),
            Err(error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {error}\n"))
            }
        };
    }
    let excluded: Vec<&str> = decoded.query.all("exclude").collect();
    let (mut lines, mut failed) = (String::new(), Vec::new());
    for name in &names {
        if excluded.contains(name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check(server, name).await {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(_) => {
                failed.push(*name);
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    let unknown: Vec<String> =
        excluded.iter().filter(|e| !names.contains(e)).map(|e| format!("{e:?}")).collect();
    if !unknown.is_empty() {
        lines.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            unknown.join(", ")
        ));
    }
    if !failed.is_empty() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{root} check failed\n"));
    }
    if decoded.query.has("verbose") {
        return text(StatusCode::OK, format!("{lines}{root} check passed\n"));
    }
    text(StatusCode::OK, "ok".into())
}

fn text(status: StatusCode, body: String) -> Answer {
    Answer::Text(status, TEXT, Bytes::from(body))
}
