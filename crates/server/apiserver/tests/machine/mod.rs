//! An API server of one test, in memory, which is asked over HTTPS as clients ask it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;

use apiserver::{Admission, ApiServer, ApiServerHandle, Config, RequestHeaderNames, TlsFiles};
use authn::SigningKey;
use bytes::Bytes;
use env::Env;
use http::Request;
use outbound::Caller;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value as Json, json};
use serving::{Material, Pair, Pem};
use tokio::net::TcpListener;

/// Who signs tokens.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A running API server and what its clients need.
pub struct Machine {
    pub server: ApiServerHandle,
    pub authority: Vec<u8>,
    pub signer: SigningKey,
}

impl Machine {
    pub async fn start() -> Self {
        Self::authorized_by(apiserver::Authorization::default()).await
    }

    pub async fn authorized_by(authorization: apiserver::Authorization) -> Self {
        let machine = Self::bare(|config| config.authorization = authorization).await;
        machine.admin("POST", "/api/v1/namespaces", &json!({ "metadata": { "name": "web" } })).await;
        machine
    }

    /// One without a namespace of its own; `change` has the last word on its configuration.
    pub async fn bare(change: impl FnOnce(&mut Config)) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test");
        let authority = params.self_signed(&ca_key).unwrap().pem().into_bytes();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = names.signed_by(&key, &issuer).unwrap().pem().into_bytes();
        let env = Env::real();
        let disk = engine::MemoryDisk::default();
        let store = mvcc::Embedded::in_memory(&disk, &env, &mvcc::Options::default()).unwrap();
        let account_key = KeyPair::generate().unwrap().serialize_pem().into_bytes();
        let mut config = Config {
            store: Arc::new(store),
            env,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            advertise_address: None,
            tls: TlsFiles {
                serving: Material::new(Pair {
                    certificate: certificate.into(),
                    key: key.serialize_pem().into_bytes().into(),
                }),
                client_ca: authority.clone().into(),
                proxy_ca: Pem::default(),
            },
            request_header: RequestHeaderNames::default(),
            token_file: "admin,admin,1,\"system:masters\"\nalice,alice,2\n".into(),
            service_account_key: account_key.clone().into(),
            service_account_issuer: ISSUER.into(),
            service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
            node_ports: 30000..=32767,
            kubelet_client: None,
            proxy_client: None,
            aggregator_routing: false,
            authentication: apiserver::Authentication::default(),
            authorization: apiserver::Authorization::default(),
            admission: Admission::default(),
            audit: None,
            checks: Vec::new(),
        };
        change(&mut config);
        let server = ApiServer::start(config).await.unwrap();
        Machine { server, authority, signer: SigningKey::from_pem(&account_key).unwrap() }
    }

    /// Status and body of a request with these headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Json) -> (u16, Json) {
        let caller = Caller::new(outbound::Config {
            server: format!("https://localhost:{}", self.server.address().port()),
            certificate_authority: Some(self.authority.clone()),
            ..outbound::Config::default()
        })
        .unwrap();
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let mut request = Request::builder().method(method).uri(path).header("content-type", kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let response = caller.send(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let answer = response.into_body().read(16 << 20).await.unwrap();
        let text = || String::from_utf8_lossy(&answer).into();
        (status, serde_json::from_slice(&answer).unwrap_or_else(|_| text()))
    }

    pub async fn with_token(&self, token: &str, method: &str, path: &str, body: &Json) -> (u16, Json) {
        self.send(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }

    /// The answer to an administrator, which must be a good one.
    pub async fn admin(&self, method: &str, path: &str, body: &Json) -> Json {
        let (status, answer) = self.with_token("admin", method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub async fn account(&self, name: &str) -> Json {
        self.admin("POST", "/api/v1/namespaces/web/serviceaccounts", &json!({ "metadata": { "name": name } }))
            .await
    }

    pub async fn token(&self, account: &str, spec: &Json) -> String {
        let path = format!("/api/v1/namespaces/web/serviceaccounts/{account}/token");
        let answer = self.admin("POST", &path, &json!({ "spec": spec })).await;
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    pub async fn review(&self, token: &str) -> Json {
        let body = json!({ "kind": "TokenReview", "spec": { "token": token } });
        self.admin("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &body).await["status"].clone()
    }
}
