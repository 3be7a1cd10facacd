//! Files, bytes and a KMS plugin in this process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use env::Env;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mvcc::{Opened, Seal};
use parking_lot::Mutex;

use crate::{Configuration, Encryption};

const PLACE: &[u8] = b"/registry/secrets/default/s";

fn key(byte: u8, length: usize) -> String {
    base64::engine::general_purpose::STANDARD.encode(vec![byte; length])
}

fn write(folder: &Path, resources: &str) -> std::path::PathBuf {
    let path = folder.join("encryption.yaml");
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{resources}\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

async fn encryption(folder: &Path, resources: &str) -> Arc<Encryption> {
    Encryption::load(&write(folder, resources), &Env::real()).await.expect("a usable file")
}

fn sealed(encryption: &Encryption, place: &[u8], value: &[u8]) -> Vec<u8> {
    encryption.seal(place, value).expect("sealed").unwrap_or_else(|| value.to_vec())
}

/// What comes of stored bytes: `fresh:value`, `stale:value` or why there is none.
fn opened(encryption: &Encryption, place: &[u8], stored: &[u8]) -> String {
    let text = |value: Bytes| String::from_utf8(value.to_vec()).expect("text");
    match encryption.open(place, Bytes::copy_from_slice(stored)) {
        Opened::Fresh(value) => format!("fresh:{}", text(value)),
        Opened::Stale(value) => format!("stale:{}", text(value)),
        Opened::Unreadable { why, .. } => why,
    }
}

fn one(provider: &str, keys: &[(&str, String)]) -> String {
    let keys: Vec<String> =
        keys.iter().map(|(name, secret)| format!("{{name: {name}, secret: '{secret}'}}")).collect();
    format!("- {provider}: {{keys: [{}]}}", keys.join(", "))
}

fn of(resources: &str, providers: &[String]) -> String {
    format!(
        "- resources: [{resources}]\n  providers: [{}]",
        providers
            .iter()
            .map(|p| p.trim_start_matches("- "))
            .map(|p| format!("{{{p}}}"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

#[tokio::test]
async fn each_provider_reads_what_it_wrote_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let providers = [
        ("aescbc", vec![16, 24, 32], "k8s:enc:aescbc:v1:k1:"),
        ("aesgcm", vec![16, 24, 32], "k8s:enc:aesgcm:v1:k1:"),
        ("secretbox", vec![32], "k8s:enc:secretbox:v1:k1:"),
    ];
    for (provider, lengths, prefix) in providers {
        for length in lengths {
            let entry = of("secrets", &[one(provider, &[("k1", key(1, length))])]);
            let encryption = encryption(folder.path(), &entry).await;
            for value in ["", "x", "sixteen letters!", &"long".repeat(1000)] {
                let stored = sealed(&encryption, PLACE, value.as_bytes());
                assert!(stored.starts_with(prefix.as_bytes()), "{provider}");
                assert!(value.len() < 4 || !String::from_utf8_lossy(&stored).contains(value), "{provider}");
                assert_eq!(
                    opened(&encryption, PLACE, &stored),
                    format!("fresh:{value}"),
                    "{provider} {length}"
                );
                assert_ne!(
                    sealed(&encryption, PLACE, value.as_bytes()),
                    stored,
                    "no two writes are the same"
                );
            }
            let stored = sealed(&encryption, PLACE, b"value");
            for cut in prefix.len()..stored.len() {
                let why = opened(&encryption, PLACE, &stored[..cut]);
                assert!(!why.contains("value") || why.contains("stored"), "{provider} cut at {cut}: {why}");
            }
            assert_eq!(sealed(&encryption, b"/registry/configmaps/default/c", b"plain"), b"plain");
        }
    }
}

#[tokio::test]
async fn values_cannot_be_moved_where_the_cipher_can_tell() {
    let folder = tempfile::tempdir().expect("a folder");
    let encryption = encryption(folder.path(), &of("secrets", &[one("aesgcm", &[("k", key(1, 32))])])).await;
    let stored = sealed(&encryption, PLACE, b"value");
    assert_eq!(
        opened(&encryption, b"/registry/secrets/default/other", &stored),
        "cipher: message authentication failed"
    );
}

#[tokio::test]
async fn keys_are_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = ("old", key(1, 32));
    let new = ("new", key(2, 32));
    let before = encryption(folder.path(), &of("secrets", &[one("aescbc", &[old.clone()])])).await;
    let stored = sealed(&before, PLACE, b"v");
    let both = one("aescbc", &[new.clone(), old.clone()]);
    let rotating = encryption(folder.path(), &of("secrets", &[both])).await;
    assert_eq!(opened(&rotating, PLACE, &stored), "stale:v");
    let again = sealed(&rotating, PLACE, b"v");
    assert!(again.starts_with(b"k8s:enc:aescbc:v1:new:"));
    let after = encryption(folder.path(), &of("secrets", &[one("aescbc", &[new])])).await;
    assert_eq!(opened(&after, PLACE, &again), "fresh:v");
    assert_eq!(opened(&after, PLACE, &stored), "no matching key was found for the provided AES transformer");
    let identity = "- identity: {}".to_owned();
    let leaving = encryption(folder.path(), &of("secrets", &[identity.clone(), one("aescbc", &[old])])).await;
    assert_eq!(opened(&leaving, PLACE, &stored), "stale:v");
    assert_eq!(opened(&leaving, PLACE, b"v"), "fresh:v");
    assert_eq!(sealed(&leaving, PLACE, b"v"), b"v");
    let gone = encryption(folder.path(), &of("secrets", &[identity])).await;
    assert_eq!(opened(&gone, PLACE, &stored), "no matching prefix found");
    assert_eq!(sealed(&gone, PLACE, &stored), stored, "what cannot be read is kept as it is");
    assert_eq!(
        opened(&gone, b"/registry/configmaps/default/c", &stored),
        "identity transformer tried to read encrypted data"
    );
}

#[tokio::test]
async fn resources_find_their_providers() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |name: &str| one("secretbox", &[(name, key(3, 32))]);
    let entries = [
        of("services", &[with("services")]),
        of("'*.apps'", &[with("apps")]),
        of("pandas.example.com", &[with("pandas")]),
        of("'*.'", &[with("core")]),
        of("'*.*'", &[with("all")]),
    ];
    let encryption = encryption(folder.path(), &entries.join("\n")).await;
    for (place, name) in [
        ("/registry/services/specs/default/s", "services"),
        ("/registry/services/endpoints/default/s", "core"),
        ("/registry/deployments/default/d", "apps"),
        ("/registry/example.com/pandas/default/p", "pandas"),
        ("/registry/example.com/koalas/default/p", "all"),
        ("/registry/pods/default/p", "core"),
        ("/registry/minions/n", "core"),
        ("/registry/roles/default/r", "all"),
    ] {
        let stored = sealed(&encryption, place.as_bytes(), b"v");
        let prefix = format!("k8s:enc:secretbox:v1:{name}:");
        assert!(stored.starts_with(prefix.as_bytes()), "{place}: {}", String::from_utf8_lossy(&stored));
    }
    let masked = [of("'*.*'", &[with("all")]), of("secrets", &[with("s")])].join("\n");
    let error = Encryption::load(&write(folder.path(), &masked), &Env::real()).await.expect_err("masked");
    assert_eq!(
        error.to_string(),
        "error while building transformers: resource \"secrets\" is masked by earlier rule \"*.*\""
    );
}

#[test]
fn files_are_refused_in_upstreams_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = key(1, 5);
    let good = || one("aescbc", &[("k", key(1, 32))]);
    let kms = |fields: &str| format!("- kms: {{{fields}}}");
    let rows = [
        (
            of("secrets", &[one("aescbc", &[("k", secret.clone())])]),
            "resources[0].providers[0].aescbc.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 5, expected one of [16 24 32]",
        ),
        (of("secrets", &[one("secretbox", &[("k", key(1, 16))])]), "expected one of [32]"),
        (
            of("secrets", &[one("aesgcm", &[("k", "***".into())])]),
            "\"REDACTED\": secrets must be base64 encoded",
        ),
        (
            of("secrets", &["- aescbc: {keys: []}".to_owned()]),
            "resources[0].providers[0].aescbc.keys: Required value: at least one keys is required",
        ),
        (
            of("secrets", &[]),
            "resources[0].providers: Required value: at least one resources[0].providers is required",
        ),
        (
            of("", &[good()]),
            "resources[0].resources: Required value: at least one resources[0].resources is required",
        ),
        (
            of("'*'", &[good()]),
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        ),
        (of("secrets, '*.'", &[good()]), "using overlapping resources"),
        (of("secrets, secrets", &[good()]), "the same resource cannot be specified multiple times"),
        (of("Secrets", &[good()]), "resource name should not contain capital letters"),
        (of("events.events.k8s.io", &[good()]), "Use 'events' instead"),
        (of("'pods.*'", &[good()]), "encrypting the same resource across groups is not supported"),
        (of("secrets", &[kms("apiVersion: v2, name: 'a:b', endpoint: 'unix:///x'")]), "must not contain ':'"),
        (
            of("secrets", &[kms("apiVersion: v2, name: a, endpoint: 'tcp://x'")]),
            "unsupported scheme \"tcp\" for KMS provider, only unix is supported",
        ),
        (
            of("secrets", &[kms("apiVersion: v2, name: a, endpoint: 'unix:///x', timeout: 0s")]),
            "timeout should be a positive value",
        ),
        (
            of("secrets", &[kms("apiVersion: v2, name: a, endpoint: 'unix:///x', cachesize: 5")]),
            "cachesize is not supported in v2",
        ),
        (of("secrets", &[kms("name: a, endpoint: 'unix:///x'")]), "KMSv1 is deprecated"),
        (
            "- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: k, secret: ''}]}, identity: {}}]"
                .to_owned(),
            "more than one provider specified in a single element",
        ),
        ("- resources: [secrets]\n  provider: []".to_owned(), "unknown field `provider`"),
    ];
    for (text, says) in rows {
        let error = Configuration::load(&write(folder.path(), &text)).expect_err(&text).to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert!(!error.contains(&secret), "a secret is never shown: {error}");
    }
    let empty = folder.path().join("empty");
    std::fs::write(&empty, " \n").expect("written");
    assert!(Configuration::load(&empty).expect_err("empty").to_string().ends_with("is empty"));
    assert!(Configuration::load(&folder.path().join("none")).is_err());
}

/// A plugin that "encrypts" by turning bits, with a key that tests change.
struct Mock {
    key_id: Mutex<String>,
    healthz: Mutex<String>,
    encrypts: AtomicUsize,
    decrypts: AtomicUsize,
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length as u8) | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// The fields of a message whose lengths fit in one byte, and are bytes.
fn parse(mut message: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut fields = BTreeMap::new();
    while let [tag, length, rest @ ..] = message {
        let (value, rest) = rest.split_at(usize::from(*length));
        fields.insert(tag >> 3, value.to_vec());
        message = rest;
    }
    fields
}

impl Mock {
    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, &'static str> {
        let request = parse(request);
        let flipped = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 0x5a).collect::<Vec<u8>>();
        let key_id = self.key_id.lock().clone();
        match method {
            "Status" => {
                let healthz = self.healthz.lock().clone();
                Ok([field(1, b"v2"), field(2, healthz.as_bytes()), field(3, key_id.as_bytes())].concat())
            }
            "Encrypt" => {
                self.encrypts.fetch_add(1, Ordering::SeqCst);
                let annotation = [field(1, b"a.example"), field(2, b"1")].concat();
                Ok([field(1, &flipped(&request[&1])), field(2, key_id.as_bytes()), field(3, &annotation)]
                    .concat())
            }
            "Decrypt" => {
                self.decrypts.fetch_add(1, Ordering::SeqCst);
                assert!(request.contains_key(&4), "annotations come back");
                match request[&3] == b"lost" {
                    true => Err("key is gone"),
                    false => Ok(field(1, &flipped(&request[&1]))),
                }
            }
            other => panic!("no method {other}"),
        }
    }
}

fn serve(socket: &Path) -> Arc<Mock> {
    let mock = Arc::new(Mock {
        key_id: Mutex::new("one".into()),
        healthz: Mutex::new("ok".into()),
        encrypts: AtomicUsize::new(0),
        decrypts: AtomicUsize::new(0),
    });
    let listener = tokio::net::UnixListener::bind(socket).expect("a socket");
    let served = mock.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mock = served.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let mock = mock.clone();
                async move {
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    let method = request
                        .uri()
                        .path()
                        .strip_prefix("/v2.KeyManagementService/")
                        .expect("the service")
                        .to_owned();
                    let body = request.into_body().collect().await.expect("a body").to_bytes();
                    let mut trailers = HeaderMap::new();
                    let mut frames = Vec::new();
                    match mock.answer(&method, &body[5..]) {
                        Ok(message) => {
                            let mut framed = BytesMut::new();
                            framed.put_u8(0);
                            framed.put_u32(message.len() as u32);
                            framed.extend_from_slice(&message);
                            frames.push(Ok::<_, Infallible>(Frame::data(framed.freeze())));
                            trailers.insert("grpc-status", HeaderValue::from_static("0"));
                        }
                        Err(why) => {
                            trailers.insert("grpc-status", HeaderValue::from_static("9"));
                            trailers.insert("grpc-message", HeaderValue::from_static(why));
                        }
                    }
                    frames.push(Ok(Frame::trailers(trailers)));
                    let body = StreamBody::new(futures::stream::iter(frames));
                    let response = Response::builder().header("content-type", "application/grpc");
                    Ok::<_, Infallible>(response.body(body).expect("a response"))
                }
            });
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    mock
}

async fn opened_elsewhere(encryption: &Arc<Encryption>, stored: &[u8]) -> String {
    let (encryption, stored) = (encryption.clone(), stored.to_vec());
    tokio::task::spawn_blocking(move || opened(&encryption, PLACE, &stored)).await.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kms_plugin_keeps_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("kms.sock");
    let mock = serve(&socket);
    let provider = |name: &str| {
        format!(
            "- kms: {{apiVersion: v2, name: {name}, endpoint: 'unix://{}', timeout: 2s}}",
            socket.display()
        )
    };
    let entry = of("secrets", &[provider("vault")]);
    let first = encryption(folder.path(), &entry).await;
    assert_eq!(first.health(), Some(Ok(())));
    let stored = sealed(&first, PLACE, b"value");
    assert!(stored.starts_with(b"k8s:enc:kms:v2:vault:"));
    assert!(!String::from_utf8_lossy(&stored).contains("value"));
    for _ in 0..3 {
        assert_eq!(opened_elsewhere(&first, &stored).await, "fresh:value");
        sealed(&first, PLACE, b"more");
    }
    assert_eq!(
        (mock.encrypts.load(Ordering::SeqCst), mock.decrypts.load(Ordering::SeqCst)),
        (1, 0),
        "the seed is kept"
    );

    let restarted = encryption(folder.path(), &entry).await;
    for _ in 0..3 {
        assert_eq!(opened_elsewhere(&restarted, &stored).await, "fresh:value");
    }
    assert_eq!(mock.decrypts.load(Ordering::SeqCst), 1, "one question for one seed");

    *mock.key_id.lock() = "two".into();
    let rotated = encryption(folder.path(), &entry).await;
    assert_eq!(opened_elsewhere(&rotated, &stored).await, "stale:value");
    let newer = sealed(&rotated, PLACE, b"value");
    assert_eq!(opened_elsewhere(&rotated, &newer).await, "fresh:value");
    let elsewhere = {
        let rotated = rotated.clone();
        let newer = newer.clone();
        tokio::task::spawn_blocking(move || opened(&rotated, b"/registry/secrets/default/x", &newer))
            .await
            .expect("read")
    };
    assert_eq!(elsewhere, "cipher: message authentication failed");

    *mock.key_id.lock() = "lost".into();
    let losing = encryption(folder.path(), &entry).await;
    let lost = sealed(&losing, PLACE, b"value");
    let fresh = encryption(folder.path(), &entry).await;
    assert_eq!(
        opened_elsewhere(&fresh, &lost).await,
        "failed to decrypt DEK, error: rpc error: code = FailedPrecondition desc = key is gone"
    );
    assert_eq!(
        opened_elsewhere(&fresh, b"k8s:enc:kms:v2:vault:\xff\xff").await,
        "proto: cannot parse invalid wire-format data"
    );
    assert_eq!(opened_elsewhere(&fresh, b"k8s:enc:kms:v2:other:x").await, "no matching prefix found");
}

#[tokio::test]
async fn a_plugin_that_is_unwell_stops_writes_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("kms.sock");
    let mock = serve(&socket);
    let (env, clock) = Env::simulated(1);
    let entry = of(
        "secrets",
        &[format!("- kms: {{apiVersion: v2, name: v, endpoint: 'unix://{}'}}", socket.display())],
    );
    let encryption = Encryption::load(&write(folder.path(), &entry), &env).await.expect("a usable file");
    *mock.healthz.lock() = "sealed".into();
    while encryption.health() == Some(Ok(())) {
        clock.advance(std::time::Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    let why = encryption.health().and_then(Result::err).expect("unwell");
    assert_eq!(why, "kmsv2 Provider v is not healthy, error: got unexpected healthz status: sealed");
    clock.advance(std::time::Duration::from_secs(181));
    let refused = encryption.seal(PLACE, b"v").expect_err("expired");
    assert!(refused.starts_with("encryptedDEKSource with keyID hash \"sha256:"), "{refused}");
}

/// A plugin comes later than the server, on whose disk there are values of its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_come_later_than_the_server() {
    use mvcc::{Embedded, Options, Put, Store};

    let folder = tempfile::tempdir().expect("a folder");
    let (socket, disk) = (folder.path().join("kms.sock"), folder.path().join("store"));
    let plugin = format!("- kms: {{apiVersion: v2, name: v, endpoint: 'unix://{}'}}", socket.display());
    let file = write(folder.path(), &of("secrets", &[plugin]));
    let text = |revision: &str| format!(r#"{{"metadata":{{"name":"a","resourceVersion":"{revision}"}}}}"#);
    let open = async |encryption: Arc<Encryption>| {
        let (disk, env) = (disk.clone(), Env::real());
        let opened = move || Embedded::open_sealed(&disk, &env, &Options::default(), encryption);
        Arc::new(tokio::task::spawn_blocking(opened).await.expect("no panic").expect("a store"))
    };
    {
        let _mock = serve(&socket);
        let store = open(Encryption::load(&file, &Env::real()).await.expect("a usable file")).await;
        let (key, value) = (PLACE.to_vec(), text(""));
        let stamp_at = value.find("\"}}");
        store.create(Put { stamp_at, ..Put::new(key, value) }).await.expect("stored");
    }
    std::fs::remove_file(&socket).expect("removed");

    let encryption = Encryption::load(&file, &Env::real()).await.expect("the plugin is not waited for");
    let why = encryption.health().and_then(Result::err).expect("unwell");
    let said = format!(
        "failed to perform status section of the healthz check for KMS Provider v, error: rpc error: code = Unavailable \
         desc = connection error: desc = \"transport: Error while dialing: dial unix {}: connect: no such file or directory\"",
        socket.display()
    );
    assert_eq!(why, said);
    assert_eq!(encryption.seal(PLACE, b"v").expect_err("no key"), "got unexpected nil transformer");
    assert!(encryption.reload().await.is_err(), "what is not there is not taken over");
    let store = open(encryption.clone()).await;
    let before = store.get_now(PLACE, None).expect("a version").kv.expect("kept");
    assert!(before.payload.is_some() && before.value.starts_with(b"k8s:enc:kms:v2:v:"));
    let why = opened(&encryption, PLACE, &before.value);
    assert!(why.starts_with("failed to decrypt DEK, error: failed to perform status section"), "{why}");

    std::fs::remove_file(&socket).unwrap_or_default();
    let _mock = serve(&socket);
    encryption.rotated().await;
    assert_eq!(encryption.health(), Some(Ok(())));
    crate::read_again(&encryption, &store).await;
    let after = store.get_now(PLACE, None).expect("a version").kv.expect("kept");
    assert!(after.payload.is_none() && after.mod_revision > before.mod_revision);
    assert_eq!(after.value, text(&after.mod_revision.to_string()), "the object knows its new revision");
}
