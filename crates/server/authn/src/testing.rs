//! For tests: an HTTPS server in this process that answers as a closure says, and tokens signed with any key.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as closures see it: path and query, the `Authorization` header, the body.
pub(crate) struct Asked {
    pub path: String,
    pub authorization: String,
    pub body: String,
}

/// An answer.
pub(crate) enum Reply {
    /// Status and body.
    Text(u16, String),
    /// None, ever.
    Hang,
}

pub(crate) struct Server {
    /// `https://localhost:port`
    pub url: String,
    pub authority_pem: String,
    pub calls: Arc<AtomicUsize>,
}

/// Starts a server that lives as long as the runtime of the test.
pub(crate) async fn serve(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
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
    let (answer, counted) = (Arc::new(answer), calls.clone());
    tokio::spawn(async move {
        loop {
            let Ok((tcp, _)) = listener.accept().await else { return };
            let (acceptor, answer, calls) = (acceptor.clone(), answer.clone(), counted.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, calls) = (answer.clone(), calls.clone());
                    async move {
                        calls.fetch_add(1, Ordering::SeqCst);
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let header = parts.headers.get("authorization").and_then(|v| v.to_str().ok());
                        let asked = Asked {
                            path: parts.uri.to_string(),
                            authorization: header.unwrap_or_default().to_owned(),
                            body: String::from_utf8_lossy(&body).into_owned(),
                        };
                        let (code, text) = match answer(&asked) {
                            Reply::Text(code, text) => (code, text),
                            Reply::Hang => std::future::pending().await,
                        };
                        Ok::<_, Infallible>(
                            Response::builder().status(code).body(Full::new(Bytes::from(text))).unwrap(),
                        )
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Server { url: format!("https://localhost:{port}"), authority_pem: certified.cert.pem(), calls }
}

/// A key that signs tokens.
pub(crate) enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

impl Key {
    pub(crate) fn rsa() -> Self {
        let pem = include_bytes!("testdata/rsa.pem");
        let der = <PrivatePkcs8KeyDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(pem).unwrap();
        Key::Rsa(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap())
    }

    pub(crate) fn p256() -> Self {
        Key::P256(ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING))
    }

    pub(crate) fn p384() -> Self {
        Key::P384(ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING))
    }

    /// The public half as a member of a JWKS.
    pub(crate) fn jwk(&self, id: &str) -> Json {
        let point = |key: &EcdsaKeyPair, curve: &str, size: usize| {
            let point = key.public_key().as_ref();
            json!({
                "kty": "EC", "crv": curve, "kid": id, "use": "sig",
                "x": B64.encode(&point[1..=size]), "y": B64.encode(&point[1 + size..]),
            })
        };
        match self {
            Key::Rsa(_) => {
                let pem = include_bytes!("testdata/rsa.pem");
                let mut jwk = crate::keys::SigningKey::from_pem(pem).unwrap().verifying_key().jwk();
                jwk["kid"] = id.into();
                jwk
            }
            Key::P256(key) => point(key, "P-256", 32),
            Key::P384(key) => point(key, "P-384", 48),
        }
    }

    /// A token with this header and these claims.
    pub(crate) fn sign(&self, header: &Json, claims: &Json) -> String {
        self.sign_text(header, &claims.to_string())
    }

    /// The same for claims that may be no JSON.
    pub(crate) fn sign_text(&self, header: &Json, claims: &str) -> String {
        let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Key::P256(key) | Key::P384(key) => {
                key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec()
            }
            Key::Rsa(key) => {
                let padding: &dyn signature::RsaEncoding = match header["alg"].as_str() {
                    Some("PS256") => &signature::RSA_PSS_SHA256,
                    Some("PS384") => &signature::RSA_PSS_SHA384,
                    Some("PS512") => &signature::RSA_PSS_SHA512,
                    Some("RS384") => &signature::RSA_PKCS1_SHA384,
                    Some("RS512") => &signature::RSA_PKCS1_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", B64.encode(signature))
    }
}

fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}
