//! Port forwarding over SPDY: for each connection a data stream and an error stream with the same request ID.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use http::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::ports::Ports;
use super::{Accepted, Body, Request, Stream, accept, serve};

/// Most halves of pairs that wait for their other half.
const MAX_WAITING: usize = 1000;

/// The protocol, which has one version.
pub const VERSION: &str = "portforward.k8s.io";

/// How long a stream waits for its other half.
const PAIRING: Duration = Duration::from_secs(30);

/// Serves `/portForward` on an upgraded connection.
pub fn ports(mut request: Request, ports: Ports) -> Response<Body> {
    match accept(&mut request, &[VERSION]) {
        Ok(Accepted { response, upgrade, .. }) => {
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

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Purpose {
    port: u16,
    data: bool,
    /// The same for both halves of a pair.
    request: String,
}

/// Reads a stream's headers; `None` for one that upstream resets. Clients that name no request open the error stream just
/// before the data stream.
fn purpose(stream: &Stream) -> Option<Purpose> {
    let port = stream.header("port")?.parse().ok().filter(|port| *port > 0)?;
    let data = match stream.header("streamtype")? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    let given = stream.header("requestid").filter(|id| !id.is_empty()).map(str::to_owned);
    let guessed = || (if data { stream.id.wrapping_sub(2) } else { stream.id }).to_string();
    Some(Purpose { port, data, request: given.unwrap_or_else(guessed) })
}

/// Serves port forwarding until the client is gone.
pub async fn serve_ports<S: AsyncRead + AsyncWrite + Send + 'static>(io: S, ports: Ports) {
    let (opened, mut streams) = mpsc::channel::<Stream>(16);
    let connection = env::spawn("spdy-connection", serve(io, opened));
    let mut waiting: HashMap<String, (Stream, bool)> = HashMap::new();
    // When each of them is given up, the first first.
    let mut late: VecDeque<(Instant, String)> = VecDeque::new();
    let mut tasks = vec![];
    loop {
        let next = late.front().map(|(at, _)| *at);
        let expired = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let stream = tokio::select! {
            stream = streams.recv() => stream,
            () = expired => {
                let request = late.pop_front().map(|(_, request)| request).unwrap_or_default();
                if let Some((alone, data)) = waiting.remove(&request) {
                    let why = format!("(request={request}) timed out waiting for streams");
                    if !data {
                        alone.output().send(why.as_bytes()).await;
                    }
                    alone.output().reset().await;
                }
                continue;
            }
        };
        let Some(stream) = stream else { break };
        let Some(purpose) = purpose(&stream).filter(|_| waiting.len() < MAX_WAITING) else {
            stream.output().reset().await;
            continue;
        };
        let Purpose { port, data, request } = purpose;
        match waiting.remove(&request) {
            None => {
                late.push_back((Instant::now() + PAIRING, request.clone()));
                waiting.insert(request, (stream, data));
            }
            Some((other, same)) if same == data => {
                let kind = if data { "data" } else { "error" };
                let why =
                    format!("error processing stream for request {request}: {kind} stream already assigned");
                if !data {
                    other.output().send(why.as_bytes()).await;
                }
                waiting.insert(request, (other, data));
            }
            Some((other, _)) => {
                late.retain(|(_, waits)| *waits != request);
                let (data, error) = if data { (stream, other) } else { (other, stream) };
                let ports = ports.clone();
                tasks.retain(|t: &env::Task| !t.is_finished());
                tasks.push(env::spawn("spdy-port", forward(ports, port, data, error)));
            }
        }
    }
    drop(tasks);
    connection.join().await;
}

async fn forward(ports: Ports, port: u16, mut data: Stream, error: Stream) {
    let connection = match ports.connect(port).await {
        Ok(connection) => connection,
        Err(why) => {
            error.output().send(why.as_bytes()).await;
            data.output().reset().await;
            error.output().reset().await;
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
