//! Connections to one server, kept and shared.
//!
//! Over HTTP/2 many requests share a connection; a new one is opened only when all have [`STREAMS_MAX`] requests (mostly
//! watches) under way, because servers limit the streams of a connection and requests beyond that would wait for
//! watches that never end. A server that does not offer HTTP/2 gets HTTP/1.1 with idle connections kept for reuse.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::kubeconfig::{Config, ConfigError};
use crate::measured::Tally;
use crate::{tls, words};

/// Requests under way on one HTTP/2 connection before another is opened. Go servers allow 250, some proxies 100.
const STREAMS_MAX: usize = 90;
/// Idle HTTP/1.1 connections kept.
const IDLE_MAX: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// client-go's HTTP/2 health check: a ping after this long without a frame, and how long its answer may take.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request got no answer. All of these may be retried for requests that change nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No connection could be made; nothing was sent.
    #[error("{reason}")]
    Dial {
        /// Host and port.
        address: String,
        /// What went wrong, with the address where it matters.
        reason: String,
    },
    /// The connection broke with the request under way: the server may or may not have seen it.
    #[error("{}", crate::words::broken(.0))]
    Broken(#[from] hyper::Error),
}

/// A byte stream to a server.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Knows how to reach one server, and keeps the connections made.
pub(crate) struct Pool {
    address: String,
    server_name: Option<ServerName<'static>>,
    tls: Option<TlsConnector>,
    tls_http1: Option<TlsConnector>,
    shared: Mutex<Vec<Shared>>,
    idle: Arc<Mutex<Vec<http1::SendRequest<Full<Bytes>>>>>,
}

#[derive(Clone)]
struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    streams: Arc<AtomicUsize>,
}

enum Fresh {
    Http2(Shared),
    Http1(http1::SendRequest<Full<Bytes>>),
}

impl Pool {
    pub(crate) fn new(config: &Config, server: &Uri) -> Result<Pool, ConfigError> {
        let host = server.host().ok_or_else(|| ConfigError::Tls(format!("no host in {server}")))?;
        let secure = server.scheme_str() != Some("http");
        let port = server.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let (mut server_name, mut connector, mut connector_http1) = (None, None, None);
        if secure {
            let name = config.tls_server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(name).map_err(|error| ConfigError::Tls(error.to_string()))?;
            server_name = Some(name);
            connector = Some(TlsConnector::from(tls::client_config(config, &[b"h2", b"http/1.1"])?));
            connector_http1 = Some(TlsConnector::from(tls::client_config(config, &[b"http/1.1"])?));
        }
        Ok(Pool {
            address: format!("{host}:{port}"),
            server_name,
            tls: connector,
            tls_http1: connector_http1,
            shared: Mutex::default(),
            idle: Arc::default(),
        })
    }

    /// Sends one request over a kept or a new connection.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, ConnectionError> {
        if let Some(shared) = self.pick() {
            // A connection that closed since it was picked takes nothing, so the request may go to a new one.
            let mut sender = shared.sender.clone();
            if sender.ready().await.is_ok() {
                return send_shared(sender, shared.streams, request).await;
            }
        }
        let idle = self.idle.lock().pop();
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
        {
            return self.send_alone(sender, request).await;
        }
        match self.connect().await? {
            Fresh::Http2(shared) => {
                self.shared.lock().push(shared.clone());
                send_shared(shared.sender, shared.streams, request).await
            }
            Fresh::Http1(sender) => self.send_alone(sender, request).await,
        }
    }

    /// Opens a connection of its own that speaks HTTP/1.1, for upgrades to WebSocket or SPDY.
    pub(crate) async fn dial_http1(&self) -> Result<Box<dyn Io>, ConnectionError> {
        self.dial(self.tls_http1.as_ref()).await.map(|(io, _)| io)
    }

    fn pick(&self) -> Option<Shared> {
        let mut shared = self.shared.lock();
        shared.retain(|connection| !connection.sender.is_closed());
        shared.iter().find(|connection| connection.streams.load(Ordering::Relaxed) < STREAMS_MAX).cloned()
    }

    async fn send_alone(
        &self,
        mut sender: http1::SendRequest<Full<Bytes>>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, ConnectionError> {
        // Only proxies are told the whole URL; HTTP/2 needs it to say whom it speaks to.
        if let Some(Ok(path)) = request.uri().path_and_query().map(|path| path.as_str().parse()) {
            *request.uri_mut() = path;
        }
        let response = sender.send_request(request).await?;
        let back = Back::Idle(Some(sender), self.idle.clone());
        Ok(response.map(|body| Answer { body, tally: None, _back: back }))
    }

    async fn connect(&self) -> Result<Fresh, ConnectionError> {
        let (io, http2) = self.dial(self.tls.as_ref()).await?;
        let io = TokioIo::new(io);
        if http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_AFTER)
                .keep_alive_timeout(PING_TIMEOUT)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .handshake(io)
                .await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection to a server ended");
                }
            });
            Ok(Fresh::Http2(Shared { sender, streams: Arc::default() }))
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection to a server ended");
                }
            });
            Ok(Fresh::Http1(sender))
        }
    }

    async fn dial(&self, tls: Option<&TlsConnector>) -> Result<(Box<dyn Io>, bool), ConnectionError> {
        let failed = |reason: String| ConnectionError::Dial { address: self.address.clone(), reason };
        let dial = |error: &std::io::Error| failed(words::dial(&self.address, error));
        let connect = async {
            let tcp = TcpStream::connect(&self.address).await.map_err(|error| dial(&error))?;
            tcp.set_nodelay(true).map_err(|error| dial(&error))?;
            let (Some(tls), Some(name)) = (tls, &self.server_name) else {
                return Ok((Box::new(tcp) as Box<dyn Io>, false));
            };
            let stream =
                tls.connect(name.clone(), tcp).await.map_err(|error| failed(words::untrusted(&error)))?;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok((Box::new(stream) as Box<dyn Io>, http2))
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| failed(format!("dial tcp {}: i/o timeout", self.address)))?
    }
}

async fn send_shared(
    mut sender: http2::SendRequest<Full<Bytes>>,
    streams: Arc<AtomicUsize>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Answer>, ConnectionError> {
    streams.fetch_add(1, Ordering::Relaxed);
    let back = Back::Stream(streams);
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Answer { body, tally: None, _back: back }))
}

/// A response body that gives its place on the connection back when it ends or is dropped.
pub struct Answer {
    body: Incoming,
    /// Counts what is read, where that is measured.
    pub(crate) tally: Option<Tally>,
    /// Held for what its drop does.
    _back: Back,
}

enum Back {
    Stream(Arc<AtomicUsize>),
    Idle(Option<http1::SendRequest<Full<Bytes>>>, Arc<Mutex<Vec<http1::SendRequest<Full<Bytes>>>>>),
}

impl Drop for Back {
    fn drop(&mut self) {
        match self {
            Back::Stream(streams) => {
                streams.fetch_sub(1, Ordering::Relaxed);
            }
            // A body that was not read to its end leaves the connection unusable; hyper then reports it closed.
            Back::Idle(sender, idle) => {
                if let Some(sender) = sender.take()
                    && !sender.is_closed()
                {
                    let mut idle = idle.lock();
                    if idle.len() < IDLE_MAX {
                        idle.push(sender);
                    }
                }
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let (Some(tally), Some(data)) = (&mut self.tally, frame.data_ref())
        {
            tally.read(data.len());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
