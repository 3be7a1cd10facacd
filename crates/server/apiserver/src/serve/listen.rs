//! The listener: accepts connections, does the TLS handshake, and gives each request to the pipeline.
//!
//! What a client can hold without asking anything is bounded: connections at once, seconds for a handshake, seconds
//! and bytes for request headers, streams per HTTP/2 connection.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::streams::Streams;
use super::tls::{Tls, Verdict};
use crate::http::body::Body;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16 << 10;
/// Why a connection ended.
type Failure = Box<dyn std::error::Error + Send + Sync>;

static HANDSHAKE_ERRORS: LazyLock<telemetry::Counter> = LazyLock::new(|| {
    let help = "Connections that were dropped since their TLS handshake failed.";
    telemetry::counter("apiserver_tls_handshake_errors_total", help, &[]).with(&[])
});

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for request headers to arrive (upstream's).
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Bytes of request line and headers.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1000;

/// What a connection tells about its client.
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    tls: Arc<ArcSwap<Tls>>,
    /// The client's certificate, leaf first.
    chain: Vec<CertificateDer<'static>>,
    /// When its leaf ends, in seconds since 1970.
    leaf_ends_s: u64,
    judged: ArcSwap<(Arc<Tls>, Verdict)>,
}

impl Connection {
    fn new(peer: SocketAddr, tls: Arc<ArcSwap<Tls>>, chain: Vec<CertificateDer<'static>>) -> Self {
        let by = tls.load_full();
        let verdict = by.judge(&chain, crate::clock::now_s() as u64);
        let leaf_ends_s = chain.first().map_or(0, |leaf| authn::ends_s(std::slice::from_ref(leaf)));
        Connection { peer, tls, chain, leaf_ends_s, judged: ArcSwap::from_pointee((by, verdict)) }
    }

    /// Whether the client has shown a certificate, whatever it is worth.
    pub(crate) fn shows_certificate(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Seconds that are left of the client's certificate, if it has shown one.
    pub(crate) fn certificate_left_s(&self, now_s: u64) -> Option<u64> {
        self.shows_certificate().then(|| self.leaf_ends_s.saturating_sub(now_s))
    }

    /// What its certificate is worth now: the first verdict, unless the authorities changed or its time is over.
    pub(crate) fn verdict(&self, now_s: u64) -> Arc<(Arc<Tls>, Verdict)> {
        let judged = self.judged.load_full();
        if self.chain.is_empty() || (now_s <= judged.1.ends_s && Arc::ptr_eq(&judged.0, &self.tls.load())) {
            return judged;
        }
        let by = self.tls.load_full();
        let verdict = by.judge(&self.chain, now_s);
        let judged = Arc::new((by, verdict));
        self.judged.store(judged.clone());
        judged
    }
}

/// Serves requests; implemented by the pipeline.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. There is always an answer.
    fn serve(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Accepts connections until `stop` turns true, then lets open connections finish their requests.
pub(crate) async fn listen<S: Service>(
    listener: TcpListener,
    tls: Arc<ArcSwap<Tls>>,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) {
    // Shown from the start, so that nothing and no count are told apart.
    LazyLock::force(&HANDSHAKE_ERRORS);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: closing connections make room.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, service, stop) = (tls.clone(), service.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection(socket, peer, tls, service, stop).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
}

/// Waits until the server stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same as one that said so.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection<S: Service>(
    socket: TcpStream,
    peer: SocketAddr,
    tls: Arc<ArcSwap<Tls>>,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let local = socket.local_addr().ok().map(|address| address.ip());
    let acceptor = TlsAcceptor::from(tls.load().handshake(local));
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await;
    let stream = accepted.map_err(Into::into).and_then(|accepted| accepted.map_err(Failure::from));
    let stream = stream.inspect_err(|_| HANDSHAKE_ERRORS.inc())?;
    let (_, session) = stream.get_ref();
    let http2 = session.alpn_protocol() == Some(b"h2");
    let chain = session.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
    let connection = Arc::new(Connection::new(peer, tls, chain));
    let streams = Streams::default();
    let beside = streams.clone();
    let handler = service_fn(move |request| {
        let (service, connection) = (service.clone(), connection.clone());
        // Boxed at once, since what lies between here and its first poll moves it about, and it is large.
        let answer = Box::pin(answer(service, connection, request));
        // A request that is alone on its connection keeps nobody waiting; others run on any thread.
        let alone = beside.running() == 0;
        async move {
            let answer =
                if alone { answer.await } else { AbortOnDropHandle::new(tokio::spawn(answer)).await? };
            Ok::<_, tokio::task::JoinError>(answer)
        }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let served = hyper::server::conn::http2::Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX as u32)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .max_send_buf_size(1 << 20)
            .keep_alive_interval(Duration::from_secs(30))
            .serve_connection(io, handler);
        let served = std::pin::pin!(served);
        let mut served = streams.with(served);
        tokio::select! {
            result = &mut served => result?,
            () = stopped(&mut stop) => {
                served.connection.as_mut().graceful_shutdown();
                served.await?;
            }
        }
    } else {
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES_MAX)
            .pipeline_flush(true)
            .serve_connection(io, handler)
            .with_upgrades();
        let mut served = std::pin::pin!(served);
        tokio::select! {
            result = served.as_mut() => result?,
            () = stopped(&mut stop) => {
                served.as_mut().graceful_shutdown();
                served.await?;
            }
        }
    }
    Ok(())
}

/// The service's answer. A panic costs the one request that met it, as upstream's filter for panics has it.
async fn answer<S: Service>(
    service: Arc<S>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<Body> {
    let served = AssertUnwindSafe(service.serve(connection, request)).catch_unwind();
    served.await.unwrap_or_else(|_| {
        let mut response = Response::new(Body::full(
            "This request caused apiserver to panic. Look in the logs for details.\n",
        ));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
