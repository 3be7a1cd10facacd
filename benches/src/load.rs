//! The same load on any API server: creates, gets, lists and watches, counted and timed from outside.
//!
//! `load --kubeconfig FILE create-configmaps --clients 32 --seconds 10`. Run it against ferrokube and against another API
//! server on the same machine in one go, and quote the ratio: machines are noisy, ratios less so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use call::{ListOptions, PatchKind, WriteOptions};
use clap::{Parser, Subcommand};
use client::{Client, TypedEvent, remote};
use futures::StreamExt;
use http_body_util::BodyExt;
use types::apps::v1::Deployment;
use types::core::v1::{ConfigMap, Container, Namespace, Pod, ServiceAccount};
use types::rbac::v1::ClusterRoleBinding;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[derive(Parser)]
struct Cli {
    /// Whom to ask
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Namespace that the load makes and removes
    #[arg(long, default_value = "load")]
    namespace: String,
    /// Connections that work at once
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How long to measure
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand, Clone, Copy)]
enum Load {
    /// Let in another load, such as wrk: print the server's address and a token that may do everything, after the
    /// namespace has been made, and remove it with all it then holds once the standard input ends
    LetIn,
    /// Create ConfigMaps of 1 kB
    CreateConfigmaps,
    /// Create Pods that no scheduler takes
    CreatePods,
    /// Create Pods that no scheduler takes, sent as JSON
    CreatePodsJson,
    /// Change a label of a Deployment, each client its own, by merge patch
    Patch,
    /// Server-side apply of a Deployment, each client its own, with a value that changes
    Apply,
    /// Get one ConfigMap again and again
    Get,
    /// List 6,000 ConfigMaps of 1.5 kB
    List,
    /// The same as protobuf
    ListProtobuf,
    /// Watchers that all get every event of one writer
    Watch {
        /// How many
        #[arg(long, default_value_t = 500)]
        watchers: usize,
    },
}

/// Latencies of one kind of request.
#[derive(Default)]
struct Sample {
    latencies: Vec<Duration>,
    failures: u64,
}

impl Sample {
    fn print(mut self, what: &str, elapsed: Duration) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index =
                ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len().saturating_sub(1));
            self.latencies.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        println!(
            "{what}: {:.0} /s, p50 {:.2} ms, p99 {:.2} ms, {} requests, {} failures",
            self.latencies.len() as f64 / elapsed.as_secs_f64(),
            at(0.5),
            at(0.99),
            self.latencies.len(),
            self.failures
        );
    }
}

impl Cli {
    /// One connection for each client.
    fn server(&self) -> Result<Vec<Arc<remote::Remote>>> {
        let config = remote::Config::from_kubeconfig(&self.kubeconfig, None)?;
        (0..self.clients).map(|_| Ok(Arc::new(remote::Remote::new(config.clone())?))).collect()
    }
}

fn connect(cli: &Cli) -> Result<Client> {
    let config = remote::Config::from_kubeconfig(&cli.kubeconfig, None)?;
    Ok(Client::new(Arc::new(remote::Remote::new(config)?)))
}

fn config_map(name: String, size: usize) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = name.into();
    map.data.insert("data", meta::Str::from("x".repeat(size)));
    map
}

fn pod(name: String) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = name.into();
    pod.spec.scheduler_name = "nobody".into();
    let container =
        Container { name: "main".into(), image: "example.com/image:1".into(), ..Container::default() };
    pod.spec.containers.push(container);
    pod
}

/// Repeats a GET whose JSON answer is read and thrown away, so that the server is measured and not this program's decoder.
/// An answer below `least` bytes counts as a failure.
async fn repeat_raw(cli: &Cli, what: &str, path: String, accept: &'static str, least: usize) -> Result<()> {
    let server = cli.server()?;
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = bytes.clone();
    let start = Instant::now();
    repeat(cli, what, move |_, number| {
        // One connection for each client, as the numbers of clients and their turns fall.
        let server = server[number as usize % server.len()].clone();
        let (path, counted) = (path.clone(), counted.clone());
        async move {
            let Ok(mut body) = open(&server, &path, accept).await else { return false };
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                length += frame.data_ref().map_or(0, Bytes::len);
            }
            counted.fetch_add(length as u64, Ordering::Relaxed);
            length >= least
        }
    })
    .await?;
    let rate = bytes.load(Ordering::Relaxed) as f64 / 1e6 / start.elapsed().as_secs_f64();
    println!("{what}: {rate:.0} MB/s of bodies");
    Ok(())
}

/// Sends a GET that asks for one media type and gives the body once the status is 200.
async fn open(server: &remote::Remote, path: &str, accept: &str) -> Result<remote::Answer> {
    let request = http::Request::get(path).header("accept", accept).body(Bytes::new())?;
    let response = server.send(request).await?;
    anyhow::ensure!(response.status() == http::StatusCode::OK, "{path}: {}", response.status());
    Ok(response.into_body())
}

/// Lets every client repeat `request(client, number)` for the given time, each over a connection of its own.
async fn repeat<F, R>(cli: &Cli, what: &str, request: F) -> Result<()>
where
    F: Fn(Client, u64) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = bool> + Send,
{
    let numbers = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(cli.seconds);
    let mut tasks = Vec::new();
    for _ in 0..cli.clients {
        let (client, numbers, request) = (connect(cli)?, numbers.clone(), request.clone());
        tasks.push(tokio::spawn(async move {
            let mut sample = Sample::default();
            while Instant::now() < end {
                let began = Instant::now();
                if request(client.clone(), numbers.fetch_add(1, Ordering::Relaxed)).await {
                    sample.latencies.push(began.elapsed());
                } else {
                    sample.failures += 1;
                }
            }
            sample
        }));
    }
    let mut all = Sample::default();
    for task in tasks {
        let sample = task.await?;
        all.latencies.extend(sample.latencies);
        all.failures += sample.failures;
    }
    all.print(what, start.elapsed());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let client = connect(&cli)?;
    let mut namespace = Namespace::default();
    namespace.metadata.name = cli.namespace.as_str().into();
    client.all::<Namespace>().create(namespace).await.context("cannot make the namespace")?;
    let measured = measure(&cli, &client).await;
    remove(&client, &cli.namespace).await?;
    measured
}

/// Deletes the namespace and waits until it is gone, so that the next measurement does not pay for this one's end.
async fn remove(client: &Client, name: &str) -> Result<()> {
    let api = client.all::<Namespace>();
    let version = api.list(&ListOptions::default()).await?.resource_version;
    api.delete(name, &call::DeleteOptions::default()).await?;
    let options = ListOptions { resource_version: version.to_string().into(), ..ListOptions::default() };
    let mut events = api.watch(&options).await?;
    let gone = async {
        while let Some(event) = events.next().await {
            if matches!(event, Ok(TypedEvent::Deleted(gone)) if gone.metadata.name == name) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.context("the namespace does not go away")
}

async fn measure(cli: &Cli, client: &Client) -> Result<()> {
    let space = cli.namespace.clone();
    match cli.load {
        Load::LetIn => let_in(cli, client).await,
        Load::CreateConfigmaps => {
            repeat(cli, "create ConfigMap", move |client, number| {
                let api = client.namespaced::<ConfigMap>(&space);
                async move { api.create(config_map(format!("m-{number}"), 1000)).await.is_ok() }
            })
            .await
        }
        Load::CreatePods => {
            repeat(cli, "create Pod", move |client, number| {
                let api = client.namespaced::<Pod>(&space);
                async move { api.create(pod(format!("p-{number}"))).await.is_ok() }
            })
            .await
        }
        Load::CreatePodsJson => create_json(cli, &space).await,
        Load::Patch => change(cli, client, "merge patch Deployment", PatchKind::Merge).await,
        Load::Apply => change(cli, client, "apply Deployment", PatchKind::Apply).await,
        Load::Get => {
            client.namespaced::<ConfigMap>(&space).create(config_map("one".into(), 1000)).await?;
            let path = format!("/api/v1/namespaces/{space}/configmaps/one");
            repeat_raw(cli, "get ConfigMap", path, JSON, 1_000).await
        }
        Load::List | Load::ListProtobuf => {
            fill(cli, 6_000, 1_500).await?;
            let path = format!("/api/v1/namespaces/{space}/configmaps");
            let (what, accept) = match cli.load {
                Load::List => ("list 6,000 ConfigMaps (9 MB)", JSON),
                _ => ("list 6,000 ConfigMaps (9 MB), protobuf", PROTOBUF),
            };
            repeat_raw(cli, what, path, accept, 9_000_000).await
        }
        Load::Watch { watchers } => watch(cli, client, watchers).await,
    }
}

/// Gives a ServiceAccount of the namespace every right, prints how to use it, and waits for the end of the input.
async fn let_in(cli: &Cli, client: &Client) -> Result<()> {
    let space = &cli.namespace;
    let config = remote::Config::from_kubeconfig(&cli.kubeconfig, None)?;
    let named = serde_json::json!({"metadata": {"name": "load"}});
    client.namespaced::<ServiceAccount>(space).create(meta::from_value(named)?).await?;
    client.namespaced::<ConfigMap>(space).create(config_map("one".into(), 1000)).await?;
    let binding = serde_json::json!({
        "metadata": {"name": space},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "load", "namespace": space}],
    });
    let bindings = client.all::<ClusterRoleBinding>();
    bindings.create(meta::from_value(binding)?).await?;
    let path = format!("/api/v1/namespaces/{space}/serviceaccounts/load/token");
    let request = http::Request::post(path).header("content-type", JSON).header("accept", JSON);
    let answer = remote::Remote::new(config.clone())?.send(request.body(Bytes::from("{}"))?).await?;
    let answer = answer.into_body().collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let token = answer["status"]["token"].as_str().context("no token was given")?;
    println!("{} {token}", config.server);
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    bindings.delete(space, &call::DeleteOptions::default()).await?;
    Ok(())
}

/// Creates pods over raw HTTP: the library's own requests are protobuf.
async fn create_json(cli: &Cli, space: &str) -> Result<()> {
    let server = cli.server()?;
    let path = format!("/api/v1/namespaces/{space}/pods");
    repeat(cli, "create Pod, JSON", move |_, number| {
        let server = server[number as usize % server.len()].clone();
        let body = meta::to_value(&pod(format!("p-{number}"))).to_string();
        let request = http::Request::post(&path).header("content-type", JSON).header("accept", JSON);
        let request = request.body(Bytes::from(body));
        async move {
            let Ok(request) = request else { return false };
            let Ok(response) = server.send(request).await else { return false };
            response.status() == http::StatusCode::CREATED && response.into_body().collect().await.is_ok()
        }
    })
    .await
}

/// Changes Deployments, as many as there are clients.
async fn change(cli: &Cli, client: &Client, what: &str, kind: PatchKind) -> Result<()> {
    let api = client.namespaced::<Deployment>(&cli.namespace);
    let options = WriteOptions { field_manager: "load".into(), force: true, ..WriteOptions::default() };
    let clients = cli.clients as u64;
    if kind == PatchKind::Merge {
        for number in 0..clients {
            let body = deployment(number, 0);
            api.patch(&format!("d-{number}"), PatchKind::Apply, body, &options).await?;
        }
    }
    let space = cli.namespace.clone();
    repeat(cli, what, move |client, number| {
        let api = client.namespaced::<Deployment>(&space);
        let name = format!("d-{}", number % clients);
        let mut options = options.clone();
        let body = match kind {
            PatchKind::Apply => deployment(number % clients, number),
            _ => {
                options.force = false;
                Bytes::from(format!(r#"{{"metadata":{{"labels":{{"n":"{number}"}}}}}}"#))
            }
        };
        async move { api.patch(&name, kind, body, &options).await.is_ok() }
    })
    .await
}

/// A Deployment without replicas, as applied.
fn deployment(number: u64, label: u64) -> Bytes {
    let name = format!("d-{number}");
    let container = serde_json::json!({
        "name": "main", "image": "example.com/image:1", "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "a"}, {"name": "B", "value": "b"}],
    });
    let body = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"n": label.to_string()}},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    });
    Bytes::from(body.to_string())
}

async fn fill(cli: &Cli, count: u64, size: usize) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..cli.clients {
        let (api, next) = (connect(cli)?.namespaced::<ConfigMap>(&cli.namespace), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, meta::Status>(());
                }
                api.create(config_map(format!("m-{number}"), size)).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Some writers create objects for the given time; every watcher must see all of them.
async fn watch(cli: &Cli, client: &Client, watchers: usize) -> Result<()> {
    const WRITERS: usize = 8;
    let version =
        client.namespaced::<ConfigMap>(&cli.namespace).list(&ListOptions::default()).await?.resource_version;
    let path =
        format!("/api/v1/namespaces/{}/configmaps?watch=true&resourceVersion={version}", cli.namespace);
    let config = remote::Config::from_kubeconfig(&cli.kubeconfig, None)?;
    let seen = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let server = remote::Remote::new(config.clone())?;
        let mut body = open(&server, &path, JSON).await?;
        let seen = seen.clone();
        tasks.push(tokio::spawn(async move {
            // An event is a line.
            while let Some(Ok(frame)) = body.frame().await {
                let lines = frame.data_ref().map_or(0, |data| memchr::memchr_iter(b'\n', data).count());
                seen.fetch_add(lines as u64, Ordering::Relaxed);
            }
            drop(server);
        }));
    }
    let start = Instant::now();
    let end = start + Duration::from_secs(cli.seconds);
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let api = connect(cli)?.namespaced::<ConfigMap>(&cli.namespace);
        writers.push(tokio::spawn(async move {
            let mut written = 0_u64;
            while Instant::now() < end {
                api.create(config_map(format!("w-{writer}-{written}"), 1000)).await?;
                written += 1;
            }
            Ok::<_, meta::Status>(written)
        }));
    }
    let mut written = 0;
    for writer in writers {
        written += writer.await??;
    }
    let wanted = written * watchers as u64;
    while seen.load(Ordering::Relaxed) < wanted && start.elapsed() < Duration::from_secs(cli.seconds * 4) {
        tokio::task::yield_now().await;
    }
    let (seen, elapsed) = (seen.load(Ordering::Relaxed), start.elapsed());
    println!(
        "{watchers} watchers: {:.0} events/s, {seen} of {wanted} events",
        seen as f64 / elapsed.as_secs_f64()
    );
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}
