//! The scheduler's own HTTPS endpoint: health, metrics, its configuration, and questions ([`super::questions`]).
//!
//! Everyone may ask for the health; anything else takes an identity and the API server's consent ([`delegated`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use delegated::{Access, Refused, User, Wanted};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use meta::{Codec, GroupResource, Status};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use serving::{Live, Material, Pair, Pem};
use telemetry::zpages;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::questions::{Questions, Refusal, pairs, parameter, what_if_of};
use super::trust::{Peer, Trust};

/// Connections that are served at once; further ones wait.
const CONNECTIONS_MAX: usize = 512;
/// Longest life of a connection, so that idle ones do not keep others out.
const LIFETIME: Duration = Duration::from_secs(300);
/// Pause when no connection can be taken, such as without a free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Largest manifest of a question.
const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// What the scheduler is called where components tell of themselves, and the paths that it names there.
const COMPONENT: &str = "kube-scheduler";
const PATHS: [&str; 7] =
    ["/configz", "/ferrokube/scheduler", "/flagz", "/healthz", "/livez", "/metrics", "/readyz"];

/// What is served, and to whom.
pub(super) struct Endpoint {
    access: Arc<Access>,
    questions: Questions,
    state: State,
    trust: Trust,
    slis: telemetry::Slis,
}

/// What the endpoint tells of the scheduler.
pub(super) struct State {
    /// Whether it knows the cluster: what /readyz says.
    pub(super) ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether it decides, rather than standing by: only then /metrics/resources has something to say.
    pub(super) leads: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether it stands for election.
    pub(super) elects: bool,
    /// The configuration in use.
    pub(super) configuration: serde_json::Value,
    /// Paths that everyone may ask for; one that ends with `*` means all that begin so.
    pub(super) open: Vec<String>,
    /// Most requests at once on an HTTP/2 connection; the library's default without.
    pub(super) streams_max: Option<u32>,
}

impl State {
    /// Whether everyone may ask for a path.
    fn is_open(&self, path: &str) -> bool {
        self.open.iter().any(|open| match open.strip_suffix('*') {
            Some(begin) => path.starts_with(begin),
            None => path == open,
        })
    }
}

/// A certificate of its own making, for as long as the process lives.
pub(super) fn self_signed() -> Result<Pair> {
    let (certificate, key) = self_signed_pem()?;
    Ok(Pair { certificate: Pem::from(certificate.into_bytes()), key: Pem::from(key.into_bytes()) })
}

/// The same as PEM: the certificate and its key.
pub(super) fn self_signed_pem() -> Result<(String, String)> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if let Ok(host) = nix::unistd::gethostname() {
        names.push(host.to_string_lossy().into_owned());
    }
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

impl Endpoint {
    /// Serves these questions to those whom `access` lets in.
    pub(super) fn new(access: Arc<Access>, questions: Questions, state: State, trust: Trust) -> Arc<Self> {
        Arc::new(Endpoint { access, questions, state, trust, slis: telemetry::Slis::default() })
    }

    /// Serves until the task is dropped.
    ///
    /// # Errors
    /// The key material cannot be used.
    pub(super) fn listen(self: Arc<Self>, listener: TcpListener, material: Material) -> Result<env::Task> {
        let (tls, followed) = Live::new(material, self.trust.authorities())
            .context("the scheduler's TLS files cannot be used")?;
        Ok(env::spawn("scheduler-https", async move {
            let following = tls.clone();
            tokio::join!(self.accept(listener, tls), following.follow(followed));
        }))
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, tls: Arc<Live>) {
        let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                self.access.pause(PAUSE).await;
                continue;
            };
            let local = stream.local_addr().ok().map(|address| address.ip());
            let (endpoint, acceptor, tls) = (self.clone(), TlsAcceptor::from(tls.at(local)), tls.clone());
            env::spawn_detached("scheduler-https-connection", async move {
                let _ = tokio::time::timeout(LIFETIME, endpoint.connection(stream, acceptor, &tls)).await;
                drop(slot);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, acceptor: TlsAcceptor, tls: &Live) {
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
        let certificates: Option<Vec<CertificateDer<'static>>> = stream
            .get_ref()
            .1
            .peer_certificates()
            .map(|all| all.iter().map(|one| one.clone().into_owned()).collect());
        let peer = Arc::new(self.trust.judge(tls, certificates, self.access.now_s()));
        let streams_max = self.state.streams_max;
        let service = service_fn(move |request: Request<Incoming>| {
            let (endpoint, peer) = (self.clone(), peer.clone());
            async move { Ok::<_, Infallible>(endpoint.handle(request, &peer).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new());
        if streams_max.is_some() {
            builder.http2().max_concurrent_streams(streams_max);
        }
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a connection to the scheduler ended");
        }
    }

    /// Who asks: whom a proxy names before whom a certificate names, and last whom a token does.
    async fn asker(&self, headers: &HeaderMap, peer: &Peer) -> Result<User, Refused> {
        let named = if peer.proxy { self.trust.named(headers) } else { None };
        if let Some(user) = named.or_else(|| peer.user.clone()) {
            return Ok(user);
        }
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.access.identify(None, token).await
    }

    async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if !self.state.is_open(&path) {
            let user = match self.asker(request.headers(), peer).await {
                Ok(user) => user,
                Err(Refused::Unauthenticated) => {
                    return refused(StatusCode::UNAUTHORIZED, &Status::unauthorized("Unauthorized"));
                }
                Err(Refused::Unanswered(_)) => return internal(),
            };
            let verb = delegated::verb(request.method().as_str());
            match self.access.allows(&user, verb, Wanted::Path(path.clone())).await {
                Ok(true) => {}
                Ok(false) => {
                    let why = format!("User {} cannot {verb} path {}", quoted(&user.name), quoted(&path));
                    let status = Status::forbidden(&GroupResource::default(), "", why);
                    return refused(StatusCode::FORBIDDEN, &status);
                }
                Err(_) => return internal(),
            }
        }
        let query = request.uri().query().unwrap_or("");
        let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let accept = accept.unwrap_or_default().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET | &Method::HEAD, checked) if self.checks(checked).is_some() => {
                let (checks, one) = self.checks(checked).unwrap_or_default();
                let list = checked.split('/').nth(1).unwrap_or_default();
                let asked = |name: &str| one.as_deref().is_none_or(|one| one == name);
                for (name, good) in checks.iter().filter(|(name, _)| asked(name)) {
                    self.slis.observe(list, name, *good);
                }
                match one {
                    None => health(&path, query, &checks),
                    Some(one) => health_of(&checks, &one),
                }
            }
            (&Method::GET, "/metrics") => {
                answer(StatusCode::OK, telemetry::CONTENT_TYPE, telemetry::render())
            }
            (&Method::GET, "/metrics/slis") => {
                answer(StatusCode::OK, telemetry::CONTENT_TYPE, self.slis.render())
            }
            (&Method::GET, "/metrics/resources") => {
                let page = if (self.state.leads)() { self.questions.consumption() } else { String::new() };
                answer(StatusCode::OK, telemetry::CONTENT_TYPE, page)
            }
            (_, "/statusz") => {
                let now = self.access.now_s();
                let started = telemetry::started().map_or(now, |started| started as i64);
                zpage(zpages::statusz(COMPONENT, &PATHS.map(str::to_owned), started, now, &accept))
            }
            (_, "/flagz") => zpage(zpages::flagz(COMPONENT, &accept)),
            (&Method::GET, "/configz") => {
                let all = json!({"componentconfig": self.state.configuration});
                answer(StatusCode::OK, "application/json", all.to_string())
            }
            (&Method::GET, "/ferrokube/scheduler/why") => self.why(query).await,
            (&Method::POST, "/ferrokube/scheduler/whatif") => self.what_if(request).await,
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    /// The checks of a health path, and the one that is asked for alone: `/readyz/shutdown`.
    fn checks(&self, path: &str) -> Option<(Checks, Option<String>)> {
        let rest = path.strip_prefix('/')?;
        let (root, one) = match rest.split_once('/') {
            None => (rest, None),
            Some((root, one)) => (root, Some(one.to_owned())),
        };
        let checks: Checks = match root {
            "livez" => vec![("ping", true)],
            // A replica that lost its lease ends: while it answers, the election goes well.
            "healthz" if self.state.elects => vec![("leaderElection", true)],
            "healthz" => vec![("ping", true)],
            "readyz" => {
                let election = self.state.elects.then_some(("leaderElection", true));
                let others = [("shutdown", true), ("sched-handler-sync", (self.state.ready)())];
                election.into_iter().chain(others).collect()
            }
            _ => return None,
        };
        let known = one.as_ref().is_none_or(|one| checks.iter().any(|(name, _)| name == one));
        known.then_some((checks, one))
    }

    async fn why(&self, query: &str) -> Response<Full<Bytes>> {
        let pod = match parameter(query, "pod") {
            Ok(pod) => pod,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error:#}")),
        };
        let namespace = parameter(query, "namespace").unwrap_or_else(|_| "default".into());
        said(self.questions.why(&namespace, &pod).await)
    }

    async fn what_if(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let query = request.uri().query().unwrap_or("").to_owned();
        let Ok(body) = Limited::new(request.into_body(), MANIFEST_BYTES_MAX).collect().await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the manifest is too large");
        };
        let manifest = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        match what_if_of(&query, &manifest) {
            Ok(asked) => said(self.questions.what_if(&asked).await),
            Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error:#}")),
        }
    }
}

fn said(outcome: Result<serde_json::Value, Refusal>) -> Response<Full<Bytes>> {
    let failed = |status: StatusCode, message: String| {
        answer(status, "application/json", json!({"message": message}).to_string())
    };
    match outcome {
        Ok(value) => answer(StatusCode::OK, "application/json", value.to_string()),
        Err(Refusal::NotFound(message)) => failed(StatusCode::NOT_FOUND, message),
        Err(Refusal::Bad(message)) => failed(StatusCode::BAD_REQUEST, message),
    }
}

/// The API server was asked and did not answer.
fn internal() -> Response<Full<Bytes>> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

/// Checks by name, and whether each is well.
type Checks = Vec<(&'static str, bool)>;

/// What one check alone says.
fn health_of(checks: &[(&str, bool)], name: &str) -> Response<Full<Bytes>> {
    match checks.iter().any(|(other, good)| *other == name && *good) {
        true => text(StatusCode::OK, "ok"),
        false => {
            let message = "internal server error: not finished\n";
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
}

/// What a health check says: `ok` alone, unless something is wrong or everything is asked for.
fn health(path: &str, query: &str, checks: &[(&str, bool)]) -> Response<Full<Bytes>> {
    let good = checks.iter().all(|(_, good)| *good);
    if good && pairs(query).all(|(name, _)| name != "verbose") {
        return text(StatusCode::OK, "ok");
    }
    let mut lines = String::new();
    for (name, good) in checks {
        match good {
            true => lines.push_str(&format!("[+]{name} ok\n")),
            false => lines.push_str(&format!("[-]{name} failed: reason withheld\n")),
        }
    }
    let (status, verdict) = match good {
        true => (StatusCode::OK, "passed"),
        false => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    text(status, &format!("{lines}{} check {verdict}\n", path.trim_start_matches('/')))
}

/// What the scheduler tells of itself, in the form that the client accepts.
fn zpage(page: Option<zpages::Page>) -> Response<Full<Bytes>> {
    let Some(page) = page else {
        let status = Status::failure(406, meta::reason::NOT_ACCEPTABLE, zpages::NOT_ACCEPTABLE);
        return refused(StatusCode::NOT_ACCEPTABLE, &status);
    };
    let mut response = Response::new(Full::new(Bytes::from(page.body)));
    let headers = response.headers_mut();
    let value = |text: &str| header::HeaderValue::from_str(text).ok();
    headers.extend(value(&page.content_type).map(|value| (header::CONTENT_TYPE, value)));
    let warning = page.warning.and_then(|text| value(&format!("299 - \"{text}\"")));
    headers.extend(warning.map(|value| (header::WARNING, value)));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    response
}

fn refused(code: StatusCode, status: &Status) -> Response<Full<Bytes>> {
    let mut body = status.to_json();
    body.push(b'\n');
    answer(code, "application/json", String::from_utf8_lossy(&body).into_owned())
}

fn quoted(text: &str) -> String {
    meta::go_quote(text)
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body.to_owned())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", header::HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    response
}
