//! `ferrokube scheduler`: the scheduler as a process of its own, for any API server; and its HTTPS endpoint, which the
//! scheduler inside of `ferrokube up` can have too.

mod flags;
mod questions;
mod serve;
mod trust;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::scheduler::config::{LeaderElection, SchedulerConfig, parse};
use ::scheduler::service;
use anyhow::{Context, Result};
use authn::RequestHeader;
use client::{Client, remote};
use delegated::{Access, Freshness};
use env::Env;
use informer::Informers;
use reconcile::{Election, Recorder, elect};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use types::core::v1::{Node, Pod};

use self::flags::{AccessFlags, ApiFlags, ServingFlags, TuningFlags};
use self::questions::Questions;
use self::serve::{Endpoint, State};
use self::trust::Trust;
use crate::component::ComponentFlags;
use crate::control_plane::client_ca;
use crate::front_proxy;
use crate::options::Settings;
use crate::pki::Pki;
use crate::tls::TlsOptions;

/// How long upstream's scheduler uses an answer about tokens and access again.
const FRESH: Freshness = {
    let hold = Duration::from_secs(10);
    Freshness { token: hold, allowed: hold, denied: hold }
};

/// Paths that everyone may ask for.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/livez"];

/// Options of `ferrokube scheduler`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchedulerOptions {
    /// KubeSchedulerConfiguration, YAML or JSON
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to reach the API server; overridden by the configuration's clientConnection; the pod's service account without
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server, whatever the kubeconfig says
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Write the configuration in use, every default filled in, to a file and end
    #[arg(long, value_name = "FILE")]
    pub write_config_to: Option<PathBuf>,
    /// Whether replicas agree on one that works
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: Option<bool>,
    /// How long a lease is good without being renewed
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub leader_elect_lease_duration: Option<Duration>,
    /// How long the leader tries to renew before it gives up
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub leader_elect_renew_deadline: Option<Duration>,
    /// Pause between tries
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub leader_elect_retry_period: Option<Duration>,
    /// Name of the Lease that replicas agree by
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_name: Option<String>,
    /// Namespace of that Lease
    #[arg(long, value_name = "NAMESPACE")]
    pub leader_elect_resource_namespace: Option<String>,
    /// The type of object that replicas agree by: leases only
    #[arg(long, value_name = "TYPE", default_value = "leases", value_parser = ["leases"])]
    pub leader_elect_resource_lock: String,
    /// The endpoint.
    #[command(flatten)]
    pub serving: ServingFlags,
    /// TLS of the endpoint.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Whom it serves.
    #[command(flatten)]
    pub access: AccessFlags,
    /// What is measured and tried.
    #[command(flatten)]
    pub tuning: TuningFlags,
    /// How the API server is asked.
    #[command(flatten)]
    pub api: ApiFlags,
    /// Features, logs and metrics.
    #[command(flatten)]
    pub component: ComponentFlags,
}

/// Runs until the process ends, or until leadership is lost.
pub async fn run(options: SchedulerOptions) -> Result<()> {
    let mut config = read(options.config.as_deref())?;
    options.say(&mut config);
    options.tuning.apply(&mut config)?;
    if let Some(path) = &options.write_config_to {
        let text = serde_norway::to_string(&config.document())?;
        return std::fs::write(path, text).map_err(|error| unusable("open", path, &error));
    }
    service::check_extenders(&config).map_err(anyhow::Error::msg)?;
    let env = Env::real();
    let client = connect(&options, &config)?;
    let informers = Informers::new(client.clone(), env.clone());
    let at_work = Arc::new(AtomicBool::new(false));
    let _endpoint = match options.serving.secure_port {
        0 => None,
        _ => Some(serve(&options, &config, &informers, at_work.clone(), env.clone()).await?),
    };
    let election = config.leader_election.clone();
    // With a limit of its own: much work must not cost the lease.
    let elector = connect(&options, &config)?;
    let work = service::Config {
        client: client.clone(),
        informers,
        env: env.clone(),
        config,
        plugins: Vec::new(),
        waiting: Default::default(),
        host: host()?.into(),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if !election.leader_elect {
        at_work.store(true, Ordering::Relaxed);
        tokio::select! {
            () = service::run(work) => {}
            () = ended => {}
        }
        return Ok(());
    }
    let mut wanted = candidacy(&election, &env)?;
    wanted.recorder = Some(Recorder::start(client.clone(), "default-scheduler", env.clone()));
    let (leading, led) = tokio::sync::watch::channel(false);
    let (stop, stopped) = oneshot::channel::<()>();
    let candidate = env::spawn("scheduler-election", elect(elector, wanted, env, leading, stopped));
    let working = async {
        let mut led = led;
        led.wait_for(|leads| *leads).await.context("the election ended")?;
        at_work.store(true, Ordering::Relaxed);
        tokio::select! {
            () = service::run(work) => Ok(()),
            // Another replica may lead by now: this one must not go on.
            _ = led.wait_for(|leads| !*leads) => anyhow::bail!("leaderelection lost"),
        }
    };
    tokio::select! {
        outcome = working => return outcome,
        () = ended => {}
    }
    // This replica decides nothing any more: the next one need not wait for the end of the lease.
    drop(stop);
    candidate.join().await;
    Ok(())
}

/// How this replica stands for election.
///
/// # Errors
/// The times do not fit together, in client-go's words.
fn candidacy(election: &LeaderElection, env: &Env) -> Result<Election> {
    if election.lease_duration <= election.renew_deadline {
        anyhow::bail!("couldn't create leader elector: leaseDuration must be greater than renewDeadline");
    }
    if election.renew_deadline <= election.retry_period.mul_f64(1.2) {
        anyhow::bail!(
            "couldn't create leader elector: renewDeadline must be greater than retryPeriod*JitterFactor"
        );
    }
    let identity = format!("{}_{}", host()?, env.random.uuid());
    let mut wanted = Election::new(&election.resource_namespace, &election.resource_name, &identity);
    wanted.lease_duration = election.lease_duration;
    wanted.renew_deadline = election.renew_deadline;
    wanted.retry_period = election.retry_period;
    Ok(wanted)
}

/// What Go says of a file that cannot be used: `open /etc/x: no such file or directory`.
pub(crate) fn unusable(what: &str, path: &Path, error: &std::io::Error) -> anyhow::Error {
    let why = error.to_string().to_lowercase();
    let why = why.split(" (os error").next().unwrap_or_default();
    anyhow::anyhow!("{what} {}: {why}", path.display())
}

fn host() -> Result<String> {
    let name = nix::unistd::gethostname().context("the host has no name")?;
    Ok(name.to_string_lossy().into_owned())
}

/// Reads a configuration; the defaults without a file.
///
/// # Errors
/// The file cannot be read, or what is wrong with it.
pub(crate) fn read(path: Option<&Path>) -> Result<SchedulerConfig> {
    let Some(path) = path else { return Ok(SchedulerConfig::default()) };
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::IsADirectory => unusable("read", path, &error),
        _ => unusable("open", path, &error),
    })?;
    parse(&text).with_context(|| path.display().to_string())
}

/// A duration such as `15s`, `1m30s` or `500ms`.
fn seconds(text: &str) -> Result<Duration, String> {
    meta::Duration::parse(text).map(meta::Duration::to_std).map_err(|error| error.to_string())
}

impl SchedulerOptions {
    /// What the command line says about leader election.
    fn say(&self, config: &mut SchedulerConfig) {
        let election = &mut config.leader_election;
        let mut set = |from: Option<Duration>, to: fn(&mut LeaderElection) -> &mut Duration| {
            if let Some(from) = from {
                *to(election) = from;
            }
        };
        set(self.leader_elect_lease_duration, |election| &mut election.lease_duration);
        set(self.leader_elect_renew_deadline, |election| &mut election.renew_deadline);
        set(self.leader_elect_retry_period, |election| &mut election.retry_period);
        if let Some(elect) = self.leader_elect {
            election.leader_elect = elect;
        }
        if let Some(name) = &self.leader_elect_resource_name {
            election.resource_name = name.as_str().into();
        }
        if let Some(namespace) = &self.leader_elect_resource_namespace {
            election.resource_namespace = namespace.as_str().into();
        }
    }
}

/// Opens the HTTPS endpoint.
async fn serve(
    options: &SchedulerOptions,
    config: &SchedulerConfig,
    informers: &Arc<Informers>,
    at_work: Arc<AtomicBool>,
    env: Env,
) -> Result<env::Task> {
    let own = |path: &Option<PathBuf>| match path {
        // With a limit of its own: whoever asks this endpoint must not hold back scheduling.
        None => connect(options, config),
        Some(path) => remote(
            remote::Config::from_kubeconfig(path, None)
                .with_context(|| format!("cannot use {}", path.display()))?,
        ),
    };
    let (reviewer, authorizer) =
        (own(&options.access.authentication_kubeconfig)?, own(&options.access.authorization_kubeconfig)?);
    let trust = Trust::find(&options.access, &reviewer).await?;
    let own = options.tls.given().map_or_else(|| options.serving.own_pair(), Ok)?;
    let mut material = options.tls.material(own)?;
    options.serving.restrict(&mut material);
    let listener = options.serving.listen()?;
    let questions = Questions::new(informers.clone(), config.profiles.clone());
    let access = Access::new(reviewer, authorizer, env, options.access.freshness(), true);
    // A replica that stands by is ready; one at work is as soon as it knows the cluster.
    let (knows, working) = (knows(informers.clone()), at_work.clone());
    let state = State {
        ready: Box::new(move || !working.load(Ordering::Relaxed) || knows()),
        leads: Box::new(move || at_work.load(Ordering::Relaxed)),
        elects: config.leader_election.leader_elect,
        configuration: config.document(),
        open: options.access.authorization_always_allow_paths.clone(),
        streams_max: options.serving.streams_max(),
    };
    Endpoint::new(access, questions, state, trust).listen(listener, material)
}

fn remote(mut connection: remote::Config) -> Result<Client> {
    connection.user_agent = "kube-scheduler".into();
    Ok(Client::new(Arc::new(remote::Remote::new(connection)?)))
}

/// The scheduler inside of a server's process.
pub(crate) struct InProcess {
    work: env::Task,
    _endpoint: Option<env::Task>,
}

impl InProcess {
    /// Starts it as `up`'s options say.
    ///
    /// # Errors
    /// Its configuration is no good, or its port is taken.
    pub(crate) async fn start(
        settings: &Settings,
        pki: &Pki,
        client: Client,
        informers: &Arc<Informers>,
        env: Env,
    ) -> Result<Self> {
        let options = &settings.options;
        let config = read(options.scheduler_config.as_deref())?;
        service::check_extenders(&config).map_err(anyhow::Error::msg)?;
        let endpoint = match options.scheduler_secure_port {
            0 => None,
            port => {
                let listener = TcpListener::bind(("127.0.0.1", port))
                    .await
                    .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
                let questions = Questions::new(informers.clone(), config.profiles.clone());
                let access = Access::new(client.clone(), client.clone(), env.clone(), FRESH, true);
                let state = State {
                    ready: Box::new(knows(informers.clone())),
                    leads: Box::new(|| true),
                    elects: false,
                    configuration: config.document(),
                    open: OPEN.map(str::to_owned).into(),
                    streams_max: None,
                };
                let front = front_proxy::open(&options.front_proxy, pki)?;
                let headers = RequestHeader::new(None, front.names);
                let trust = Trust { clients: client_ca(settings, pki), proxies: front.authority, headers };
                let material = options.tls.material(serve::self_signed()?)?;
                Some(Endpoint::new(access, questions, state, trust).listen(listener, material)?)
            }
        };
        let informers = informers.clone();
        let work = service::Config {
            client,
            informers,
            env,
            config,
            plugins: Vec::new(),
            waiting: Default::default(),
            host: host()?.into(),
        };
        Ok(InProcess { work: env::spawn("scheduler", service::run(work)), _endpoint: endpoint })
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.work.abort();
        self.work.join().await;
    }
}

/// Whether the caches that a scheduler needs are filled.
fn knows(informers: Arc<Informers>) -> impl Fn() -> bool + Send + Sync + 'static {
    move || informers.cache::<Node>().is_synced() && informers.cache::<Pod>().is_synced()
}

fn connect(options: &SchedulerOptions, config: &SchedulerConfig) -> Result<Client> {
    let from_config = (!config.kubeconfig.is_empty()).then(|| PathBuf::from(&config.kubeconfig));
    let mut connection = match (from_config.or_else(|| options.kubeconfig.clone()), &options.master) {
        (Some(path), _) => {
            std::fs::metadata(&path).map_err(|error| unusable("stat", &path, &error))?;
            remote::Config::from_kubeconfig(&path, None)
                .with_context(|| format!("cannot use {}", path.display()))?
        }
        (None, Some(_)) => remote::Config::default(),
        (None, None) => remote::Config::in_cluster().context("no --kubeconfig, and not in a pod")?,
    };
    if let Some(master) = &options.master {
        connection.server.clone_from(master);
    }
    connection.rate = match options.config {
        Some(_) => config.client_rate().and_then(|(per_second, burst)| flags::rate(per_second, burst)),
        None => options.api.rate(),
    };
    remote(connection)
}
