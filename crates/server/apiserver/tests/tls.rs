//! Certificates, authorities and keys that change while the server runs.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Admission, ApiServer, ApiServerHandle, Config, RequestHeaderNames, TlsFiles};
use bytes::Bytes;
use env::Env;
use http::Request;
use outbound::Caller;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serving::{Material, Pair, Pem};
use tokio::net::TcpListener;

/// How long a change may take to be in use.
const PATIENCE: Duration = Duration::from_secs(20);

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    /// Certificate and key.
    fn leaf(&self, common_name: &str, group: &str, life_s: i64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let end = std::time::UNIX_EPOCH + now + Duration::from_secs(life_s.unsigned_abs());
        params.not_after = end.into();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Pem {
    let path = folder.join(name);
    env::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
    Pem::File(path)
}

async fn start(folder: &Path, serving: &Authority, clients: &Authority) -> ApiServerHandle {
    let env = Env::real();
    let disk = engine::MemoryDisk::default();
    let store = mvcc::Embedded::in_memory(&disk, &env, &mvcc::Options::default()).unwrap();
    let (certificate, key) = serving.leaf("server", "one", 3600);
    ApiServer::start(Config {
        store: Arc::new(store),
        env,
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        advertise_address: None,
        tls: TlsFiles {
            serving: Material::new(Pair {
                certificate: write(folder, "server.crt", &certificate),
                key: write(folder, "server.key", &key),
            }),
            client_ca: write(folder, "clients.crt", &clients.pem),
            proxy_ca: Pem::default(),
        },
        request_header: RequestHeaderNames::default(),
        token_file: String::new(),
        service_account_key: write(folder, "sa.key", &KeyPair::generate().unwrap().serialize_pem()),
        service_account_issuer: "https://issuer".into(),
        service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
        node_ports: 30000..=32767,
        kubelet_client: None,
        proxy_client: None,
        aggregator_routing: false,
        authentication: apiserver::Authentication {
            accepted_keys: vec![write(folder, "retired.pub", "")],
            ..apiserver::Authentication::default()
        },
        authorization: apiserver::Authorization::default(),
        admission: Admission::default(),
        audit: None,
        checks: Vec::new(),
    })
    .await
    .unwrap()
}

fn caller(server: &ApiServerHandle, trusted: &Authority, client: Option<(String, String)>) -> Caller {
    Caller::new(outbound::Config {
        server: format!("https://localhost:{}", server.address().port()),
        certificate_authority: Some(trusted.pem.clone().into_bytes()),
        client_certificate: client.map(|(chain, key)| (chain.into_bytes(), key.into_bytes())),
        ..outbound::Config::default()
    })
    .unwrap()
}

/// Status and body of a GET, or why there is none.
async fn get(caller: &Caller, path: &str) -> Result<(u16, String), String> {
    let request = Request::builder().uri(path).body(Bytes::new()).unwrap();
    let answer = caller.send(request).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.into_body().read(1 << 20).await.map_err(|error| error.to_string())?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Asks until the answer is as wanted.
async fn until(
    what: &str,
    caller: &Caller,
    path: &str,
    wanted: impl Fn(&Result<(u16, String), String>) -> bool,
) {
    let asking = async { while !wanted(&get(caller, path).await) {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what}"));
}

const NAMESPACES: &str = "/api/v1/namespaces";

#[tokio::test]
async fn certificates_and_authorities_change_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let server = start(folder.path(), &first, &first).await;
    let admin = caller(&server, &first, Some(first.leaf("admin", "system:masters", 3600)));
    assert_eq!(get(&admin, NAMESPACES).await.unwrap().0, 200);

    // What is no certificate changes nothing.
    write(folder.path(), "clients.crt", "");
    let (certificate, key) = second.leaf("server", "two", 3600);
    write(folder.path(), "server.key", &key);
    write(folder.path(), "server.crt", &certificate);
    assert_eq!(get(&admin, NAMESPACES).await.unwrap().0, 200);

    // The connection that was there is judged by the new authority.
    write(folder.path(), "clients.crt", &second.pem);
    until("the old authority still counts", &admin, NAMESPACES, |answer| {
        answer.as_ref().is_ok_and(|(status, _)| *status == 401)
    })
    .await;
    let renewed = caller(&server, &second, Some(second.leaf("admin", "system:masters", 3600)));
    until("the new serving certificate is not served", &renewed, NAMESPACES, |answer| {
        answer.as_ref().is_ok_and(|(status, _)| *status == 200)
    })
    .await;
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let published = second.pem.lines().nth(1).unwrap().to_owned();
    until("extension servers are not told", &renewed, path, |answer| {
        answer.as_ref().is_ok_and(|(_, body)| body.contains(&published))
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_certificate_that_ends_takes_its_connection_along() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let server = start(folder.path(), &authority, &authority).await;
    let short = caller(&server, &authority, Some(authority.leaf("admin", "system:masters", 3)));
    assert_eq!(get(&short, NAMESPACES).await.unwrap().0, 200);
    until("an ended certificate still counts", &short, NAMESPACES, |answer| {
        answer.as_ref().is_ok_and(|(status, _)| *status == 401)
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn keys_of_tokens_are_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let server = start(folder.path(), &authority, &authority).await;
    let admin = caller(&server, &authority, Some(authority.leaf("admin", "system:masters", 3600)));
    let keys = |answer: &Result<(u16, String), String>| {
        answer.as_ref().map_or(0, |(_, body)| body.matches("\"kid\"").count())
    };
    let jwks = "/openid/v1/jwks";
    assert_eq!(keys(&get(&admin, jwks).await), 1);
    let token = server.tokens().legacy("default", "default", "u", "s").unwrap();
    let old = KeyPair::from_pem(&std::fs::read_to_string(folder.path().join("sa.key")).unwrap()).unwrap();
    write(folder.path(), "retired.pub", &old.public_key_pem());
    write(folder.path(), "sa.key", &KeyPair::generate().unwrap().serialize_pem());
    until("the new key is not shown", &admin, jwks, |answer| keys(answer) == 2).await;
    assert_ne!(server.tokens().legacy("default", "default", "u", "s").unwrap(), token);
    write(folder.path(), "retired.pub", "");
    until("the old key is still shown", &admin, jwks, |answer| keys(answer) == 1).await;
    server.shutdown().await;
}
