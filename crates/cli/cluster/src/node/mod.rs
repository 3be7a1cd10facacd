//! A node: images, runtime, kubelet, pod network, Services and DNS. The same wherever its control plane runs.
//!
//! [`Site`] says where on the machine it lives, [`Reach`] how it reaches the API, [`Duties`] what its kubelet does. With
//! these, [`Node::start`] starts everything. [`local`] is the node inside `ferrokube up`; the one of `ferrokube kubelet` is in
//! [`crate::kubelet`].

mod dns_service;
pub(crate) mod local;
mod network;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use client::Client;
use env::{Env, Task};
use images::{Store, StoreConfig};
use informer::Informers;
use ipnet::IpNet;
use kubelet::network::BuiltIn;
use kubelet::{DnsSettings, KubeletHandle, LogLimits, Native, Tls};
use proxy::NodeSpec;
use runtime::{Runtime, RuntimeConfig};
use serde::{Deserialize, Serialize};
use types::core::v1::Taint;

use crate::options;
use crate::paths::Paths;

/// Where a node lives on its machine, and which networks it is part of. Kept in the data directory, so that `reset` finds
/// all that a node made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Name of the node.
    pub name: String,
    /// Its addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// The data directory.
    pub data: PathBuf,
    /// Addresses of pods, of the whole cluster.
    pub cluster_cidr: String,
    /// Addresses of Services.
    pub service_cidr: String,
    /// Domain of cluster DNS.
    pub cluster_domain: String,
    /// Addresses of cluster DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// Registries that are spoken to without TLS.
    pub insecure_registries: Vec<String>,
}

impl Site {
    /// Its files.
    pub fn paths(&self) -> Paths {
        Paths::new(&self.data)
    }

    /// Distinguishes this node's links, nft tables and cgroups from those of another one on the same machine.
    fn instance(&self) -> String {
        options::instance(&self.data)
    }

    /// How the runtime is set up; `reset` uses it without a node.
    pub fn runtime_config(&self, images: Store) -> Result<RuntimeConfig> {
        let paths = self.paths();
        Ok(RuntimeConfig {
            root: paths.data().join("containers"),
            state: paths.state().join("containers"),
            // The parent of every cgroup, from the root of each hierarchy.
            cgroup_prefix: PathBuf::from(format!("/{}/kubepods", self.instance())),
            self_exe: PathBuf::from("/proc/self/exe")
                .canonicalize()
                .context("cannot find my own executable")?,
            images,
            seccomp_dir: paths.kubelet().join("seccomp"),
        })
    }

    /// How the pod network is named; without ranges it serves to remove everything.
    pub fn network_config(&self, pod_cidrs: Vec<IpNet>) -> Result<cni::Config> {
        // One of each family.
        let ranges = |text: &str| -> Result<Vec<IpNet>> {
            let range =
                |text: &str| text.trim().parse().with_context(|| format!("{text} is no range of addresses"));
            text.split(',').map(range).collect()
        };
        Ok(cni::Config {
            pod_cidrs,
            cluster_cidrs: ranges(&self.cluster_cidr)?,
            service_cidrs: ranges(&self.service_cidr)?,
            node_ips: self.ips.clone(),
            mtu: None,
            state_dir: self.data.join("net"),
            link_prefix: link_prefix(&self.instance()),
            table: format!("{}-pods", self.instance()),
        })
    }

    /// The proxy's view of this node.
    pub fn proxy_node(&self) -> Result<NodeSpec> {
        let config = self.network_config(Vec::new())?;
        Ok(NodeSpec {
            name: self.name.clone(),
            pod_cidrs: config.cluster_cidrs,
            service_cidrs: config.service_cidrs,
            table: format!("{}-services", self.instance()),
            ..NodeSpec::default()
        })
    }

    /// The image store.
    pub fn image_store(&self) -> Result<Store> {
        let config =
            StoreConfig { insecure_registries: self.insecure_registries.clone(), ..StoreConfig::default() };
        Store::open(self.paths().images(), config).context("cannot open the image store")
    }
}

/// At most five characters, the beginning of every link's name.
fn link_prefix(instance: &str) -> String {
    match instance.strip_prefix("ferrokube-") {
        Some(suffix) => format!("fk{}", &suffix[..3]),
        None => "fk".to_owned(),
    }
}

/// How a node reaches the API.
pub struct Reach {
    /// As the node.
    pub node: Client,
    /// Nodes, Services, EndpointSlices and Namespaces, as whoever may see them all.
    pub informers: Arc<Informers>,
    /// Clock and randomness.
    pub env: Env,
}

/// What the kubelet of a node is to do.
pub struct Duties {
    /// Where its API listens.
    pub listen: SocketAddr,
    /// What it shows there, and to whom.
    pub tls: Tls,
    /// Directory for volumes and termination messages.
    pub root_dir: PathBuf,
    /// Directory for container logs.
    pub pod_logs_dir: PathBuf,
    /// Directory with manifests of static pods.
    pub static_pods_dir: Option<PathBuf>,
    /// Resolver file of the node, from which pods get what cluster DNS does not know.
    pub resolv_conf: PathBuf,
    /// Most pods.
    pub max_pods: u32,
    /// Limit of processes in a pod.
    pub pod_pids_limit: Option<i64>,
    /// Containers without a seccomp profile get `RuntimeDefault`.
    pub seccomp_default: bool,
    /// Log rotation.
    pub log: LogLimits,
    /// Images that are pulled at once.
    pub parallel_pulls: usize,
    /// Further labels of the node.
    pub labels: Vec<(String, String)>,
    /// Taints of a node that registers for the first time.
    pub taints: Vec<Taint>,
}

/// A running node. Dropping it stops the node; containers go on.
pub struct Node {
    kubelet: KubeletHandle,
    runtime: Runtime,
    images: Store,
    _tasks: Vec<Task>,
}

impl Node {
    /// Starts everything that a node runs. Returns before the node is Ready; see [`Node::ready`].
    ///
    /// # Errors
    /// When the stores cannot be opened, the port is taken, or key material is unusable.
    pub fn start(site: &Site, duties: Duties, reach: &Reach) -> Result<Node> {
        let images = site.image_store()?;
        let runtime =
            Runtime::open(site.runtime_config(images.clone())?).context("cannot open the runtime")?;
        let network = Arc::new(BuiltIn::default());
        let resolv_conf = duties.resolv_conf.clone();
        let kubelet = start_kubelet(site, duties, reach, &runtime, &images, network.clone())?;
        let tasks = vec![
            env::spawn("services", network::follow_services(reach.informers.clone(), site.proxy_node()?)),
            env::spawn("pod-network", network::follow(site.clone(), reach, network, resolv_conf)),
        ];
        Ok(Node { kubelet, runtime, images, _tasks: tasks })
    }

    /// Keeps a task for as long as the node runs.
    pub(crate) fn keep(&mut self, task: Task) {
        self._tasks.push(task);
    }

    /// Resolves once the API shows the node as Ready.
    pub async fn ready(&self) {
        self.kubelet.ready().await;
    }

    /// The image store, for the admin socket.
    pub fn images(&self) -> &Store {
        &self.images
    }

    /// The runtime, for the admin socket.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

fn start_kubelet(
    site: &Site,
    duties: Duties,
    reach: &Reach,
    runtime: &Runtime,
    images: &Store,
    network: Arc<BuiltIn>,
) -> Result<KubeletHandle> {
    let listener = std::net::TcpListener::bind(duties.listen)
        .with_context(|| format!("the kubelet cannot listen on {}; choose another port", duties.listen))?;
    make_dirs(duties.static_pods_dir.as_deref())?;
    Ok(kubelet::run(kubelet::Config {
        node_name: site.name.clone(),
        node_ips: site.ips.clone(),
        root_dir: duties.root_dir,
        pod_logs_dir: duties.pod_logs_dir,
        static_pods_dir: duties.static_pods_dir,
        client: reach.node.clone(),
        env: reach.env.clone(),
        runtime: Arc::new(Native::new(runtime.clone(), images.clone())),
        network,
        dns: DnsSettings {
            cluster_dns: site.cluster_dns.iter().map(ToString::to_string).collect(),
            cluster_domain: site.cluster_domain.clone(),
            resolv_conf: duties.resolv_conf,
        },
        listener: Some(listener),
        tls: Some(duties.tls),
        max_pods: duties.max_pods,
        pod_pids_limit: duties.pod_pids_limit,
        seccomp_default: duties.seccomp_default,
        log: duties.log,
        parallel_pulls: duties.parallel_pulls,
        version: crate::VERSION.to_owned(),
        labels: duties.labels,
        taints: duties.taints,
    })?)
}

fn make_dirs(dir: Option<&Path>) -> Result<()> {
    match dir {
        Some(dir) => std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display())),
        None => Ok(()),
    }
}
