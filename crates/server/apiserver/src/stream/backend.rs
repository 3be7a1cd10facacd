//! One request to one backend: connect, forward, and, where both sides agree on an upgrade, copy bytes both ways.
//!
//! WebSocket and SPDY look the same from here. The upgrade request goes to the backend as it came; after its 101 the
//! server is a pipe, so flow control is that of the two sockets and nothing is buffered beyond one copy buffer.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::header::{self, HeaderName};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::body::{Body, Broken};
use crate::http::media::BROWSER_TOKEN;

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Headers that belong to one hop (RFC 9110, section 7.6.1).
pub(crate) const HOP_HEADERS: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Why a backend did not answer. All may be retried by the client.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No connection.
    #[error("dial tcp {address}: {why}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's or TLS's reason.
        why: String,
    },
    /// No trust.
    #[error("tls: {0}")]
    Tls(String),
    /// The connection broke before an answer came.
    #[error("{0}")]
    Exchange(#[from] hyper::Error),
    /// The backend went away, or speaks no HTTP.
    #[error("{0}")]
    Closed(&'static str),
    /// The request could not be put together from what the client sent.
    #[error("{0}")]
    Request(#[from] http::Error),
    /// An answer came, and it is neither an upgrade nor a refusal.
    #[error("invalid upgrade response: status code {}", .0.as_u16())]
    NoUpgrade(StatusCode),
}

/// Which host a backend is told that it was asked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The backend's own.
    Backend,
    /// The one that the client asked for: a page behind a proxy is shown under that one.
    Asked,
}

/// Whether a request asks to become another protocol: upstream looks at the connection's header alone.
pub fn wants_upgrade(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS, or plain TCP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The name that the backend's certificate must have, where that is not the host.
    pub name: Option<String>,
}

impl Backend {
    /// Host and port, brackets around IPv6 addresses.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    async fn connect(&self) -> Result<Box<dyn Socket>, BackendError> {
        let failed = |why: String| BackendError::Connect { address: self.authority(), why };
        let connecting = async {
            let socket =
                TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| failed(reason(&e)))?;
            // A proxy that cannot switch off Nagle's algorithm still proxies.
            let _ = socket.set_nodelay(true);
            let Some(tls) = &self.tls else { return Ok(Box::new(socket) as Box<dyn Socket>) };
            let name = ServerName::try_from(self.name.as_ref().unwrap_or(&self.host).clone())
                .map_err(|e| BackendError::Tls(e.to_string()))?;
            let stream =
                TlsConnector::from(tls.clone()).connect(name, socket).await.map_err(|e| distrust(&e))?;
            Ok(Box::new(stream) as Box<dyn Socket>)
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| failed("i/o timeout".into()))?
    }

    /// As [`Backend::forward`], for requests that are good for nothing but their upgrade.
    ///
    /// # Errors
    /// Also for an answer that neither upgrades nor refuses.
    pub async fn upgrade(
        &self,
        request: Request<Incoming>,
        path: &str,
        host: Host,
    ) -> Result<Response<Body>, BackendError> {
        let answer = self.forward(request, path, host).await?;
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
            status if status.as_u16() >= 400 => Ok(answer),
            status => Err(BackendError::NoUpgrade(status)),
        }
    }

    /// Sends `request` on with another path, and brings the answer back. `path` starts with a slash and may have a
    /// query. Credentials of the client stay here.
    pub async fn forward(
        &self,
        mut request: Request<Incoming>,
        path: &str,
        host: Host,
    ) -> Result<Response<Body>, BackendError> {
        let socket = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to a backend ended");
            }
        });
        let upgrade =
            request.headers().get(header::UPGRADE).filter(|_| wants_upgrade(request.headers())).cloned();
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let asked = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        parts.uri = path.parse::<Uri>().map_err(http::Error::from)?;
        parts.version = http::Version::HTTP_11;
        strip(&mut parts.headers);
        if host == Host::Backend || !parts.headers.contains_key(header::HOST) {
            let told = asked.filter(|_| host == Host::Asked).unwrap_or_else(|| self.authority());
            parts.headers.insert(header::HOST, told.parse().map_err(http::Error::from)?);
        }
        if let Some(protocol) = &upgrade {
            parts.headers.insert(header::UPGRADE, protocol.clone());
            parts.headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
        }
        let mut answer = sender.send_request(Request::from_parts(parts, body)).await.map_err(broken)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client_side) = client_side
        {
            let backend_side = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                if let (Ok(client), Ok(backend)) = tokio::join!(client_side, backend_side) {
                    // Either side may go away at any time; that ends the tunnel and is no error.
                    let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(backend)).await;
                }
            });
            let (parts, _) = answer.into_parts();
            return Ok(Response::from_parts(parts, Body::empty()));
        }
        let (mut parts, body) = answer.into_parts();
        for name in HOP_HEADERS {
            parts.headers.remove(name);
        }
        // The sender must live as long as the body, or the connection ends under it.
        let chunks = body.into_data_stream().map(move |chunk| {
            let _ = &sender;
            chunk.map_err(|_| Broken)
        });
        Ok(Response::from_parts(parts, Body::Relay(chunks.boxed())))
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Takes out what must not reach a backend: headers of this hop, the client's credential, and who it plays. What `Connection`
/// names stays: it may be what this server itself says of the client, such as who it is.
fn strip(headers: &mut HeaderMap) {
    for name in HOP_HEADERS {
        headers.remove(name);
    }
    headers.remove(header::UPGRADE);
    headers.remove(header::AUTHORIZATION);
    without_token(headers);
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        headers.remove(name);
    }
}

/// Takes the token of a browser out of the subprotocols that it offers, for it is nobody else's.
fn without_token(headers: &mut HeaderMap) {
    let offers =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offers.flat_map(|value| value.split(',')).map(str::trim).collect();
    let is_token = |name: &&str| name.starts_with(BROWSER_TOKEN);
    if !offered.iter().any(is_token) {
        return;
    }
    let rest: Vec<&str> = offered.into_iter().filter(|name| !is_token(name)).collect();
    let rest = rest.join(",");
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = rest.parse()
        && !rest.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// What went wrong with an exchange, in Go's words where clients know them.
fn broken(error: hyper::Error) -> BackendError {
    match () {
        () if error.is_incomplete_message() => BackendError::Closed("EOF"),
        () if error.is_parse() => {
            BackendError::Closed("net/http: HTTP/1.x transport connection broken: malformed HTTP response")
        }
        () => BackendError::Exchange(error),
    }
}

/// The reason of a connection failure as Go words it.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        _ => error.to_string(),
    }
}

/// Why a handshake failed, common reasons as Go words them.
fn distrust(error: &std::io::Error) -> BackendError {
    use rustls::{CertificateError, Error, InvalidMessage};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => BackendError::Tls(
            "failed to verify certificate: x509: certificate signed by unknown authority".into(),
        ),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            BackendError::Closed("http: server gave HTTP response to HTTPS client")
        }
        _ => BackendError::Tls(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_clients_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("impersonate-user", "u"),
            ("impersonate-extra-a", "b"),
            ("connection", "Upgrade, X-Kept"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA"),
            ("sec-websocket-protocol", "v4.channel.k8s.io"),
            ("x-kept", "1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip(&mut headers);
        let left: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            left,
            [("x-kept", "1"), ("sec-websocket-protocol", "v5.channel.k8s.io,v4.channel.k8s.io")]
        );
        let mut alone = HeaderMap::new();
        let token = "base64url.bearer.authorization.k8s.io.eA";
        alone.insert("sec-websocket-protocol", token.parse().unwrap());
        strip(&mut alone);
        assert!(alone.is_empty(), "{alone:?}");
    }

    #[test]
    fn an_upgrade_is_asked_for_by_the_connection() {
        for (value, want) in [("Upgrade", true), ("keep-alive, upgrade", true), ("keep-alive", false)] {
            let mut headers = HeaderMap::new();
            headers.insert("upgrade", "websocket".parse().unwrap());
            headers.insert("connection", value.parse().unwrap());
            assert_eq!(wants_upgrade(&headers), want, "{value}");
        }
        let refused = BackendError::NoUpgrade(StatusCode::OK);
        assert_eq!(refused.to_string(), "invalid upgrade response: status code 200");
    }
}
