//! HTTP and HTTPS requests of probes and lifecycle hooks. Certificates are not verified, as documented for probes.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use outbound::tls::AnyServer;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use types::core::v1::{Container, HTTPGetAction};

use super::check::{Outcome, address, connect_error, host_or, port, truncate};

/// Most bytes of an answer that are read.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

/// A request to be made.
#[derive(Clone, Debug)]
pub struct Request {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
    agent: &'static str,
}

impl Request {
    /// From the handler of a probe.
    ///
    /// # Errors
    /// The port has no number.
    pub fn new(get: &HTTPGetAction, container: &Container, ip: Option<IpAddr>) -> Result<Request, String> {
        let path = get.path.as_str();
        Ok(Request {
            tls: get.scheme.eq_ignore_ascii_case("https"),
            host: host_or(&get.host, ip),
            port: port(&get.port, container)?,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers: get.http_headers.iter().map(|h| (h.name.to_string(), h.value.to_string())).collect(),
            agent: "kube-probe/1.36",
        })
    }

    /// Names a lifecycle hook as the client.
    pub fn for_hook(mut self) -> Request {
        self.agent = "kube-lifecycle/1.36";
        self
    }

    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", address(&self.host, self.port), self.path)
    }
}

/// The answer's status and the beginning of its body.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// At most 10 KiB.
    pub body: String,
    location: Option<String>,
}

/// Probes: 2xx and 3xx are good.
pub async fn probe(request: &Request, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, follow(request.clone())).await {
        Err(_) => Outcome::Failure(format!(
            "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            request.url()
        )),
        Ok(Err(why)) => Outcome::Failure(format!("Get \"{}\": {why}", request.url())),
        Ok(Ok(response)) if (300..400).contains(&response.status) => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {}", response.body))
        }
        Ok(Ok(response)) if (200..300).contains(&response.status) => Outcome::Success(response.body),
        Ok(Ok(response)) => {
            Outcome::Failure(format!("HTTP probe failed with statuscode: {}", response.status))
        }
    }
}

/// Follows redirects on the same host; one that leads elsewhere counts as it is.
async fn follow(mut request: Request) -> Result<Response, String> {
    for _ in 0..MAX_REDIRECTS {
        let response = get(&request).await?;
        let Some(location) = response.location.as_deref().filter(|_| (300..400).contains(&response.status))
        else {
            return Ok(response);
        };
        let own = format!(
            "{}://{}",
            if request.tls { "https" } else { "http" },
            address(&request.host, request.port)
        );
        match location.strip_prefix(&own).unwrap_or(location) {
            path if path.starts_with('/') && !path.starts_with("//") => request.path = path.to_owned(),
            _ => return Ok(response),
        }
    }
    Err("stopped after 10 redirects".into())
}

/// One request over a connection of its own.
///
/// # Errors
/// In words for an event.
pub async fn get(request: &Request) -> Result<Response, String> {
    let to = address(&request.host, request.port);
    let stream = TcpStream::connect((request.host.as_str(), request.port))
        .await
        .map_err(|e| format!("dial tcp {to}: {}", connect_error(&e)))?;
    // Answers are small; waiting to fill packets only delays readiness.
    let _ = stream.set_nodelay(true);
    if !request.tls {
        return send(request, stream).await;
    }
    static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(tls_config()));
    let name = ServerName::try_from(request.host.clone()).map_err(|e| e.to_string())?;
    let stream = tokio_rustls::TlsConnector::from(TLS.clone())
        .connect(name, stream)
        .await
        .map_err(|e| e.to_string())?;
    send(request, stream).await
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    request: &Request,
    stream: S,
) -> Result<Response, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let task = env::spawn("probe-http", async move {
        let _ = connection.await;
    });
    let mut message =
        hyper::Request::get(request.path.as_str()).body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let headers = message.headers_mut();
    for (name, value) in &request.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
        {
            headers.append(name, value);
        }
    }
    let mut default = |name: HeaderName, value: &str| {
        if !headers.contains_key(&name)
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(name, value);
        }
    };
    default(HOST, &address(&request.host, request.port));
    default(USER_AGENT, request.agent);
    default(ACCEPT, "*/*");
    let response = sender.send_request(message).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|v| v.to_str().ok()).map(str::to_owned);
    // A longer body is no failure: only its beginning is of interest.
    let body = Limited::new(response.into_body(), MAX_BODY)
        .collect()
        .await
        .map(|b| b.to_bytes())
        .unwrap_or_default();
    drop(task);
    let mut body = String::from_utf8_lossy(&body).into_owned();
    truncate(&mut body, MAX_BODY);
    Ok(Response { status, body, location })
}

/// A probe asks whether the container answers, not who it is.
fn tls_config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(AnyServer::new())
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Answers one connection for each text, in order.
    fn server(answers: Vec<&'static str>) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    async fn look(answers: Vec<&'static str>) -> Outcome {
        let get = HTTPGetAction {
            path: "healthz".into(),
            port: meta::IntOrString::Int(i32::from(server(answers))),
            host: "127.0.0.1".into(),
            ..Default::default()
        };
        let request = Request::new(&get, &Container::default(), None).unwrap();
        probe(&request, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn statuses() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(look(vec![ok]).await, Outcome::Success("ok".into()));
        let bad = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(look(vec![bad]).await, Outcome::Failure("HTTP probe failed with statuscode: 500".into()));
        let moved = "HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(
            look(vec![moved, bad]).await,
            Outcome::Failure("HTTP probe failed with statuscode: 500".into())
        );
        let away = "HTTP/1.1 302 Found\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(look(vec![away]).await, Outcome::Warning(_)), "a redirect to elsewhere is told of");
    }
}
