//! A webhook's server in this process.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server answers to a review's `request`.
pub(super) type Behaviour = Arc<dyn Fn(&Json) -> Reply + Send + Sync>;

/// An answer.
pub(super) enum Reply {
    /// `response`, to which the uid is added.
    Response(Json),
    /// These bytes, with this code.
    Raw(u16, String),
    /// None, ever.
    Hang,
}

pub(super) struct Server {
    pub url: String,
    pub ca_bundle: String,
    pub calls: Arc<AtomicUsize>,
}

pub(super) async fn start(behaviour: impl Fn(&Json) -> Reply + Send + Sync + 'static) -> Server {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let chain = vec![certified.cert.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let behaviour: Behaviour = Arc::new(behaviour);
    let counted = calls.clone();
    tokio::spawn(async move {
        loop {
            let Ok((tcp, _)) = listener.accept().await else { return };
            let (acceptor, behaviour, calls) = (acceptor.clone(), behaviour.clone(), counted.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let service = service_fn(move |request| answer(request, behaviour.clone(), calls.clone()));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let pem = certified.cert.pem();
    let ca_bundle = base64::engine::general_purpose::STANDARD.encode(pem);
    Server { url: format!("https://localhost:{port}/check"), ca_bundle, calls }
}

async fn answer(
    request: Request<Incoming>,
    behaviour: Behaviour,
    calls: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    calls.fetch_add(1, Ordering::SeqCst);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(review["kind"], "AdmissionReview");
    let request = &review["request"];
    let (code, body) = match behaviour(request) {
        Reply::Response(mut response) => {
            if response.get("uid").is_none() {
                response["uid"] = request["uid"].clone();
            }
            let review = json!({ "kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response });
            (200, review.to_string())
        }
        Reply::Raw(code, body) => (code, body),
        Reply::Hang => std::future::pending().await,
    };
    Ok(Response::builder().status(code).body(Full::from(body)).unwrap())
}
