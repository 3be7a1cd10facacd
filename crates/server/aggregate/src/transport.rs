//! The way to an extension API server: TLS with the authority that its APIService names, the front proxy's certificate,
//! HTTP/2 where the server speaks it, and connections that are kept.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{Request, Response, Uri, Version};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outbound::words;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use types::apiregistration::v1::APIServiceSpec;
use webhook::{Identity, Trust};

use crate::address::Address;

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(90);
/// How often a silent connection is asked whether it still lives.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections to one extension API server, at whichever of its addresses.
pub struct Channel {
    client: Client<Connector, Outgoing>,
    /// For upgrades, which only HTTP/1.1 has.
    plain: Arc<ClientConfig>,
    /// The name that the server's certificate must have.
    server_name: String,
}

/// A body that is sent on, or one of our own.
pub type Outgoing = Either<Incoming, Full<Bytes>>;

impl Channel {
    /// What the APIService's spec asks for. Without `identity` no client certificate is shown.
    ///
    /// # Errors
    /// When its `caBundle` cannot be read.
    pub fn new(spec: &APIServiceSpec, identity: Option<&Identity>) -> Result<Self, String> {
        let service = spec.service.as_deref().cloned().unwrap_or_default();
        let server_name = format!("{}.{}.svc", service.name, service.namespace);
        let plain = tls(spec, identity)?;
        let mut either = plain.clone();
        either.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let connector = Connector { tls: Arc::new(either), server_name: server_name.clone() };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector);
        Ok(Channel { client, plain: Arc::new(plain), server_name })
    }

    /// TLS and the name of the server, for a connection that is to be upgraded.
    pub fn for_upgrade(&self) -> (Arc<ClientConfig>, &str) {
        (self.plain.clone(), &self.server_name)
    }

    /// Sends a request. `path` starts with a slash and may have a query.
    ///
    /// # Errors
    /// Why no answer came, in Go's words.
    pub async fn send(
        &self,
        address: &Address,
        path: &str,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, String> {
        let uri = format!("https://{address}{path}");
        *request.uri_mut() = uri.parse::<Uri>().map_err(|error| error.to_string())?;
        // The client speaks HTTP/2 where the connection does.
        *request.version_mut() = Version::HTTP_11;
        self.client.request(request).await.map_err(|error| reason(&error))
    }

    /// Gets a document of at most `bytes_max` bytes. The status is not looked at.
    ///
    /// # Errors
    /// Why it did not come.
    pub async fn get(
        &self,
        address: &Address,
        path: &str,
        head: http::HeaderMap,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, String> {
        let mut request = Request::new(Bytes::new());
        *request.headers_mut() = head;
        self.ask(address, path, request, bytes_max).await
    }

    /// Sends a request of our own and reads an answer of at most `bytes_max` bytes. The status is not looked at.
    ///
    /// # Errors
    /// Why it did not come.
    pub async fn ask(
        &self,
        address: &Address,
        path: &str,
        request: Request<Bytes>,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, String> {
        let request = request.map(|body| Either::Right(Full::new(body)));
        let (parts, body) = self.send(address, path, request).await?.into_parts();
        let mut chunks = body.into_data_stream();
        let mut document = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| words::broken(&error))?;
            if document.len() + chunk.len() > bytes_max {
                return Err(format!("the answer is larger than {bytes_max} bytes"));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(Response::from_parts(parts, document.freeze()))
    }
}

fn tls(spec: &APIServiceSpec, identity: Option<&Identity>) -> Result<ClientConfig, String> {
    let trust = match (spec.insecure_skip_tls_verify, &spec.ca_bundle.0) {
        (true, _) => Trust::Anybody,
        (false, bundle) if bundle.is_empty() => Trust::System,
        (false, bundle) => Trust::Bundle(bundle.clone()),
    };
    Ok((*webhook::client_config(&trust, identity)?).clone())
}

/// Connects to whatever address a request names, always with the name of the one server.
#[derive(Clone)]
struct Connector {
    tls: Arc<ClientConfig>,
    server_name: String,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(443);
            let address = Address { host, port };
            let name = ServerName::try_from(this.server_name).map_err(io::Error::other)?;
            let connecting = async {
                let tcp = TcpStream::connect((address.host.as_str(), port))
                    .await
                    .map_err(|error| io::Error::other(words::dial(&address.to_string(), &error)))?;
                tcp.set_nodelay(true)?;
                let stream = TlsConnector::from(this.tls).connect(name, tcp).await;
                let stream = stream.map_err(|error| io::Error::other(words::untrusted(&error)))?;
                Ok(Socket(TokioIo::new(stream)))
            };
            let late = || io::Error::other(format!("dial tcp {address}: i/o timeout"));
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| late())?
        })
    }
}

/// A connection that knows which protocol was agreed on.
struct Socket(TokioIo<TlsStream<TcpStream>>);

impl Connection for Socket {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        match session.alpn_protocol() {
            Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Why a request got no answer: what the connector or the exchange said, without the wrappings.
fn reason(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.to_string();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return words::broken(error);
        }
        cause = error.source();
    }
    error.to_string()
}
