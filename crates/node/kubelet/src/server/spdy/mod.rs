//! SPDY/3.1 connections: the streams of `kubectl port-forward` (inside WebSocket messages) and of older clients.
//!
//! As in every implementation of Kubernetes' streams there is no flow control of single streams: a slow reader holds back
//! its connection.

mod exec;
mod frame;
mod ports;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::streams::{ASKING, patiently};
use super::{Body, Request, text};
pub use exec::streams;
use frame::{Deflater, Frame, Headers, Inflater};
pub use ports::{VERSION as PORTS, ports, serve_ports};

const PROTOCOL: &str = "SPDY/3.1";
const VERSION_HEADER: &str = "x-stream-protocol-version";
/// The number of this side's pings; servers' are even.
const OWN_PING: u32 = 2;

/// Streams of one connection on which the client may still send.
const OPEN_MAX: usize = 4096;

/// What a client and this server agree on.
struct Accepted {
    response: Response<Body>,
    upgrade: OnUpgrade,
    /// The version of the streams' protocol.
    version: &'static str,
}

/// Accepts the upgrade with the first of the client's versions that is `known`, or refuses it as upstream's `httpstream`
/// does: versions first, then whether this is an upgrade to SPDY at all.
fn accept(request: &mut Request, known: &[&'static str]) -> Result<Accepted, Box<Response<Body>>> {
    let version = version(request.headers(), known)?;
    let upgrade = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok());
    if !upgrade.is_some_and(|u| u.to_ascii_lowercase().contains("spdy/3.1")) {
        let given = go_header(request.headers());
        let why = format!("unable to upgrade: missing upgrade headers in request: {given}\n");
        return Err(Box::new(text(StatusCode::BAD_REQUEST, &why)));
    }
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, PROTOCOL)
        .header(header::CONNECTION, "Upgrade")
        .header(VERSION_HEADER, version)
        .body(Empty::new().boxed_unsync());
    let response = response.map_err(|e| Box::new(text(StatusCode::BAD_REQUEST, &e.to_string())))?;
    Ok(Accepted { response, upgrade: hyper::upgrade::on(request), version })
}

/// The version to speak.
fn version(headers: &HeaderMap, known: &[&'static str]) -> Result<&'static str, Box<Response<Body>>> {
    const NAME: &str = "X-Stream-Protocol-Version";
    let bad = |why: String| {
        Box::new(text(StatusCode::BAD_REQUEST, &format!("unable to upgrade: header {NAME} {why}\n")))
    };
    let given: Vec<&str> = headers.get_all(VERSION_HEADER).iter().filter_map(|v| v.to_str().ok()).collect();
    if given.is_empty() {
        return Err(bad(format!(
            "does not exist in request with {} headers",
            headers.keys().filter(|name| *name != header::HOST).count()
        )));
    }
    let offered: Vec<&str> =
        given.iter().flat_map(|v| v.split(',')).map(str::trim).filter(|v| !v.is_empty()).collect();
    if offered.is_empty() {
        return Err(bad(format!("contains [{}], but no valid protocols", given.join(" "))));
    }
    offered.iter().find_map(|offer| known.iter().find(|name| *name == offer)).copied().ok_or_else(|| {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]\n",
            offered.join(" "),
            known.join(" ")
        );
        let mut refused = text(StatusCode::FORBIDDEN, &why);
        for name in known {
            let name = header::HeaderValue::from_static(name);
            refused.headers_mut().append("x-accepted-stream-protocol-versions", name);
        }
        Box::new(refused)
    })
}

/// Headers as Go's `%#v` prints them, by which upstream shows what it was sent.
fn go_header(headers: &HeaderMap) -> String {
    let mut names: Vec<String> = headers.keys().filter(|name| *name != header::HOST).map(canonical).collect();
    names.sort();
    let one = |name: &String| {
        let values =
            headers.get_all(name).iter().map(|v| meta::go_quote(&String::from_utf8_lossy(v.as_bytes())));
        format!("{}:[]string{{{}}}", meta::go_quote(name), values.collect::<Vec<_>>().join(", "))
    };
    format!("http.Header{{{}}}", names.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A header's name as Go writes it.
fn canonical(name: &header::HeaderName) -> String {
    let mut start = true;
    let letter = |c: char| {
        let out = if start { c.to_ascii_uppercase() } else { c };
        start = c == '-';
        out
    };
    name.as_str().chars().map(letter).collect()
}

/// A stream that the client opened.
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Its headers, names in lower case.
    pub headers: Headers,
    /// What the client sends; ends when it has sent all.
    pub input: mpsc::Receiver<Bytes>,
    out: Output,
}

/// The sending half of a stream.
#[derive(Clone)]
pub struct Output {
    id: u32,
    frames: mpsc::Sender<Vec<u8>>,
}

impl Stream {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The sending half.
    pub fn output(&self) -> Output {
        self.out.clone()
    }
}

impl Output {
    /// Sends bytes; false when the connection is gone.
    pub async fn send(&self, data: &[u8]) -> bool {
        self.frames.send(frame::data(self.id, data, false)).await.is_ok()
    }

    /// Sends nothing more.
    pub async fn finish(&self) {
        let _ = self.frames.send(frame::data(self.id, &[], true)).await;
    }

    /// Breaks the stream off.
    pub async fn reset(&self) {
        let _ = self.frames.send(frame::reset(self.id)).await;
    }
}

/// Serves a connection: `streams` gets each stream as it is opened. Returns when the client is gone.
async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(io: S, streams: mpsc::Sender<Stream>) {
    let (mut read, mut write) = tokio::io::split(io);
    let (frames, mut queue) = mpsc::channel::<Vec<u8>>(64);
    let writer = env::spawn("spdy-writer", async move {
        while let Some(frame) = queue.recv().await {
            if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    let deflater = Arc::new(Mutex::new(Deflater::default()));
    let mut inflater = Inflater::default();
    let mut inputs: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    while let Some(next) = next(&mut read, &mut inflater).await {
        match next {
            Frame::Open { stream, headers, fin } => {
                if inputs.len() >= OPEN_MAX {
                    // Streams that this side is done with are forgotten; a client that has so many open is no client.
                    inputs.retain(|_, to| !to.is_closed());
                    if inputs.len() >= OPEN_MAX {
                        break;
                    }
                }
                let (to, input) = mpsc::channel(16);
                if !fin {
                    inputs.insert(stream, to);
                }
                let reply = deflater.lock().reply(stream);
                if frames.send(reply).await.is_err() {
                    break;
                }
                let out = Output { id: stream, frames: frames.clone() };
                if streams.send(Stream { id: stream, headers, input, out }).await.is_err() {
                    break;
                }
            }
            Frame::Data { stream, data, fin } => {
                if let Some(to) = inputs.get(&stream)
                    && !data.is_empty()
                {
                    // Whoever reads no more has dropped the receiver.
                    let send = async { to.send(Bytes::from(data)).await.is_ok() };
                    if patiently(ASKING, send, || frames.send(frame::ping(OWN_PING))).await.is_none() {
                        break;
                    }
                }
                if fin {
                    inputs.remove(&stream);
                }
            }
            Frame::Reset { stream } => {
                inputs.remove(&stream);
            }
            // The answer to one of this side's.
            Frame::Ping(OWN_PING) => {}
            Frame::Ping(id) => {
                let _ = frames.send(frame::ping(id)).await;
            }
            Frame::GoAway | Frame::Other => {}
        }
    }
    drop((inputs, frames, streams));
    writer.join().await;
}

async fn next<R: AsyncRead + Unpin>(read: &mut R, inflater: &mut Inflater) -> Option<Frame> {
    let mut head = [0; 8];
    read.read_exact(&mut head).await.ok()?;
    let length = frame::length(&head);
    if length > frame::MAX_FRAME {
        return None;
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    inflater.read(&head, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let told = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert("connection", "Upgrade".parse().unwrap());
            for value in values {
                headers.append(VERSION_HEADER, value.parse().unwrap());
            }
            version(&headers, &["v4.channel.k8s.io", "v3.channel.k8s.io"])
                .map_err(|refused| refused.status().as_u16())
        };
        assert_eq!(told(&["v9, v3.channel.k8s.io", "v4.channel.k8s.io"]), Ok("v3.channel.k8s.io"));
        assert_eq!((told(&[]), told(&[" , "]), told(&["v9"])), (Err(400), Err(400), Err(403)));
        let mut headers = HeaderMap::new();
        headers.insert("host", "h".parse().unwrap());
        headers.insert("x-stream-protocol-version", "a\"".parse().unwrap());
        headers.insert("accept", "b".parse().unwrap());
        let want = r#"http.Header{"Accept":[]string{"b"}, "X-Stream-Protocol-Version":[]string{"a\""}}"#;
        assert_eq!(go_header(&headers), want);
    }

    #[tokio::test]
    async fn streams_that_nobody_reads_are_forgotten() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (streams, mut opened) = mpsc::channel(4);
        let task = tokio::spawn(serve(server, streams));
        let (mut read, mut write) = tokio::io::split(client);
        let reader = tokio::spawn(async move { while read.read_u8().await.is_ok() {} });
        let mut deflater = Deflater::default();
        let mut open = async |number: usize| {
            write.write_all(&deflater.open(2 * number as u32 + 1, &Headers::new(), false)).await.is_ok()
        };
        // Each is dropped at once, as one with bad headers is.
        for number in 0..2 * OPEN_MAX {
            assert!(open(number).await);
            opened.recv().await.unwrap();
        }
        let mut kept = Vec::new();
        for number in 0..=OPEN_MAX {
            open(2 * OPEN_MAX + number).await;
            match opened.recv().await {
                Some(stream) => kept.push(stream),
                None => break,
            }
        }
        assert!(kept.len() <= OPEN_MAX);
        drop((opened, kept));
        reader.abort();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn streams_carry_bytes_both_ways() {
        let (client, server) = tokio::io::duplex(4096);
        let (streams, mut opened) = mpsc::channel(4);
        let task = tokio::spawn(serve(server, streams));
        let (mut read, mut write) = tokio::io::split(client);
        let mut deflater = Deflater::default();
        let headers: Headers = vec![("StreamType".into(), "data".into())];
        write.write_all(&deflater.open(1, &headers, false)).await.unwrap();
        write.write_all(&frame::data(1, b"hello", true)).await.unwrap();
        let mut stream = opened.recv().await.unwrap();
        assert_eq!(stream.header("streamtype"), Some("data"));
        assert_eq!(stream.input.recv().await.unwrap(), "hello");
        assert!(stream.input.recv().await.is_none());
        assert!(stream.output().send(b"there").await);
        stream.output().finish().await;
        let mut inflater = Inflater::default();
        assert_eq!(next(&mut read, &mut inflater).await, Some(Frame::Other), "the reply");
        let want = Frame::Data { stream: 1, data: b"there".to_vec(), fin: false };
        assert_eq!(next(&mut read, &mut inflater).await, Some(want));
        drop((read, write, stream));
        task.await.unwrap();
    }
}
