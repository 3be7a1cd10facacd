//! The same load on any API server: creates, gets, lists and watches, counted and timed from outside.
//!
//! `load --kubeconfig FILE create-configmaps --clients 32 --seconds 10`. Run it against ferrokube and against another API
//! server on the same machine in one go, and quote the ratio: machines are noisy, ratios less so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use call::ListOptions;
use clap::{Parser, Subcommand};
use client::{Client, TypedEvent, remote};
use futures::StreamExt;
use types::core::v1::{ConfigMap, Container, Namespace, Pod};

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
    /// Create ConfigMaps of 1 kB
    CreateConfigmaps,
    /// Create Pods that no scheduler takes
    CreatePods,
    /// Get one ConfigMap again and again
    Get,
    /// List 6,000 ConfigMaps of 1.5 kB
    List,
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
    client.all::<Namespace>().delete(&cli.namespace, &call::DeleteOptions::default()).await?;
    measured
}

async fn measure(cli: &Cli, client: &Client) -> Result<()> {
    let space = cli.namespace.clone();
    match cli.load {
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
        Load::Get => {
            client.namespaced::<ConfigMap>(&space).create(config_map("one".into(), 1000)).await?;
            repeat(cli, "get ConfigMap", move |client, _| {
                let api = client.namespaced::<ConfigMap>(&space);
                async move { api.get("one").await.is_ok() }
            })
            .await
        }
        Load::List => {
            fill(cli, 6_000, 1_500).await?;
            repeat(cli, "list 6,000 ConfigMaps (9 MB)", move |client, _| {
                let api = client.namespaced::<ConfigMap>(&space);
                async move { api.list(&ListOptions::default()).await.is_ok_and(|list| list.items.len() == 6_000) }
            })
            .await
        }
        Load::Watch { watchers } => watch(cli, client, watchers).await,
    }
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

/// One writer creates objects for the given time; every watcher must see all of them.
async fn watch(cli: &Cli, client: &Client, watchers: usize) -> Result<()> {
    let version =
        client.namespaced::<ConfigMap>(&cli.namespace).list(&ListOptions::default()).await?.resource_version;
    let options = ListOptions { resource_version: version.to_string().into(), ..ListOptions::default() };
    let seen = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut events = connect(cli)?.namespaced::<ConfigMap>(&cli.namespace).watch(&options).await?;
        let seen = seen.clone();
        tasks.push(tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                if matches!(event, TypedEvent::Added(_)) {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    let start = Instant::now();
    let end = start + Duration::from_secs(cli.seconds);
    let mut written = 0_u64;
    let api = client.namespaced::<ConfigMap>(&cli.namespace);
    while Instant::now() < end {
        api.create(config_map(format!("w-{written}"), 1000)).await?;
        written += 1;
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
