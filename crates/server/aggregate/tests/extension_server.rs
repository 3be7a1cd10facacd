//! A small extension API server, well-behaved and otherwise, and what this side makes of it.

use std::convert::Infallible;
use std::sync::Arc;

use aggregate::address::Address;
use aggregate::{Aggregator, Remote, documents};
use authn::User;
use bytes::Bytes;
use env::Env;
use http::{HeaderMap, Request, Response, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use types::apiregistration::v1::APIService;

/// How the server behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Good,
    OldDiscovery,
    Garbage,
    Closes,
    NoHttp,
    Refuses,
    Endless,
}

struct Server {
    address: Address,
    bundle: String,
}

impl Server {
    async fn start(manner: Manner, authority: bool) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["ext.default.svc".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "ext");
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    if manner == Manner::NoHttp {
                        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
                        return;
                    }
                    if manner == Manner::Closes {
                        return;
                    }
                    let service =
                        service_fn(
                            move |request| async move { Ok::<_, Infallible>(answer(manner, &request)) },
                        );
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Server { address: Address { host: "127.0.0.1".to_owned(), port }, bundle: certificate.pem() }
    }

    /// The server as an APIService shows it, with a way to it.
    fn remote(&self, aggregator: &Aggregator) -> Arc<Remote> {
        use base64::Engine as _;
        let bundle = base64::engine::general_purpose::STANDARD.encode(&self.bundle);
        let api: APIService = meta::from_value(json!({
            "metadata": { "name": "v1.ext.io" },
            "spec": { "group": "ext.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
                "caBundle": bundle, "service": { "name": "ext", "namespace": "default", "port": 443 } },
            "status": { "conditions": [{ "type": "Available", "status": "True" }] },
        }))
        .unwrap();
        let remote = aggregator.apply(&Arc::new(api)).unwrap();
        remote.set_addresses(Ok(vec![self.address.clone()]));
        remote
    }
}

fn answer(manner: Manner, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let said = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let json = |value: Value| Response::new(Full::new(Bytes::from(value.to_string())));
    let status = |code: u16| {
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = code.try_into().unwrap();
        answer
    };
    match manner {
        Manner::Garbage => return Response::new(Full::new(Bytes::from_static(b"\xff\x00 not json"))),
        Manner::Refuses => return status(403),
        Manner::Endless => return Response::new(Full::new(Bytes::from(vec![b'['; 17 << 20]))),
        _ => {}
    }
    match request.uri().path() {
        "/apis" if manner == Manner::OldDiscovery => status(404),
        "/apis" => {
            if said("if-none-match") == "\"1\"" {
                return status(304);
            }
            let mut answer = json(json!({ "items": [{ "metadata": { "name": "ext.io" }, "versions": [
                { "version": "v1", "resources": [{ "resource": "things" }] }] }] }));
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_TYPE, aggregate::discovery::ACCEPT.parse().unwrap());
            headers.insert(header::ETAG, "\"1\"".parse().unwrap());
            answer
        }
        "/apis/ext.io/v1" => {
            json(json!({ "resources": [{ "name": "things", "kind": "Thing", "namespaced": true }] }))
        }
        "/openapi/v3" => json(json!({ "paths": { "apis/ext.io/v1": { "serverRelativeURL": "/x?hash=1" } } })),
        "/openapi/v2" => json(json!({ "paths": { "/apis/ext.io/v1/things": {}, "/apis/other/v1/": {} } })),
        "/whoami" => json(json!({
            "user": said("x-remote-user"), "group": said("x-remote-group"), "authorization": said("authorization"),
            "http2": request.version() == Version::HTTP_2,
        })),
        _ => status(404),
    }
}

async fn found(manner: Manner, authority: bool) -> (String, documents::Documents) {
    let server = Server::start(manner, authority).await;
    let (aggregator, env) = (Aggregator::new(None, false), Env::real());
    let remote = server.remote(&aggregator);
    let finding = documents::check(&remote, &env.random).await;
    let message = finding.message.replace(&server.address.to_string(), "HOST");
    let read = documents::read(&remote, &env.random, &documents::Documents::default()).await;
    (format!("{}: {message}", finding.reason), read)
}

#[tokio::test]
async fn good_servers_describe_themselves() {
    for manner in [Manner::Good, Manner::OldDiscovery] {
        let (finding, read) = found(manner, false).await;
        assert_eq!(finding, "Passed: all checks passed");
        assert!(read.fresh);
        assert_eq!(read.discovery.unwrap()["resources"][0]["resource"], "things");
        assert_eq!(read.v3["apis/ext.io/v1"], "/x?hash=1");
        assert_eq!(read.v2.unwrap()["paths"], json!({ "/apis/ext.io/v1/things": {} }));
    }
}

#[tokio::test]
async fn a_certificate_in_the_bundle_is_trusted_though_it_is_an_authoritys() {
    assert_eq!(found(Manner::Good, true).await.0, "Passed: all checks passed");
}

#[tokio::test]
async fn bad_servers_harm_nobody() {
    let get =
        "failing or missing response from https://HOST/apis/ext.io/v1: Get \"https://HOST/apis/ext.io/v1\": ";
    let bad = "failing or missing response from https://HOST/apis/ext.io/v1: bad status from ";
    for (manner, want) in [
        // Whoever answers is there; what it says is another matter.
        (Manner::Garbage, "Passed: all checks passed".to_owned()),
        (Manner::Endless, "Passed: all checks passed".to_owned()),
        (Manner::Refuses, format!("FailedDiscoveryCheck: {bad}https://HOST/apis/ext.io/v1: 403")),
        (Manner::Closes, format!("FailedDiscoveryCheck: {get}")),
        (Manner::NoHttp, format!("FailedDiscoveryCheck: {get}")),
    ] {
        let (finding, read) = found(manner, false).await;
        assert!(finding.starts_with(&want), "{finding}\n{want}");
        assert!(!read.fresh && read.discovery.is_none() && read.v2.is_none(), "{want}");
    }
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let server = Server::start(Manner::Good, false).await;
    let (aggregator, env) = (Aggregator::new(None, false), Env::real());
    let remote = server.remote(&aggregator);
    let first = documents::read(&remote, &env.random, &documents::Documents::default()).await;
    let before = aggregator.generation();
    aggregator.learn(&remote, first.clone());
    assert_ne!(aggregator.generation(), before, "news");
    let second = documents::read(&remote, &env.random, &first).await;
    assert_eq!(second, first);
    aggregator.learn(&remote, second);
    assert_eq!(aggregator.generation(), before + 1, "nothing new");
}

#[tokio::test]
async fn requests_carry_the_user_over_http2() {
    let server = Server::start(Manner::Good, false).await;
    let (aggregator, env) = (Aggregator::new(None, false), Env::real());
    let remote = server.remote(&aggregator);
    let (link, address) = remote.route(&env.random).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, "Bearer secret".parse().unwrap());
    aggregate::identity::assert_user(&mut headers, &User::new("alice", &["dev"])).unwrap();
    let answer = link.channel().unwrap().get(&address, "/whoami", headers, 1 << 20).await.unwrap();
    let said: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(said, json!({ "user": "alice", "group": "dev", "authorization": "", "http2": true }));
}

#[tokio::test]
async fn strangers_are_not_trusted() {
    let (server, other) =
        (Server::start(Manner::Good, false).await, Server::start(Manner::Good, false).await);
    let (aggregator, env) = (Aggregator::new(None, false), Env::real());
    let remote = Server { address: server.address.clone(), bundle: other.bundle }.remote(&aggregator);
    let finding = documents::check(&remote, &env.random).await;
    assert!(finding.message.contains("tls: "), "{}", finding.message);
    assert!(!finding.available);
}
