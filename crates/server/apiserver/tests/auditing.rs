//! The audit pipeline over the wire: which requests leave which lines, and that no credential is in any of them.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::auditing::{Auditor, BatchOptions, Format, Log, LogOptions, Mode, Policy, Sink, SinkOptions};
use apiserver::{Admission, ApiServer, ApiServerHandle, Config, RequestHeaderNames, TlsFiles};
use bytes::Bytes;
use env::Env;
use http::Request;
use outbound::Caller;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value as Json, json};
use serving::{Material, Pair, Pem};
use tokio::net::TcpListener;

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: []\nrules:\n\
    - {level: None, userGroups: [\"system:masters\"], users: [\"system:apiserver\"]}\n\
    - {level: Metadata, resources: [{group: \"\", resources: [secrets]}]}\n\
    - {level: RequestResponse}\n";
const PASSWORD: &str = "correct-horse-battery-staple";

struct Machine {
    server: ApiServerHandle,
    authority: Vec<u8>,
    folder: tempfile::TempDir,
    auditor: Arc<Auditor>,
}

impl Machine {
    async fn start() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::real();
        let disk = engine::MemoryDisk::default();
        let store = mvcc::Embedded::in_memory(&disk, &env, &mvcc::Options::default()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let authority = certificate.pem().into_bytes();
        let log = LogOptions {
            path: folder.path().join("audit.log"),
            compress: false,
            days_max: 0,
            backups_max: 0,
            megabytes_max: 0,
        };
        let batch = BatchOptions { buffer_size: 1, max_size: 1, max_wait: Duration::ZERO, throttle: None };
        let options = SinkOptions { mode: Mode::Blocking, batch, truncate: None };
        let sink = Sink::log(Log::open(log, env.clone()).unwrap(), Format::Json, options, &env);
        let auditor = Auditor::new(Policy::parse(POLICY).unwrap(), vec![sink], env.clone());
        let server = ApiServer::start(Config {
            store: Arc::new(store),
            env,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            advertise_address: None,
            tls: TlsFiles {
                serving: Material::new(Pair {
                    certificate: authority.clone().into(),
                    key: key.serialize_pem().into_bytes().into(),
                }),
                client_ca: Pem::default(),
                proxy_ca: Pem::default(),
            },
            request_header: RequestHeaderNames::default(),
            token_file: format!("{PASSWORD},admin,1,\"system:masters\"\n"),
            service_account_key: KeyPair::generate().unwrap().serialize_pem().into_bytes().into(),
            service_account_issuer: "https://issuer".into(),
            service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
            node_ports: 30000..=32767,
            kubelet_client: None,
            proxy_client: None,
            aggregator_routing: false,
            authentication: apiserver::Authentication::default(),
            authorization: apiserver::Authorization::default(),
            admission: Admission::default(),
            audit: Some(auditor.clone()),
            checks: Vec::new(),
        })
        .await
        .unwrap();
        Machine { server, authority, folder, auditor }
    }

    /// The status of a request, and its answer.
    async fn ask(&self, method: &str, path: &str, authorization: &str, body: &Json) -> (u16, String) {
        let caller = Caller::new(outbound::Config {
            server: format!("https://localhost:{}", self.server.address().port()),
            certificate_authority: Some(self.authority.clone()),
            ..outbound::Config::default()
        })
        .unwrap();
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = caller.send(request.body(Bytes::from(body)).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().read(1 << 20).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    fn lines(&self) -> Vec<Json> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What was told of requests for a path, in short.
    fn told(&self, path: &str) -> Vec<String> {
        let lines = self.lines();
        let of_path = lines.iter().filter(|line| line["requestURI"].as_str().unwrap().starts_with(path));
        of_path
            .map(|line| {
                let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
                let body = |field: &str| if line.get(field).is_some() { "+" } else { "-" };
                format!(
                    "{} {} {} {}{}",
                    text("stage"),
                    line["user"]["username"].as_str().unwrap_or("-"),
                    line["responseStatus"]["code"],
                    body("requestObject"),
                    body("responseObject")
                )
            })
            .collect()
    }
}

#[tokio::test]
async fn requests_leave_their_lines() {
    let machine = Machine::start().await;
    let admin = format!("Bearer {PASSWORD}");
    let map = json!({"metadata": {"name": "m"}, "data": {"k": "v"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(machine.ask("POST", maps, &admin, &map).await.0, 201);
    assert_eq!(machine.told(maps), ["RequestReceived admin null --", "ResponseComplete admin 201 ++"]);

    // Nobody was named: one line, with what was tried.
    for (authorization, tried) in [("Bearer wrong", "bearer"), ("bearer wrong", "bearer")] {
        assert_eq!(machine.ask("GET", "/apis/none", authorization, &Json::Null).await.0, 401);
        assert_eq!(machine.told("/apis/none").last().unwrap(), "ResponseStarted - 401 --");
        let lines = machine.lines();
        let message = &lines.last().unwrap()["responseStatus"]["message"];
        assert_eq!(message, &format!("Authentication failed, attempted: {tried}"));
    }
    assert_eq!(machine.told("/apis/none").len(), 2);

    // Refused by the authorizer.
    assert_eq!(machine.ask("GET", "/api/v1/nodes", "", &Json::Null).await.0, 403);
    assert_eq!(
        machine.told("/api/v1/nodes"),
        ["RequestReceived system:anonymous null --", "ResponseComplete system:anonymous 403 -+"]
    );
    let refused = machine.lines().into_iter().rfind(|line| line["requestURI"] == "/api/v1/nodes").unwrap();
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");

    // A watch begins and ends.
    let watch = "/api/v1/pods?watch=true&timeoutSeconds=1";
    assert_eq!(machine.ask("GET", watch, &admin, &Json::Null).await.0, 200);
    machine.auditor.flush().await;
    assert_eq!(
        machine.told("/api/v1/pods"),
        ["RequestReceived admin null --", "ResponseStarted admin 200 --", "ResponseComplete admin 200 --"]
    );
    machine.server.shutdown().await;
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_credential_is_in_the_record_or_the_log() {
    let written = Written::default();
    let writer = written.clone();
    let log =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    // Another test of this binary never sets one.
    log.init();
    let machine = Machine::start().await;
    let admin = format!("Bearer {PASSWORD}");
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "tell-nobody"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    assert_eq!(machine.ask("POST", secrets, &admin, &secret).await.0, 201);
    assert_eq!(machine.ask("GET", &format!("{secrets}/s"), &admin, &Json::Null).await.0, 200);
    let account = json!({"metadata": {"name": "a"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(machine.ask("POST", accounts, &admin, &account).await.0, 201);
    let token = machine.server.tokens().legacy("default", "a", "u", "s").unwrap();
    let bad = format!("Bearer {token}");
    assert_eq!(machine.ask("GET", secrets, &bad, &Json::Null).await.0, 401);
    let cut = format!("Bearer {}", &token[..token.len() - 5]);
    assert_eq!(machine.ask("GET", secrets, &cut, &Json::Null).await.0, 401);
    machine.server.shutdown().await;
    let logged = String::from_utf8_lossy(&written.0.lock().unwrap()).into_owned();
    let recorded = std::fs::read_to_string(machine.folder.path().join("audit.log")).unwrap();
    assert!(recorded.contains("\"secrets\""), "{recorded}");
    let signature = token.rsplit_once('.').unwrap().1;
    for hidden in [PASSWORD, "tell-nobody", "dGVsbC1ub2JvZHk", &signature[..20]] {
        assert!(!recorded.contains(hidden), "{hidden} was recorded");
        assert!(!logged.contains(hidden), "{hidden} was logged");
    }
}
