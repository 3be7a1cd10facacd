//! The audit pipeline over the wire: which requests leave which lines, and that no credential is in any of them.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

mod machine;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::auditing::{Auditor, BatchOptions, Format, Log, LogOptions, Mode, Policy, Sink, SinkOptions};
use env::Env;
use machine::Machine;
use serde_json::{Value as Json, json};

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: []\nrules:\n\
    - {level: None, userGroups: [\"system:masters\"], users: [\"system:apiserver\"]}\n\
    - {level: Metadata, resources: [{group: \"\", resources: [secrets]}]}\n\
    - {level: RequestResponse}\n";
const PASSWORD: &str = "correct-horse-battery-staple";

/// A machine that records what it is asked.
struct Audited {
    machine: Machine,
    folder: tempfile::TempDir,
    auditor: Arc<Auditor>,
}

impl Audited {
    async fn start() -> Audited {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::real();
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
        let auditor = Auditor::new(Policy::parse(POLICY).unwrap(), vec![sink], env);
        let machine = Machine::bare(|config| {
            config.token_file = format!("{PASSWORD},admin,1,\"system:masters\"\n");
            config.audit = Some(auditor.clone());
        })
        .await;
        Audited { machine, folder, auditor }
    }

    /// The status of a request.
    async fn ask(&self, method: &str, path: &str, authorization: &str, body: &Json) -> u16 {
        let header = [("authorization", authorization)];
        let headers = if authorization.is_empty() { &[][..] } else { &header[..] };
        self.machine.send(method, path, headers, body).await.0
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
    let audited = Audited::start().await;
    let admin = format!("Bearer {PASSWORD}");
    let map = json!({"metadata": {"name": "m"}, "data": {"k": "v"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(audited.ask("POST", maps, &admin, &map).await, 201);
    assert_eq!(audited.told(maps), ["RequestReceived admin null --", "ResponseComplete admin 201 ++"]);

    // Nobody was named: one line, with what was tried.
    for (authorization, tried) in [("Bearer wrong", "bearer"), ("bearer wrong", "bearer")] {
        assert_eq!(audited.ask("GET", "/apis/none", authorization, &Json::Null).await, 401);
        assert_eq!(audited.told("/apis/none").last().unwrap(), "ResponseStarted - 401 --");
        let lines = audited.lines();
        let message = &lines.last().unwrap()["responseStatus"]["message"];
        assert_eq!(message, &format!("Authentication failed, attempted: {tried}"));
    }
    assert_eq!(audited.told("/apis/none").len(), 2);

    // Refused by the authorizer.
    assert_eq!(audited.ask("GET", "/api/v1/nodes", "", &Json::Null).await, 403);
    assert_eq!(
        audited.told("/api/v1/nodes"),
        ["RequestReceived system:anonymous null --", "ResponseComplete system:anonymous 403 -+"]
    );
    let refused = audited.lines().into_iter().rfind(|line| line["requestURI"] == "/api/v1/nodes").unwrap();
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");

    // A watch begins and ends.
    let watch = "/api/v1/pods?watch=true&timeoutSeconds=1";
    assert_eq!(audited.ask("GET", watch, &admin, &Json::Null).await, 200);
    audited.auditor.flush().await;
    assert_eq!(
        audited.told("/api/v1/pods"),
        ["RequestReceived admin null --", "ResponseStarted admin 200 --", "ResponseComplete admin 200 --"]
    );
    audited.machine.server.shutdown().await;
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
    let audited = Audited::start().await;
    let admin = format!("Bearer {PASSWORD}");
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "tell-nobody"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    assert_eq!(audited.ask("POST", secrets, &admin, &secret).await, 201);
    assert_eq!(audited.ask("GET", &format!("{secrets}/s"), &admin, &Json::Null).await, 200);
    let account = json!({"metadata": {"name": "a"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(audited.ask("POST", accounts, &admin, &account).await, 201);
    let token = audited.machine.server.tokens().legacy("default", "a", "u", "s").unwrap();
    let bad = format!("Bearer {token}");
    assert_eq!(audited.ask("GET", secrets, &bad, &Json::Null).await, 401);
    let cut = format!("Bearer {}", &token[..token.len() - 5]);
    assert_eq!(audited.ask("GET", secrets, &cut, &Json::Null).await, 401);
    audited.machine.server.shutdown().await;
    let logged = String::from_utf8_lossy(&written.0.lock().unwrap()).into_owned();
    let recorded = std::fs::read_to_string(audited.folder.path().join("audit.log")).unwrap();
    assert!(recorded.contains("\"secrets\""), "{recorded}");
    let signature = token.rsplit_once('.').unwrap().1;
    for hidden in [PASSWORD, "tell-nobody", "dGVsbC1ub2JvZHk", &signature[..20]] {
        assert!(!recorded.contains(hidden), "{hidden} was recorded");
        assert!(!logged.contains(hidden), "{hidden} was logged");
    }
}
