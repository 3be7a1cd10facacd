//! `ferrokube scheduler`: the scheduler as a process of its own, for any API server.

use std::path::PathBuf;
use std::sync::Arc;

use ::scheduler::config::{SchedulerConfig, parse};
use ::scheduler::service;
use anyhow::{Context, Result};
use client::{Client, remote};
use env::Env;
use informer::Informers;
use reconcile::{Election, elect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Options of `ferrokube scheduler`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchedulerOptions {
    /// KubeSchedulerConfiguration, YAML or JSON
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to reach the API server; overridden by the configuration's clientConnection; the pod's service account without
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Whether replicas agree on one that works
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: Option<bool>,
    /// Address for /healthz, /livez, /readyz and /metrics; empty for none
    #[arg(long, default_value = "127.0.0.1:10251", value_name = "ADDRESS")]
    pub metrics_bind_address: String,
}

/// Runs until the process ends, or until leadership is lost.
pub async fn run(options: SchedulerOptions) -> Result<()> {
    let mut config = match &options.config {
        None => SchedulerConfig::default(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            parse(&text).with_context(|| path.display().to_string())?
        }
    };
    if let Some(elect) = options.leader_elect {
        config.leader_election.leader_elect = elect;
    }
    let env = Env::real();
    let client = connect(&options, &config)?;
    if !options.metrics_bind_address.is_empty() {
        let listener = TcpListener::bind(&options.metrics_bind_address)
            .await
            .with_context(|| format!("cannot listen on {}", options.metrics_bind_address))?;
        env::spawn_detached("scheduler-http", serve(listener));
    }
    let election = config.leader_election.clone();
    let work = service::Config {
        client: client.clone(),
        informers: Informers::new(client.clone(), env.clone()),
        env: env.clone(),
        config,
        plugins: Vec::new(),
    };
    if !election.leader_elect {
        service::run(work).await;
        return Ok(());
    }
    let hostname = nix::unistd::gethostname().context("the host has no name")?;
    let identity = format!("{}_{}", hostname.to_string_lossy(), env.random.uuid());
    let mut wanted = Election::new(&election.resource_namespace, &election.resource_name, &identity);
    wanted.lease_duration = election.lease_duration;
    wanted.renew_deadline = election.renew_deadline;
    wanted.retry_period = election.retry_period;
    let (leading, mut led) = tokio::sync::watch::channel(false);
    let candidate =
        env::spawn("scheduler-election", elect(client, wanted, env, leading, std::future::pending::<()>()));
    led.wait_for(|leads| *leads).await.context("the election ended")?;
    tokio::select! {
        () = service::run(work) => {}
        // Another replica may lead by now: this one must not go on.
        _ = led.wait_for(|leads| !*leads) => anyhow::bail!("leaderelection lost"),
    }
    candidate.abort();
    Ok(())
}

fn connect(options: &SchedulerOptions, config: &SchedulerConfig) -> Result<Client> {
    let from_config = (!config.kubeconfig.is_empty()).then(|| PathBuf::from(&config.kubeconfig));
    let mut connection = match from_config.or_else(|| options.kubeconfig.clone()) {
        Some(path) => remote::Config::from_kubeconfig(&path, None)
            .with_context(|| format!("cannot use {}", path.display()))?,
        None => remote::Config::in_cluster().context("no --kubeconfig, and not in a pod")?,
    };
    connection.user_agent = "kube-scheduler".into();
    Ok(Client::new(Arc::new(remote::Remote::new(connection)?)))
}

/// Connections that are answered at once; further ones wait.
const CONNECTIONS_MAX: usize = 16;
/// Longest request line and headers.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Longest time for a request to arrive.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

async fn serve(listener: TcpListener) {
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        env::spawn_detached("scheduler-http-connection", async move {
            let _ = tokio::time::timeout(PATIENCE, answer(stream)).await;
            drop(slot);
        });
    }
}

/// One request, one answer, and the connection ends.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await? {
            0 => break,
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let (status, body) = match path {
        "/healthz" | "/livez" | "/readyz" => ("200 OK", "ok".to_owned()),
        "/metrics" => ("200 OK", telemetry::render()),
        _ => ("404 Not Found", "404 page not found\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
