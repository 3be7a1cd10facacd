//! Posts JSON to one server: TLS (or none), bounded answers, and connections that are kept.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use outbound::words;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::answer::Answer;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Connections that are kept.
const IDLE_MAX: usize = 8;

/// Why there is no whole answer, in the words of upstream's client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// No connection, or nothing came back on it.
    #[error("{0}")]
    Unanswered(String),
    /// An answer began and did not end.
    #[error("unexpected error when reading response body. Please retry. Original error: {0}")]
    CutShort(String),
}

/// What Go says when the time is over.
const LATE: &str = "context deadline exceeded";

type Sender = SendRequest<Full<Bytes>>;

/// The way to one server.
pub struct Client {
    /// The name that the server's certificate must have.
    host: String,
    /// `host:port` for the Host header.
    authority: String,
    user_agent: &'static str,
    /// `None` speaks without TLS.
    tls: Option<Result<Arc<ClientConfig>, String>>,
    idle: Mutex<Vec<(String, Sender)>>,
}

impl Client {
    /// A way to a server whose certificate names `host`; `authority` is what the Host header says. An unusable
    /// configuration fails each exchange, not this.
    pub fn new(
        host: impl Into<String>,
        authority: impl Into<String>,
        tls: Option<Result<Arc<ClientConfig>, String>>,
        user_agent: &'static str,
    ) -> Self {
        Self { host: host.into(), authority: authority.into(), user_agent, tls, idle: Mutex::default() }
    }

    /// Posts `body` to `target` (path and query) at an address, and has a whole answer by `deadline`.
    ///
    /// # Errors
    /// When there is no connection, or it ends before a whole answer, or the time is over.
    pub async fn post(
        &self,
        host: &str,
        port: u16,
        target: &str,
        authorization: Option<&str>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answer, ExchangeError> {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::post(target)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, self.user_agent);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request =
            request.body(Full::new(body)).map_err(|error| ExchangeError::Unanswered(error.to_string()))?;
        let sending = timeout_at(deadline, self.send(&address, request)).await;
        let (sender, response) =
            sending.unwrap_or_else(|_| Err(LATE.to_owned())).map_err(ExchangeError::Unanswered)?;
        let header = |name| {
            let value =
                response.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (content_type, retry_after) = (header(header::CONTENT_TYPE), header(header::RETRY_AFTER));
        let status = response.status();
        let reading = timeout_at(deadline, read(response.into_body())).await;
        let body = reading.unwrap_or_else(|_| Err(LATE.to_owned())).map_err(ExchangeError::CutShort)?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push((address, sender));
        }
        Ok(Answer { status, content_type, retry_after_s: retry_after.parse().ok(), body })
    }

    /// Sends over a kept connection, or a new one where that closed before it took the request.
    async fn send(
        &self,
        address: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Sender, Response<Incoming>), String> {
        while let Some(mut sender) = self.kept(address).await {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                Err(mut error) => match error.take_message() {
                    Some(untouched) => request = untouched,
                    None => return Err(words::broken(error.error())),
                },
            }
        }
        let mut sender = self.connect(address).await?;
        let response = sender.send_request(request).await.map_err(|error| words::broken(&error))?;
        Ok((sender, response))
    }

    /// A kept connection to this address that still works.
    async fn kept(&self, address: &str) -> Option<Sender> {
        loop {
            let mut sender = {
                let mut idle = self.idle.lock();
                idle.retain(|(_, sender)| !sender.is_closed());
                let at = idle.iter().position(|(known, _)| known == address)?;
                idle.swap_remove(at).1
            };
            // One that closed meanwhile has taken nothing, so another may be tried.
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self, address: &str) -> Result<Sender, String> {
        let tls = match &self.tls {
            None => None,
            Some(tls) => Some(tls.as_ref().map_err(Clone::clone)?.clone()),
        };
        let tcp = TcpStream::connect(address).await.map_err(|error| words::dial(address, &error))?;
        tcp.set_nodelay(true).map_err(|error| words::dial(address, &error))?;
        let Some(tls) = tls else { return handshake(tcp).await };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        handshake(TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| words::untrusted(&error))?)
            .await
    }
}

/// A whole body.
async fn read(mut incoming: Incoming) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| words::cut_short(&error))?;
        if let Some(data) = frame.data_ref() {
            if body.len() + data.len() > ANSWER_BYTES_MAX {
                return Err("the answer is too large".to_owned());
            }
            body.extend_from_slice(data);
        }
    }
    Ok(body.freeze())
}

async fn handshake<S>(stream: S) -> Result<Sender, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| words::broken(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a webhook ended");
        }
    });
    Ok(sender)
}
