//! Posts JSON to one server: TLS (or none), bounded answers, and connections that are kept.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use outbound::words;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Connections that are kept.
const IDLE_MAX: usize = 8;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// The way to one server.
pub struct Client {
    /// The name that the server's certificate must have.
    host: String,
    /// `host:port` for the Host header.
    authority: String,
    user_agent: &'static str,
    /// `None` speaks without TLS.
    tls: Option<Result<Arc<ClientConfig>, String>>,
    idle: Mutex<Vec<(String, SendRequest<Full<Bytes>>)>>,
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

    /// Posts `body` to `target` (path and query) at an address. The error reads as upstream's client prints it.
    ///
    /// # Errors
    /// When there is no connection, or it ends before a whole answer.
    pub async fn post(
        &self,
        host: &str,
        port: u16,
        target: &str,
        authorization: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, String> {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut sender = match self.kept(&address).await {
            Some(sender) => sender,
            None => self.connect(&address).await?,
        };
        let mut request = Request::post(target)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, self.user_agent);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| words::broken(&error))?;
        let status = response.status();
        let mut incoming = response.into_body();
        let mut answer = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| words::broken(&error))?;
            if let Some(data) = frame.data_ref() {
                if answer.len() + data.len() > ANSWER_BYTES_MAX {
                    return Err("the answer is too large".to_owned());
                }
                answer.extend_from_slice(data);
            }
        }
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push((address, sender));
        }
        Ok(Answer { status, body: answer.freeze() })
    }

    /// A kept connection to this address that still works.
    async fn kept(&self, address: &str) -> Option<SendRequest<Full<Bytes>>> {
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

    async fn connect(&self, address: &str) -> Result<SendRequest<Full<Bytes>>, String> {
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

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
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

impl Answer {
    /// The body, unless the status says that it is no answer.
    ///
    /// # Errors
    /// What upstream's client makes of the status.
    pub fn into_success(self) -> Result<Bytes, String> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        let shown = if text.is_empty() { "unknown" } else { text };
        Err(match self.status.as_u16() {
            404 => "the server could not find the requested resource".to_owned(),
            401 => "the server has asked for the client to provide credentials".to_owned(),
            429 => "the server has received too many requests and has asked us to try again later".to_owned(),
            500..=599 => {
                format!("an error on the server ({shown:?}) has prevented the request from succeeding")
            }
            _ => "the server rejected our request for an unknown reason".to_owned(),
        })
    }
}
