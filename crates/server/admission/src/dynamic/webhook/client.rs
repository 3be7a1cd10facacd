//! The way to a webhook: TLS with the authority that its configuration names, and connections that are kept.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use types::admissionregistration::v1::WebhookClientConfig;

use super::resolve::resolve;
use crate::world::World;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Connections that are kept.
const IDLE_MAX: usize = 8;
/// Where Linux distributions keep the certificates that the machine trusts.
const SYSTEM_STORES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Host and port, or why there are none.
pub type Address = Result<(String, u16), String>;

/// A webhook's server.
pub struct Endpoint {
    place: Place,
    /// `https://host:port`, as messages show it.
    origin: String,
    path: String,
    /// The name that the server's certificate must have.
    host: String,
    tls: Result<Arc<ClientConfig>, String>,
    idle: Mutex<Vec<(String, SendRequest<Full<Bytes>>)>>,
}

enum Place {
    Host(String, u16),
    Service { namespace: String, name: String, port: i32 },
}

impl Endpoint {
    /// The server that a configuration names.
    pub fn new(client: &WebhookClientConfig) -> Self {
        let tls = tls(&client.ca_bundle);
        if let Some(service) = &client.service {
            let port = service.port.unwrap_or(443);
            let host = format!("{}.{}.svc", service.name, service.namespace);
            let path = service.path.as_deref().unwrap_or_default();
            let place = Place::Service {
                namespace: service.namespace.to_string(),
                name: service.name.to_string(),
                port,
            };
            return Self {
                place,
                origin: format!("https://{host}:{port}"),
                path: format!("/{}", path.trim_start_matches('/')),
                host,
                tls,
                idle: Mutex::default(),
            };
        }
        let url = client.url.as_deref().unwrap_or_default();
        let rest = url.strip_prefix("https://").unwrap_or(url);
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(443)),
            _ => (authority, 443),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        Self {
            place: Place::Host(host.clone(), port),
            origin: format!("https://{authority}"),
            path: path.to_owned(),
            host,
            tls,
            idle: Mutex::default(),
        }
    }

    /// Where the server is at the moment.
    pub fn address(&self, world: &dyn World) -> Address {
        match &self.place {
            Place::Host(host, port) => Ok((host.clone(), *port)),
            Place::Service { namespace, name, port } => resolve(world, namespace, name, *port),
        }
    }

    /// Sends a question and reads the answer. The error reads as upstream's client prints it.
    pub async fn post(&self, address: Address, body: Bytes, timeout: Duration) -> Result<Bytes, String> {
        let query = if self.path.contains('?') { '&' } else { '?' };
        let target = format!("{}{query}timeout={}s", self.path, timeout.as_secs());
        let failed = |why: &str| format!("Post \"{}{target}\": {why}", self.origin);
        let (host, port) = address.map_err(|why| failed(&why))?;
        let exchange = self.exchange(&host, port, &target, body);
        let answer = tokio::time::timeout(timeout, exchange).await;
        match answer {
            Err(_) => Err(failed("context deadline exceeded")),
            Ok(Err(why)) => Err(failed(&why)),
            Ok(Ok((status, answer))) => read_status(status, answer),
        }
    }

    async fn exchange(
        &self,
        host: &str,
        port: u16,
        target: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut sender = match self.kept(&address).await {
            Some(sender) => sender,
            None => self.connect(&address).await?,
        };
        let request = Request::post(target)
            .header(header::HOST, self.origin.trim_start_matches("https://"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| reason(&error))?;
        let status = response.status();
        let mut incoming = response.into_body();
        let mut answer = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| reason(&error))?;
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
        Ok((status, answer.freeze()))
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
        let tls = self.tls.as_ref().map_err(Clone::clone)?;
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let tcp = TcpStream::connect(address).await.map_err(|error| dial(address, &error))?;
        tcp.set_nodelay(true).map_err(|error| dial(address, &error))?;
        let connector = TlsConnector::from(tls.clone());
        let stream = connector.connect(name, tcp).await.map_err(|error| untrusted(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| reason(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a webhook ended");
            }
        });
        Ok(sender)
    }
}

fn tls(bundle: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if bundle.is_empty() {
        let pem = SYSTEM_STORES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    } else {
        let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).flatten());
        if added == 0 {
            return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Why no connection was made, in Go's words.
fn dial(address: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        _ if error.raw_os_error().is_none() => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            return format!("dial tcp: lookup {host}: no such host");
        }
        _ => format!("connect: {error}"),
    };
    format!("dial tcp {address}: {why}")
}

/// Why the server's certificate is not taken, in Go's words.
fn untrusted(error: &io::Error) -> String {
    use rustls::CertificateError as Bad;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let why = match inner {
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature)) => {
            "x509: certificate signed by unknown authority"
        }
        Some(rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => {
            "x509: certificate has expired or is not yet valid"
        }
        Some(rustls::Error::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        )) => "x509: certificate is not valid for the requested name",
        _ => return format!("tls: {error}"),
    };
    format!("tls: failed to verify certificate: {why}")
}

/// Why an exchange ended, in Go's words.
fn reason(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "EOF".to_owned();
    }
    if error.is_parse() {
        return "net/http: HTTP/1.x transport connection broken: malformed HTTP response".to_owned();
    }
    error.to_string()
}

/// The answer, unless its status says that it is none.
fn read_status(status: StatusCode, answer: Bytes) -> Result<Bytes, String> {
    if status.is_success() {
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(&answer);
    let text = text.trim();
    let shown = if text.is_empty() { "unknown" } else { text };
    Err(match status.as_u16() {
        404 => "the server could not find the requested resource".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        500..=599 => format!("an error on the server ({shown:?}) has prevented the request from succeeding"),
        _ => "the server rejected our request for an unknown reason".to_owned(),
    })
}
