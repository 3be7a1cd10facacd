//! Pulls from a registry that is a table of answers on a loopback port.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64_free::basic;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use images::*;
use parking_lot::Mutex;

/// `Authorization` headers without a base64 dependency: the one value that the tests use.
mod base64_free {
    /// `user:secret`.
    pub fn basic() -> &'static str {
        "Basic dXNlcjpzZWNyZXQ="
    }
}

#[derive(Default)]
struct Registry {
    /// Path to media type and body.
    answers: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    private: bool,
    blobs_served: AtomicU64,
}

impl Registry {
    /// Serves the images of an OCI layout under `/v2/app/`.
    fn of(layout: &Path, private: bool) -> Registry {
        let registry = Registry { private, ..Default::default() };
        let mut answers = registry.answers.lock();
        for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten() {
            let digest = format!("sha256:{}", blob.file_name().to_str().unwrap());
            let bytes = std::fs::read(blob.path()).unwrap();
            let manifest = "application/vnd.oci.image.manifest.v1+json".to_owned();
            answers.insert(
                format!("/v2/app/blobs/{digest}"),
                ("application/octet-stream".into(), bytes.clone()),
            );
            answers.insert(format!("/v2/app/manifests/{digest}"), (manifest, bytes));
        }
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let media = "application/vnd.oci.image.index.v1+json".to_owned();
        answers.insert("/v2/app/manifests/1".into(), (media, index));
        drop(answers);
        registry
    }

    fn answer(&self, request: &Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let reply = |status: u16| Response::builder().status(status);
        let error = |status, code: &str| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no","detail":null}}]}}"#);
            reply(status).header("content-type", "application/json").body(Full::from(body)).unwrap()
        };
        let allowed = request.headers().get("authorization").is_some_and(|h| h == basic());
        if self.private && !allowed {
            let mut refusal = error(401, "UNAUTHORIZED");
            refusal.headers_mut().insert("www-authenticate", "Basic realm=\"test\"".parse().unwrap());
            return refusal;
        }
        let path = request.uri().path();
        if path == "/v2/" {
            return reply(200).body(Full::default()).unwrap();
        }
        match self.answers.lock().get(path) {
            Some((media, body)) => {
                self.blobs_served.fetch_add(u64::from(path.contains("/blobs/")), Ordering::Relaxed);
                reply(200).header("content-type", media).body(Full::from(body.clone())).unwrap()
            }
            None => error(404, "MANIFEST_UNKNOWN"),
        }
    }
}

async fn serve(registry: Arc<Registry>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let registry = registry.clone();
            let service = service_fn(move |request| {
                let response = registry.answer(&request);
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
            );
        }
    });
    address
}

fn layout(dir: &Path) -> std::path::PathBuf {
    let mut layers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join(name), name.repeat(100_000)).unwrap();
        layers.push(LayerSource::Dir(dir.join(name)));
    }
    build_layout(
        &dir.join("layout"),
        &Build { name: "app:1".into(), layers, gzip: true, ..Default::default() },
    )
    .unwrap();
    dir.join("layout")
}

#[tokio::test]
async fn an_image_is_pulled_once() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::of(&layout(dir.path()), false));
    let address = serve(registry.clone()).await;
    let store = Store::open(dir.path().join("store"), StoreConfig::default()).unwrap();
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let progress = {
        let seen = seen.clone();
        move |p: Progress| {
            seen.lock().insert(p.digest, (p.done_bytes, p.total_bytes));
        }
    };
    let options = PullOptions { progress: Some(Arc::new(progress)), ..Default::default() };
    let name = format!("{address}/app:1");
    let image = store.pull(&name, options).await.unwrap();
    assert_eq!(image.repo_tags, [name.as_str()]);
    assert!(image.repo_digests[0].starts_with(&format!("{address}/app@sha256:")), "{:?}", image.repo_digests);
    assert_eq!(seen.lock().len(), 4);
    assert!(seen.lock().values().all(|(done, total)| done == total));
    assert!(image.layers[3].path.join("d").exists());
    let served = registry.blobs_served.load(Ordering::Relaxed);
    assert_eq!(store.pull(&name, PullOptions::default()).await.unwrap(), image);
    assert_eq!(registry.blobs_served.load(Ordering::Relaxed), served, "nothing is fetched twice");
    assert_eq!(store.get(&image.repo_digests[0]).unwrap().id, image.id);
    // The same image from the same place, through a mirror for another registry.
    let mirrors = BTreeMap::from([("example.invalid".to_owned(), vec![format!("http://{address}")])]);
    let other = Store::open(dir.path().join("other"), StoreConfig { mirrors, ..Default::default() }).unwrap();
    let mirrored = other.pull("example.invalid/app:1", PullOptions::default()).await.unwrap();
    assert_eq!((mirrored.id, mirrored.repo_tags[0].as_str()), (image.id, "example.invalid/app:1"));
}

#[tokio::test]
async fn failures_name_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::of(&layout(dir.path()), false));
    let address = serve(registry.clone()).await;
    let store = Store::open(dir.path().join("store"), StoreConfig::default()).unwrap();
    let pull = |name: String| {
        let store = &store;
        async move { store.pull(&name, PullOptions::default()).await.unwrap_err() }
    };
    let error = pull(format!("{address}/app:none")).await;
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = pull(format!("{closed}/app:1")).await;
    assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains("refused"), "{error}");
    assert!(matches!(pull("Bad Name".into()).await, Error::InvalidReference { .. }));
    // A layer that is not what its name says.
    let layer = registry
        .answers
        .lock()
        .iter()
        .find(|(p, (_, b))| p.contains("/blobs/") && b.starts_with(&[0x1f, 0x8b]))
        .unwrap()
        .0
        .clone();
    registry.answers.lock().get_mut(&layer).unwrap().1[20] ^= 0xff;
    let error = pull(format!("{address}/app:1")).await;
    assert!(matches!(error, Error::DigestMismatch { what: "layer", .. }), "{error}");
    assert!(store.list().is_empty());
}

#[tokio::test]
async fn credentials_are_tried() {
    let dir = tempfile::tempdir().unwrap();
    let address = serve(Arc::new(Registry::of(&layout(dir.path()), true))).await;
    let store = Store::open(dir.path().join("store"), StoreConfig::default()).unwrap();
    let name = format!("{address}/app:1");
    let error = store.pull(&name, PullOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let basic = |password: &str| Credentials::Basic { username: "user".into(), password: password.into() };
    let options = PullOptions { credentials: vec![basic("wrong"), basic("secret")], ..Default::default() };
    store.pull(&name, options).await.unwrap();
}

/// Against the registry that Debian ships, where it is installed.
#[tokio::test]
async fn a_real_registry_serves_us() {
    use oci_client::client::{ClientConfig, ClientProtocol};
    use tokio::io::{AsyncBufReadExt, BufReader};
    if !Path::new("/usr/bin/docker-registry").exists() {
        println!("skipped: needs docker-registry");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = dir.path().join("registry.yml");
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        dir.path().join("registry").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut server = tokio::process::Command::new("/usr/bin/docker-registry")
        .args(["serve".as_ref(), config.as_os_str()])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    while let Some(line) = log.next_line().await.unwrap() {
        if line.contains("listening on") {
            break;
        }
    }
    // Somebody must keep reading, or the registry blocks.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    let layout = layout(dir.path());
    let client =
        oci_client::Client::new(ClientConfig { protocol: ClientProtocol::Http, ..Default::default() });
    let target = oci_client::Reference::with_tag(address.to_string(), "team/app".into(), "1".into());
    let mut manifest = Vec::new();
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten() {
        let bytes = std::fs::read(blob.path()).unwrap();
        let digest = format!("sha256:{}", blob.file_name().to_str().unwrap());
        if bytes.starts_with(b"{\"schemaVersion\"") {
            manifest = bytes;
        } else {
            client.push_blob(&target, bytes, &digest).await.unwrap();
        }
    }
    let media = "application/vnd.oci.image.manifest.v1+json".parse().unwrap();
    client.push_manifest_raw(&target, manifest, media).await.unwrap();
    let store = Store::open(dir.path().join("store"), StoreConfig::default()).unwrap();
    let image = store.pull(&format!("{address}/team/app:1"), PullOptions::default()).await.unwrap();
    assert_eq!(image.layers.len(), 4);
    let error = store.pull(&format!("{address}/team/other:1"), PullOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    let digest = format!("{address}/team/app@{}", image.manifest_digest);
    assert_eq!(store.pull(&digest, PullOptions::default()).await.unwrap().id, image.id);
    server.kill().await.unwrap();
}
