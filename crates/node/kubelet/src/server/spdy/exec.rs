//! Exec and attach over SPDY: one stream each for errors, standard input, output, standard error and terminal sizes.

use std::collections::HashMap;
use std::time::Duration;

use http::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::streams::{Job, Outcome, term_size};
use super::{Accepted, Body, Output, Request, Stream, accept, serve};

/// How long the client may take to open all streams.
const OPENING: Duration = Duration::from_secs(30);

/// How long the client may take to close the connection, once it was told how the session ended.
const CLOSING: Duration = Duration::from_secs(10);

/// Versions of the protocol, best first. From the third on terminals can be resized, the fourth tells statuses.
const VERSIONS: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Serves the streams of `job` on an upgraded connection.
pub fn streams(mut request: Request, job: Job) -> Response<Body> {
    match accept(&mut request, &VERSIONS) {
        Ok(Accepted { response, upgrade, version }) => {
            env::spawn_detached("spdy-streams", async move {
                if let Ok(upgraded) = upgrade.await {
                    let (opened, streams) = mpsc::channel(8);
                    let connection = env::spawn("spdy-connection", serve(TokioIo::new(upgraded), opened));
                    converse(job, version, streams).await;
                    // All is said; whoever does not hang up is hung up on.
                    let _ = tokio::time::timeout(CLOSING, connection.join()).await;
                }
            });
            response
        }
        Err(response) => *response,
    }
}

async fn converse(job: Job, version: &str, mut opened: mpsc::Receiver<Stream>) {
    let wish = &job.wish;
    let resizes = wish.tty && VERSIONS[..2].contains(&version);
    let wanted = 1
        + usize::from(wish.stdin)
        + usize::from(wish.stdout)
        + usize::from(wish.stderr)
        + usize::from(resizes);
    let mut streams: HashMap<String, Stream> = HashMap::new();
    let collect = async {
        while streams.len() < wanted {
            let Some(stream) = opened.recv().await else { return };
            let kind = stream.header("streamtype").unwrap_or_default().to_owned();
            // Others are not waited for, and nothing is said of them.
            if matches!(kind.as_str(), "error" | "stdin" | "stdout" | "stderr" | "resize") {
                streams.insert(kind, stream);
            }
        }
    };
    if tokio::time::timeout(OPENING, collect).await.is_err() || streams.len() < wanted {
        return;
    }
    let Some(error) = streams.remove("error") else { return };
    let result = match job.open().await {
        Ok(session) => carry(session, streams, opened).await,
        Err(error) => {
            // Clients wait for the ends of all streams, whatever became of them.
            for stream in streams.values() {
                stream.output().finish().await;
            }
            Err(error.to_string())
        }
    };
    let outcome = Outcome::new(result, job.attach);
    let last = if version == VERSIONS[0] { Some(outcome.status(false)) } else { outcome.message() };
    if let Some(last) = last {
        error.output().send(last.as_bytes()).await;
    }
    error.output().finish().await;
}

async fn carry(
    mut session: runtime::Session,
    mut streams: HashMap<String, Stream>,
    mut opened: mpsc::Receiver<Stream>,
) -> Result<i32, String> {
    let mut tasks = vec![];
    if let (Some(mut to), Some(mut stream)) = (session.stdin.take(), streams.remove("stdin")) {
        tasks.push(env::spawn("spdy-stdin", async move {
            while let Some(data) = stream.input.recv().await {
                if to.write_all(&data).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        }));
    }
    if let Some(mut stream) = streams.remove("resize") {
        let resize = session.resize.clone();
        tasks.push(env::spawn("spdy-resize", async move {
            while let Some(data) = stream.input.recv().await {
                if let Some(size) = term_size(&data) {
                    let _ = resize.send(size).await;
                }
            }
        }));
    }
    let pump = |from: Option<runtime::Output>, to: Option<Output>| async move {
        let (Some(mut from), Some(to)) = (from, to) else { return };
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            if !to.send(&buffer[..n]).await {
                return;
            }
        }
        to.finish().await;
    };
    let stdout = pump(session.stdout.take(), streams.remove("stdout").map(|s| s.output()));
    let stderr = pump(session.stderr.take(), streams.remove("stderr").map(|s| s.output()));
    let outputs = async { tokio::join!(stdout, stderr, session.wait).2 };
    tokio::select! {
        result = outputs => result.map_err(|e| e.to_string()),
        // No further streams are expected, so this is the client's end.
        _ = opened.recv() => Err("the client closed the connection".into()),
    }
}
