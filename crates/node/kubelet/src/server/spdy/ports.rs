//! Port forwarding over SPDY: for each connection a data stream and an error stream with the same request ID.

use std::collections::HashMap;

use http::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::ports::Ports;
use super::{Body, Request, Stream, accept, serve};

/// Most halves of pairs that wait for their other half.
const MAX_WAITING: usize = 1000;

/// Serves `/portForward` on an upgraded connection.
pub fn ports(mut request: Request, ports: Ports) -> Response<Body> {
    match accept(&mut request, &["portforward.k8s.io"]) {
        Ok((response, upgrade)) => {
            env::spawn_detached("spdy-ports", async move {
                if let Ok(upgraded) = upgrade.await {
                    serve_ports(TokioIo::new(upgraded), ports).await;
                }
            });
            response
        }
        Err(response) => *response,
    }
}

/// Serves port forwarding until the client is gone.
pub async fn serve_ports<S: AsyncRead + AsyncWrite + Send + 'static>(io: S, ports: Ports) {
    let (opened, mut streams) = mpsc::channel::<Stream>(16);
    let connection = env::spawn("spdy-connection", serve(io, opened));
    let mut waiting: HashMap<String, Stream> = HashMap::new();
    let mut tasks = vec![];
    while let Some(stream) = streams.recv().await {
        let id = stream.header("requestid").unwrap_or_default().to_owned();
        let kind = stream.header("streamtype").unwrap_or_default().to_owned();
        if !matches!(kind.as_str(), "data" | "error") || waiting.len() > MAX_WAITING {
            stream.output().reset().await;
            continue;
        }
        let Some(other) = waiting.remove(&id) else {
            waiting.insert(id, stream);
            continue;
        };
        let (data, error) = if kind == "data" { (stream, other) } else { (other, stream) };
        let ports = ports.clone();
        tasks.retain(|t: &env::Task| !t.is_finished());
        tasks.push(env::spawn("spdy-port", forward(ports, data, error)));
    }
    drop(tasks);
    connection.join().await;
}

async fn forward(ports: Ports, mut data: Stream, error: Stream) {
    let port = data.header("port").and_then(|p| p.parse().ok()).unwrap_or(0);
    let connection = match ports.connect(port).await {
        Ok(connection) => connection,
        Err(why) => {
            error.output().send(why.as_bytes()).await;
            error.output().finish().await;
            data.output().reset().await;
            return;
        }
    };
    let (mut read, mut write) = connection.into_split();
    let out = data.output();
    let upward = async {
        while let Some(bytes) = data.input.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let downward = async {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            if !out.send(&buffer[..n]).await {
                return;
            }
        }
        out.finish().await;
    };
    tokio::join!(upward, downward);
    error.output().finish().await;
}
