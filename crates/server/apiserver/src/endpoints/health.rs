//! `/healthz`, `/livez` and `/readyz`: a list of checks that are really made.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::StatusCode;

use super::plain::{TEXT, page_not_found, typed};
use crate::answer::Answer;
use crate::pipeline::Decoded;
use crate::server::Server;
use crate::start::hooks;

/// The three lists.
pub(super) const ROOTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// The checks of one list, in order. Readiness waits for the store and its caches and ends with the server; that a
/// certificate has expired, which a restart mends, is a matter of life.
pub(super) fn names(server: &Server, root: &str) -> Vec<&'static str> {
    let ready = root == "readyz";
    let first: &[_] = match ready {
        true => &["ping", "log", "etcd", "etcd-readiness", "informer-sync"],
        false => &["ping", "log", "loopback-serving-certificate", "etcd"],
    };
    let more = server.checks.iter().map(|(name, _)| *name);
    let last = ready.then_some("shutdown");
    first.iter().copied().chain(more).chain(hooks::ALL).chain(last).collect()
}

/// Makes a check of a list, and counts what it came to.
async fn checked(server: &Server, root: &str, name: &str) -> Result<(), String> {
    let result = check(server, name).await;
    server.slis.observe(root, name, result.is_ok());
    result
}

/// Makes every check once, for the counts: whoever reads these before anybody asked for the health finds how it stands.
pub(crate) async fn look(server: &Server) {
    for root in ["livez", "readyz"] {
        for name in names(server, root) {
            // How it went is what is counted.
            let _ = checked(server, root, name).await;
        }
    }
}

async fn check(server: &Server, name: &str) -> Result<(), String> {
    match name {
        // A process that answers; and what it logs is written by the thread that logs.
        "ping" | "log" => Ok(()),
        // The store behind the API, whatever it is; the names are upstream's.
        "etcd" | "etcd-readiness" => {
            server.registry.store().revision().await.map(drop).map_err(|e| e.to_string())
        }
        "informer-sync" if server.ready.load(Ordering::Acquire) => Ok(()),
        "informer-sync" => Err("not started".into()),
        // Clients of this machine use the certificate that everybody gets.
        "loopback-serving-certificate" if server.tls.load().ends_s() > server.now_s() => Ok(()),
        "loopback-serving-certificate" => Err("the serving certificate is expired".into()),
        "shutdown" if *server.shared.stopping.borrow() => Err("process is shutting down".into()),
        "shutdown" => Ok(()),
        hooks::FLOW_LEVELS if !["exempt", "catch-all"].iter().all(|level| server.flow.has_level(level)) => {
            Err("not configured".into())
        }
        hooks::FLOW_LEVELS => Ok(()),
        name => match server.checks.iter().find(|(known, _)| *known == name) {
            Some((_, check)) => check(),
            // Tasks end with the server, which is no fault of theirs.
            None if *server.shared.stopping.borrow() => Ok(()),
            None => server.hooks.check(name),
        },
    }
}

/// Serves `/healthz`, `/healthz/<check>` and the like.
pub(super) async fn serve(server: &Server, decoded: &Decoded, path: &str) -> Answer {
    let path = path.trim_start_matches('/');
    let (root, one) = path.split_once('/').map_or((path, None), |(root, one)| (root, Some(one)));
    let names = names(server, root);
    if let Some(one) = one {
        let Some(name) = names.iter().find(|n| **n == one) else { return page_not_found() };
        return match checked(server, root, name).await {
            // One check's answer is not guarded against being sniffed, as that of all of them is.
            Ok(()) => typed(TEXT, "ok".into(), false),
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
        match checked(server, root, name).await {
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
        tracing::info!(root, failed = failed.join(","), "health checks failed");
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
