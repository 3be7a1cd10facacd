//! Runs the pods of one node, as upstream's kubelet does.
//!
//! [`run`] registers the node and follows the pods that are bound to it. Each pod has a task of its own (`worker/`) that
//! sleeps until something happens to it: its object, its containers, its probes, its ConfigMaps. What to do then is decided
//! by pure functions (`pod/`), which is where to start reading: `pod/plan.rs` and `pod/status.rs`. The runtime and the
//! network are behind two small traits ([`backend::ContainerRuntime`], [`network::PodNetwork`]).
//!
//! Nothing about pods is kept on disk but what the runtime keeps anyway: after a restart, however sudden, the sandboxes
//! and containers found there are matched by pod UID and simply go on.

mod admission;
pub mod backend;
pub mod credentials;
mod gc;
mod hooks;
mod images;
mod local_storage;
mod manager;
mod metrics;
mod mounted;
mod native;
pub mod network;
mod node;
mod objects;
mod pod;
mod probe;
mod room;
mod server;
mod shared;
mod static_pods;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use call::Target;
use client::Client;
use env::{Env, Task};
use informer::{Cache, Reflection, reflect};
use parking_lot::RwLock;
use reconcile::Recorder;
use tokio::sync::{Semaphore, mpsc, watch};
use types::core::v1::{Node, Pod, Service, Taint};

pub use native::Native;
pub use runtime::LogLimits;
pub use server::{Policy, Tls};
pub use shared::DnsSettings;

use backend::ContainerRuntime;
use manager::{Manager, News, Pods};
use network::PodNetwork;
use pod::config::NodeSettings;
use shared::Shared;

/// Everything that a kubelet is started with.
pub struct Config {
    /// Name of the node.
    pub node_name: String,
    /// Addresses of the node, the primary one first.
    pub node_ips: Vec<IpAddr>,
    /// Directory for volumes and termination messages (`/var/lib/kubelet`).
    pub root_dir: PathBuf,
    /// Directory for container logs (`/var/log/pods`).
    pub pod_logs_dir: PathBuf,
    /// Directory with manifests of static pods, if wanted.
    pub static_pods_dir: Option<PathBuf>,
    /// The API, as user `system:node:<name>` of group `system:nodes`.
    pub client: Client,
    /// Clock and randomness.
    pub env: Env,
    /// Runs containers.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Connects pods.
    pub network: Arc<dyn PodNetwork>,
    /// Resolver settings of pods.
    pub dns: DnsSettings,
    /// Where the kubelet's API listens, with TLS; a listener may be given that is bound already.
    pub listener: Option<std::net::TcpListener>,
    /// Certificate of the kubelet's API and who may use it.
    pub tls: Option<Tls>,
    /// Most pods on the node (110 upstream).
    pub max_pods: u32,
    /// Limit of processes in a pod.
    pub pod_pids_limit: Option<i64>,
    /// Containers without a seccomp profile get `RuntimeDefault`.
    pub seccomp_default: bool,
    /// Log rotation.
    pub log: LogLimits,
    /// Images that are pulled at once; 1 is upstream's default.
    pub parallel_pulls: usize,
    /// Version to show, such as `v1.36.0+ferrokube`.
    pub version: String,
    /// Further labels of the node.
    pub labels: Vec<(String, String)>,
    /// Taints of a node that registers for the first time.
    pub taints: Vec<Taint>,
}

/// A running kubelet. Dropping it stops the kubelet at once; containers go on.
pub struct KubeletHandle {
    ready: watch::Receiver<bool>,
    address: Option<SocketAddr>,
    pods: Arc<Pods>,
    tasks: Vec<Task>,
}

impl KubeletHandle {
    /// Resolves once the API shows the node as Ready.
    pub async fn ready(&self) {
        // The sender lives in a task that ends only with this handle.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Where the kubelet's API listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The pods of the node with their present status.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.list()
    }

    /// Stops the kubelet. Containers go on and are found again by the next one.
    pub async fn shutdown(self) {
        for task in self.tasks {
            task.abort();
            task.join().await;
        }
        self.pods.abandon();
    }
}

/// Why a kubelet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory cannot be made.
    #[error("{}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The API's listener or certificate is of no use.
    #[error("kubelet API: {0}")]
    Server(String),
}

/// Starts a kubelet.
///
/// # Errors
/// Its directories cannot be made, or its API cannot be served. An API server that is not there yet is no error: the
/// kubelet tries until it is.
pub fn run(config: Config) -> Result<KubeletHandle, StartError> {
    for dir in [config.root_dir.join("pods"), config.pod_logs_dir.clone()] {
        std::fs::create_dir_all(&dir).map_err(|source| StartError::Directory { path: dir, source })?;
    }
    let machine = node::info::Machine::read(&config.root_dir);
    let max_pods = i64::from(config.max_pods);
    let (object_tx, object_rx) = mpsc::unbounded_channel();
    let image_volumes = images::ImageVolumes::new(config.runtime.clone(), config.root_dir.join("pods"));
    let objects = Arc::new(objects::ObjectStore::new(
        config.client.clone(),
        config.env.clone(),
        image_volumes,
        object_tx,
    ));
    let services: Arc<Cache<Service>> = Arc::new(Cache::new());
    let shared = Arc::new(Shared {
        node_name: config.node_name.clone(),
        node_ips: config.node_ips.clone(),
        root_dir: config.root_dir.clone(),
        env: config.env.clone(),
        since: config.env.clock.now(),
        client: config.client.clone(),
        runtime: config.runtime.clone(),
        network: config.network.clone(),
        recorder: Recorder::start_on(config.client.clone(), "kubelet", &config.node_name, config.env.clone()),
        objects,
        services: services.clone(),
        dns: config.dns.clone(),
        settings: NodeSettings {
            pod_logs_dir: config.pod_logs_dir.clone(),
            seccomp_default: config.seccomp_default,
            pod_pids_limit: config.pod_pids_limit,
            memory_capacity_bytes: machine.memory_bytes,
            log: config.log,
        },
        pulls: Semaphore::new(config.parallel_pulls.max(1)),
        node: RwLock::new(Arc::new(Node::default())),
        room: room::Room::new(&machine.allocatable(max_pods)),
        allocatable: machine.allocatable(max_pods),
        mounted: mounted::MountedVolumes::default(),
    });
    metrics::NODE_NAME.with(&[&config.node_name]).set(1.0);

    let pods = Arc::new(Pods::default());
    let (pressure_tx, pressure) = watch::channel(node::pressure::Pressure::default());
    let (ready_tx, ready) = watch::channel(false);
    let (registered_tx, registered) = watch::channel(false);
    let mut tasks = vec![];
    let (address, served) = match (config.listener, config.tls) {
        (Some(listener), Some(tls)) => {
            let (server, followed) = server::Server::new(shared.clone(), pods.clone(), &tls, max_pods)
                .map_err(StartError::Server)?;
            let address = listener.local_addr().map_err(|e| StartError::Server(e.to_string()))?;
            (Some(address), Some(server.listen(listener, followed).map_err(StartError::Server)?))
        }
        _ => (None, None),
    };
    tasks.extend(served);
    let (news_tx, news) = mpsc::unbounded_channel();
    let sources = 1 + usize::from(config.static_pods_dir.is_some());
    let manager = Manager::new(shared.clone(), pods.clone(), max_pods, sources);
    tasks.push(env::spawn("pod-manager", manager.run(news, object_rx, config.runtime.subscribe())));
    tasks.push(env::spawn("pod-source", pod_source(shared.clone(), services, registered, news_tx.clone())));
    if let Some(dir) = config.static_pods_dir {
        tasks.push(env::spawn("static-pods", static_pods::run(shared.clone(), dir, news_tx)));
    }
    let reporter = node::report::Reporter {
        shared: shared.clone(),
        machine,
        max_pods,
        port: address.map_or(10250, |a| a.port()),
        version: config.version,
        labels: config.labels,
        taints: config.taints,
        pressure: pressure_tx,
        registered: registered_tx,
        ready: ready_tx,
    };
    tasks.push(env::spawn("node-status", reporter.run()));
    tasks.push(env::spawn("node-lease", node::lease::run(shared.clone())));
    tasks.push(env::spawn("node-local-storage", local_storage::run(shared.clone(), pods.clone())));
    tasks.push(env::spawn("node-gc", gc::run(shared, pods.clone(), pressure)));
    Ok(KubeletHandle { ready, address, pods, tasks })
}

/// Keeps the Node object known: admission looks at its labels, and others announce resources in its status.
async fn follow_node(shared: Arc<Shared>) {
    let cache: Arc<Cache<Node>> = Arc::new(Cache::new());
    let seen = shared.clone();
    cache.subscribe(move |change| match change {
        informer::Change::Added(node) | informer::Change::Updated { new: node, .. } => {
            seen.see_node(node.clone());
        }
        // The reporter registers it anew.
        informer::Change::Deleted(_) => {}
    });
    let mut what = Reflection::of(Target::of::<Node>(""));
    what.field_selector = format!("metadata.name={}", shared.node_name).into();
    reflect(shared.client.clone(), what, shared.env.clone(), cache).await;
}

/// Follows services and the pods bound to this node. Pods are taken on once services are known, because containers get
/// the services' addresses at their start.
async fn pod_source(
    shared: Arc<Shared>,
    services: Arc<Cache<Service>>,
    mut registered: watch::Receiver<bool>,
    news: mpsc::UnboundedSender<News>,
) {
    let what = Reflection::of(Target::of::<Service>(""));
    let _services =
        env::spawn("services", reflect(shared.client.clone(), what, shared.env.clone(), services.clone()));
    let _node = env::spawn("own-node", follow_node(shared.clone()));
    services.synced().await;
    // Admission looks at the node's labels. The sender lives as long as the kubelet.
    let _ = registered.wait_for(|registered| *registered).await;
    let pods: Arc<Cache<Pod>> = Arc::new(Cache::new());
    let told = news.clone();
    pods.subscribe(move |change| {
        let change = match change {
            informer::Change::Added(pod) => informer::Change::Added(pod.clone()),
            informer::Change::Updated { old, new } => {
                informer::Change::Updated { old: old.clone(), new: new.clone() }
            }
            informer::Change::Deleted(pod) => informer::Change::Deleted(pod.clone()),
        };
        // The manager lives as long as the kubelet.
        let _ = told.send(News::Api(change));
    });
    let mut what = Reflection::of(Target::of::<Pod>(""));
    what.field_selector = format!("spec.nodeName={}", shared.node_name).into();
    let _pods = env::spawn("pods", reflect(shared.client.clone(), what, shared.env.clone(), pods.clone()));
    pods.synced().await;
    let _ = news.send(News::Synced);
    std::future::pending::<()>().await;
}
