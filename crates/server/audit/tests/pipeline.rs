//! The pipeline end to end: requests in, event lines and posted batches out; and backends that hang, refuse or talk
//! nonsense.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit::{
    Asked, Auditor, BatchOptions, Format, Log, LogOptions, Mode, Policy, Record, Sink, SinkOptions, Stage,
    Throttle, Truncate, Webhook,
};
use authn::User;
use authz::Attributes;
use env::Env;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n\
    - {level: None, verbs: [list]}\n\
    - {level: Metadata, resources: [{group: '', resources: [secrets]}]}\n\
    - {level: Request, verbs: [update], omitStages: [RequestReceived]}\n\
    - {level: RequestResponse, omitManagedFields: true}\n";

fn policy() -> Policy {
    Policy::parse(POLICY).unwrap()
}

fn options(mode: Mode) -> SinkOptions {
    let batch =
        BatchOptions { buffer_size: 100, max_size: 3, max_wait: Duration::from_secs(3600), throttle: None };
    SinkOptions { mode, batch, truncate: None }
}

/// A record of one request.
fn begin(auditor: &Arc<Auditor>, verb: &str, resource: &str) -> Option<Record> {
    let attributes = Attributes::resource(verb, "", resource, "web", "x");
    auditor.begin(&Asked {
        id: "id",
        uri: "/api",
        user: &User::new("ann", &[]),
        impersonated: None,
        source_ips: &[],
        user_agent: "test",
        attributes: &attributes,
    })
}

/// A whole request; answers whether it may go on.
async fn request(auditor: &Arc<Auditor>, verb: &str, resource: &str) -> bool {
    let Some(record) = begin(auditor, verb, resource) else { return true };
    if !record.tell(Stage::RequestReceived).await {
        return false;
    }
    let object = br#"{"metadata":{"name":"x","managedFields":[{}]},"data":"secret"}"#;
    if record.wants_request() {
        record.request_object(object);
    }
    if record.wants_response() {
        record.response_object(object);
    }
    record.status(200, None);
    record.tell(Stage::ResponseComplete).await;
    true
}

fn log_into(folder: &std::path::Path) -> LogOptions {
    LogOptions {
        path: folder.join("audit.log"),
        compress: false,
        days_max: 0,
        backups_max: 0,
        megabytes_max: 0,
    }
}

fn lines(folder: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("audit.log")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What a line tells, in short.
fn short(line: &str) -> String {
    let event: Value = serde_json::from_str(line).unwrap();
    let has = |field: &str| if event.get(field).is_some() { "+" } else { "-" };
    let text = |field: &str| event[field].as_str().unwrap().to_owned();
    assert!(
        !event["responseObject"]["metadata"].as_object().is_some_and(|m| m.contains_key("managedFields"))
    );
    let bodies = (has("requestObject"), has("responseObject"));
    format!("{} {} {}{}", text("level"), text("stage"), bodies.0, bodies.1)
}

#[tokio::test]
async fn every_level_and_stage_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::real();
    let log = Log::open(log_into(folder.path()), env.clone()).unwrap();
    let sink = Sink::log(log, Format::Json, options(Mode::Blocking), &env);
    let auditor = Auditor::new(policy(), vec![sink], env);
    for (verb, resource) in [("list", "pods"), ("get", "secrets"), ("update", "pods"), ("create", "pods")] {
        assert!(request(&auditor, verb, resource).await);
    }
    let told: Vec<String> = lines(folder.path()).iter().map(|line| short(line)).collect();
    assert_eq!(
        told,
        [
            "Metadata RequestReceived --",
            "Metadata ResponseComplete --",
            "Request ResponseComplete +-",
            "RequestResponse RequestReceived --",
            "RequestResponse ResponseComplete ++",
        ]
    );
}

#[tokio::test]
async fn a_panic_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::real();
    let log = Log::open(log_into(folder.path()), env.clone()).unwrap();
    let sink = Sink::log(log, Format::Legacy, options(Mode::Blocking), &env);
    let auditor = Auditor::new(policy(), vec![sink], env);
    let failing = auditor.clone();
    let ended = tokio::spawn(async move {
        let _record = begin(&failing, "get", "secrets").unwrap();
        std::panic::panic_any("on purpose");
    });
    assert!(ended.await.unwrap_err().is_panic());
    auditor.flush().await;
    let told = lines(folder.path());
    assert!(told[0].contains("stage=\"Panic\"") && told[0].ends_with("response=\"500\""), "{told:?}");
}

/// How a server behaves.
#[derive(Clone, Copy)]
enum Behaviour {
    Takes,
    Garbage,
    Fails,
    Hangs,
}

/// A server, and the documents that were posted to it.
async fn server(behaviour: Behaviour) -> (String, mpsc::UnboundedReceiver<Value>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/audit", listener.local_addr().unwrap());
    let (posted, documents) = mpsc::unbounded_channel();
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (posted, counted) = (posted.clone(), counted.clone());
            tokio::spawn(async move {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut got = Vec::new();
                loop {
                    let text = String::from_utf8_lossy(&got).into_owned();
                    let whole = text.split_once("\r\n\r\n").and_then(|(head, body)| {
                        let head = head.to_lowercase();
                        let (_, length) = head.split_once("content-length: ")?;
                        let length: usize = length.lines().next()?.trim().parse().ok()?;
                        (body.len() >= length).then(|| body.to_owned())
                    });
                    if let Some(body) = whole {
                        let _ = posted.send(serde_json::from_str(&body).unwrap());
                        let answer = match behaviour {
                            Behaviour::Hangs => return std::future::pending().await,
                            Behaviour::Takes => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
                            Behaviour::Garbage => "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\u{1}<>",
                            Behaviour::Fails => "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
                        };
                        socket.write_all(answer.as_bytes()).await.unwrap();
                        got.clear();
                    }
                    let mut part = vec![0; 1 << 18];
                    match socket.read(&mut part).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => got.extend_from_slice(&part[..count]),
                    }
                }
            });
        }
    });
    (url, documents, open)
}

fn posting(url: &str, options: SinkOptions) -> Arc<Auditor> {
    let env = Env::real();
    let config = outbound::Config { server: url.to_owned(), ..outbound::Config::default() };
    let webhook = Webhook::new(config, Duration::from_millis(1), env.clone()).unwrap();
    Auditor::new(policy(), vec![Sink::webhook(webhook, options, &env)], env)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

#[tokio::test]
async fn batches_are_full_or_flushed() {
    let (url, mut posted, _) = server(Behaviour::Takes).await;
    let auditor = posting(&url, options(Mode::Batch));
    for _ in 0..2 {
        assert!(request(&auditor, "get", "secrets").await);
    }
    let first = soon(posted.recv()).await.unwrap();
    assert_eq!(
        (first["kind"].as_str(), first["apiVersion"].as_str()),
        (Some("EventList"), Some("audit.k8s.io/v1"))
    );
    assert_eq!(first["items"].as_array().unwrap().len(), 3);
    soon(auditor.flush()).await;
    let rest = posted.recv().await.unwrap();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest["items"][0]["stage"], "ResponseComplete");
}

#[tokio::test]
async fn a_batch_does_not_wait_for_ever_to_be_full() {
    let (url, mut posted, _) = server(Behaviour::Garbage).await;
    let mut options = options(Mode::Batch);
    options.batch.max_wait = Duration::from_millis(20);
    options.batch.throttle = Some(Throttle { qps: 1000.0, burst: 1 });
    let auditor = posting(&url, options);
    for _ in 0..3 {
        request(&auditor, "update", "pods").await;
        let got = soon(posted.recv()).await.unwrap();
        assert_eq!(got["items"][0]["requestObject"]["data"], "secret");
    }
}

#[tokio::test]
async fn large_events_lose_their_bodies_and_huge_ones_go() {
    let (url, mut posted, _) = server(Behaviour::Takes).await;
    let mut options = options(Mode::Blocking);
    options.truncate = Some(Truncate { batch_bytes_max: 10_000, event_bytes_max: 700 });
    let auditor = posting(&url, options);
    let record = begin(&auditor, "update", "pods").unwrap();
    record.request_object(json!({"data": "x".repeat(5000)}).to_string().as_bytes());
    assert!(record.tell(Stage::ResponseComplete).await);
    let got = soon(posted.recv()).await.unwrap();
    assert_eq!(got["items"][0]["annotations"]["audit.k8s.io/truncated"], "true");
    assert!(got["items"][0].get("requestObject").is_none());
    record.annotate("long", "y".repeat(5000));
    assert!(record.tell(Stage::ResponseComplete).await);
    let next = begin(&auditor, "get", "secrets").unwrap();
    assert!(next.tell(Stage::ResponseComplete).await);
    assert_eq!(soon(posted.recv()).await.unwrap()["items"][0]["verb"], "get");
}

#[tokio::test]
async fn a_failing_server_is_tried_five_times_and_refuses_requests_in_the_strict_mode_alone() {
    for (mode, goes_on) in [(Mode::Blocking, true), (Mode::BlockingStrict, false)] {
        let (url, mut posted, _) = server(Behaviour::Fails).await;
        let auditor = posting(&url, options(mode));
        assert_eq!(soon(request(&auditor, "get", "secrets")).await, goes_on, "{mode:?}");
        let mut tries = 0;
        while posted.try_recv().is_ok() {
            tries += 1;
        }
        // Without the first event, the request has no second.
        assert_eq!(tries, if goes_on { 10 } else { 5 });
    }
    let rendered = telemetry::render();
    assert!(rendered.contains("apiserver_audit_requests_rejected_total 1"), "{rendered}");
    assert!(rendered.contains("apiserver_audit_error_total{plugin=\"webhook\"}"), "{rendered}");
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_nobody_and_little_memory() {
    let (url, mut posted, open) = server(Behaviour::Hangs).await;
    let mut options = options(Mode::Batch);
    options.batch.throttle = Some(Throttle { qps: 1e9, burst: 2 });
    let auditor = posting(&url, options);
    let large = json!({"data": "x".repeat(1 << 20)}).to_string();
    let asking = async {
        for _ in 0..200 {
            let record = begin(&auditor, "update", "pods").unwrap();
            record.request_object(large.as_bytes());
            assert!(record.tell(Stage::ResponseComplete).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(120), asking).await.expect("nobody waits for the server");
    assert!(soon(posted.recv()).await.is_some());
    // Connections are bounded, and so are bytes: of 200 MB that were told, 64 MB are kept and the rest is lost and counted.
    assert!(open.load(Ordering::Relaxed) <= 2);
    let rendered = telemetry::render();
    let counter = "apiserver_audit_error_total{plugin=\"webhook\"} ";
    let lost = rendered.lines().find_map(|line| line.strip_prefix(counter)).unwrap();
    assert!(lost.parse::<u64>().unwrap() >= 200 - 64, "{lost}");
}
