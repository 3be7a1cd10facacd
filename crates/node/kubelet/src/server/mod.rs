//! The kubelet's own HTTPS API, with upstream's paths: what the API server proxies to, and what metrics collectors read.

mod access;
mod channel;
mod files;
mod follow;
mod logs;
mod metrics;
mod pods;
mod ports;
mod route;
mod run;
mod spdy;
mod streams;
mod summary;
mod tunnel;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use serving::{Followed, Live, Material};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::manager::Pods;
use crate::metrics::{HTTP_INFLIGHT, HTTP_REQUESTS, HTTP_TOOK};
use crate::shared::Shared;
use access::Guard;
pub use access::{Policy, Tls};

/// Longest time for a TLS handshake.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

/// Bodies of answers.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// A request.
pub type Request = http::Request<Incoming>;

/// What the handlers need.
pub struct Server {
    /// The node.
    pub shared: Arc<Shared>,
    /// The pods.
    pub pods: Arc<Pods>,
    /// Most pods.
    pub max_pods: i64,
    tls: Arc<Live>,
    guard: Guard,
}

impl Server {
    /// Prepares a server, and what tells of changes of its certificates.
    ///
    /// # Errors
    /// The certificate, its key or the CA cannot be used.
    pub fn new(
        shared: Arc<Shared>,
        pods: Arc<Pods>,
        tls: &Tls,
        max_pods: i64,
    ) -> Result<(Server, Followed), String> {
        // Streams are upgraded, which HTTP/2 has no words for.
        let serving = Material { alpn: &[b"http/1.1"], ..tls.serving.clone() };
        let policy = tls.policy;
        let (tls, followed) = Live::new(serving, vec![tls.client_ca.clone()]).map_err(|e| e.to_string())?;
        let guard = Guard::new(&shared, policy);
        Ok((Server { shared, pods, max_pods, tls, guard }, followed))
    }

    /// Serves until the task is dropped.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn listen(self, listener: std::net::TcpListener, followed: Followed) -> Result<env::Task, String> {
        listener.set_nonblocking(true).map_err(|e| e.to_string())?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| e.to_string())?;
        let server = Arc::new(self);
        Ok(env::spawn("kubelet-api", async move {
            let tls = server.tls.clone();
            tokio::join!(server.accept(listener), tls.follow(followed));
        }))
    }

    async fn accept(self: Arc<Self>, listener: tokio::net::TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Interactive streams are many small packets.
                    let _ = stream.set_nodelay(true);
                    env::spawn_detached("kubelet-api-connection", self.clone().connection(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "the kubelet's API cannot accept a connection");
                    self.shared.env.sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: tokio::net::TcpStream) {
        let local = stream.local_addr().ok().map(|address| address.ip());
        let handshake = TlsAcceptor::from(self.tls.at(local)).accept(stream);
        let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake with the kubelet's API failed"),
            Err(_) => return tracing::debug!("TLS handshake with the kubelet's API took too long"),
        };
        let certificates: Option<Vec<CertificateDer<'static>>> = stream
            .get_ref()
            .1
            .peer_certificates()
            .map(|all| all.iter().map(|one| one.clone().into_owned()).collect());
        let certificates = Arc::new(certificates);
        let service = service_fn(move |request: Request| {
            let (server, certificates) = (self.clone(), certificates.clone());
            async move { Ok::<_, Infallible>(server.handle(request, certificates.as_deref()).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the kubelet's API ended");
        }
    }

    async fn handle(
        self: Arc<Self>,
        request: Request,
        certificates: Option<&[CertificateDer<'_>]>,
    ) -> Response<Body> {
        let (method, path) = route::counted(&request);
        HTTP_REQUESTS.with(&[method, path, "readwrite"]).inc();
        let long = if route::is_long(path) { "true" } else { "false" };
        let labels = [method, path, "readwrite", long];
        let _counted = HTTP_INFLIGHT.with(&labels).track();
        let began = Instant::now();
        let answer = match self.guard.admit(&self.shared.node_name, &request, certificates).await {
            Ok(()) => route::route(self, request).await,
            Err(refusal) => *refusal,
        };
        HTTP_TOOK.with(&labels).observe_duration(began.elapsed());
        answer
    }
}

/// A plain text answer.
pub fn text(status: StatusCode, body: &str) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

/// A JSON answer.
pub fn json(value: &serde_json::Value) -> Response<Body> {
    answer(StatusCode::OK, "application/json", value.to_string().into_bytes())
}

/// An answer with a body that is known.
pub fn answer(status: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    if let Ok(value) = header::HeaderValue::try_from(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// An answer whose body comes bit by bit.
pub fn streamed(content_type: &'static str, parts: mpsc::Receiver<Bytes>) -> Response<Body> {
    let stream = futures::stream::unfold(parts, |mut parts| async move {
        let part = parts.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(part)), parts))
    });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
