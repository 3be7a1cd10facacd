//! The node in this process: images, runtime, kubelet, pod network, Services and DNS.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use authn::User;
use call::{PatchKind, WriteOptions};
use client::Client;
use cni::from_objects::follow_nodes;
use cni::{HostGateway, Network};
use env::Task;
use images::{Store, StoreConfig};
use informer::Informers;
use ipnet::IpNet;
use kubelet::credentials::{self, Purpose, Rotation};
use kubelet::network::BuiltIn;
use kubelet::{DnsSettings, KubeletHandle, LogLimits, Native, Tls};
use meta::Status;
use parking_lot::RwLock;
use proxy::NodeSpec;
use runtime::{Runtime, RuntimeConfig};
use serving::{Material, Pair, Pem};
use tokio::sync::Notify;
use types::core::v1::{Namespace, Node as NodeObject, Service};
use types::discovery::v1::EndpointSlice;

use crate::control_plane::{ControlPlane, service_address};
use crate::kubeconfig;
use crate::options::Settings;
use crate::pki::Pki;

/// Index of cluster DNS in the service range, as kubeadm has it.
const DNS_INDEX: u32 = 10;
/// How long an answer from the cluster's zone may be kept by whoever asked, seconds.
const DNS_TTL: u32 = 5;

/// A running node. Dropping it stops the node; containers go on.
pub struct Node {
    kubelet: KubeletHandle,
    runtime: Runtime,
    images: Store,
    _tasks: Vec<Task>,
}

/// How the runtime of this cluster is set up; `reset` uses it without a node.
pub fn runtime_config(settings: &Settings, images: Store) -> Result<RuntimeConfig> {
    Ok(RuntimeConfig {
        root: settings.paths.data().join("containers"),
        state: settings.paths.state().join("containers"),
        cgroup_prefix: settings.cgroup_prefix(),
        self_exe: PathBuf::from("/proc/self/exe").canonicalize().context("cannot find my own executable")?,
        images,
        seccomp_dir: settings.paths.kubelet().join("seccomp"),
    })
}

/// How the pod network of this cluster is named; without ranges it serves to remove everything.
pub fn network_config(settings: &Settings, pod_cidrs: Vec<IpNet>) -> Result<cni::Config> {
    let range =
        |text: &str| text.parse::<IpNet>().with_context(|| format!("{text} is no range of addresses"));
    Ok(cni::Config {
        pod_cidrs,
        cluster_cidrs: vec![range(&settings.options.cluster_cidr)?],
        service_cidrs: vec![range(&settings.options.service_cidr)?],
        node_ips: vec![settings.node_ip],
        mtu: None,
        state_dir: settings.paths.data().join("net"),
        link_prefix: settings.link_prefix(),
        table: format!("{}-pods", settings.instance),
    })
}

/// The proxy's view of this node.
pub fn proxy_node(settings: &Settings) -> Result<NodeSpec> {
    let config = network_config(settings, Vec::new())?;
    Ok(NodeSpec {
        name: settings.node_name.clone(),
        pod_cidrs: config.cluster_cidrs,
        service_cidrs: config.service_cidrs,
        table: format!("{}-services", settings.instance),
        ..NodeSpec::default()
    })
}

/// The image store of this cluster.
pub fn image_store(settings: &Settings) -> Result<Store> {
    let config = StoreConfig {
        insecure_registries: settings.options.insecure_registry.clone(),
        ..StoreConfig::default()
    };
    Store::open(settings.paths.images(), config).context("cannot open the image store")
}

impl Node {
    /// Starts everything that a node runs. Returns before the node is Ready; see [`Node::ready`].
    pub async fn start(settings: &Settings, pki: &Pki, plane: &ControlPlane) -> Result<Node> {
        let images = image_store(settings)?;
        let runtime =
            Runtime::open(runtime_config(settings, images.clone())?).context("cannot open the runtime")?;
        let network = Arc::new(BuiltIn::default());
        let kubelet = start_kubelet(settings, pki, plane, &runtime, &images, network.clone())?;
        let masters =
            plane.client(User::new("system:kube-addon-manager", &[authn::MASTERS, authn::AUTHENTICATED]));
        let joining = masters.clone();
        if settings.options.rotate_certificates {
            let link = credentials::current(&credentials_folder(settings), &Purpose::Client);
            let path = settings.paths.data().join("kubelet.kubeconfig");
            kubeconfig::write_following(&path, &settings.server_url(), &pki.ca.certificate_pem, &link)?;
        }
        let informers = plane.informers().clone();
        let mut tasks = vec![
            env::spawn("services", follow_services(informers.clone(), proxy_node(settings)?)),
            env::spawn(
                "pod-network",
                follow_node(settings.clone(), informers.clone(), network, masters.clone()),
            ),
        ];
        tasks.extend(rotations(settings, plane));
        let dns_address = service_address(&settings.options.service_cidr, DNS_INDEX)?;
        tasks
            .push(env::spawn("dns-service", async move { publish_dns_service(&masters, dns_address).await }));
        if controllers::enabled(&settings.options.controllers, "bootstrap-signer-controller") {
            let server = format!("https://{}", SocketAddr::new(settings.node_ip, settings.options.port));
            let (masters, ca) = (joining, pki.ca.certificate_pem.clone());
            tasks.push(env::spawn("cluster-info", async move {
                if let Err(error) = crate::bootstrap::publish(&masters, &server, &ca).await {
                    tracing::error!("{error:#}");
                }
            }));
        }
        Ok(Node { kubelet, runtime, images, _tasks: tasks })
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

    /// Stops the kubelet; containers go on.
    pub async fn stop(self) {
        self.kubelet.shutdown().await;
    }
}

fn start_kubelet(
    settings: &Settings,
    pki: &Pki,
    plane: &ControlPlane,
    runtime: &Runtime,
    images: &Store,
    network: Arc<BuiltIn>,
) -> Result<KubeletHandle> {
    let address = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), settings.options.kubelet_port);
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!("the kubelet cannot listen on {address}; choose another port with --kubelet-port")
    })?;
    let dns = service_address(&settings.options.service_cidr, DNS_INDEX)?;
    std::fs::create_dir_all(settings.paths.manifests())?;
    Ok(kubelet::run(kubelet::Config {
        node_name: settings.node_name.clone(),
        node_ips: vec![settings.node_ip],
        root_dir: settings.paths.kubelet(),
        pod_logs_dir: settings.paths.data().join("logs/pods"),
        static_pods_dir: Some(settings.paths.manifests()),
        client: plane.client(User::node(&settings.node_name)),
        env: plane.env().clone(),
        runtime: Arc::new(Native::new(runtime.clone(), images.clone())),
        network,
        dns: DnsSettings {
            cluster_dns: vec![dns.to_string()],
            cluster_domain: settings.options.cluster_domain.clone(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        },
        listener: Some(listener),
        tls: Some(Tls {
            serving: Material::new(serving_pair(settings, pki)?),
            client_ca: pki.files("ca").certificate,
        }),
        max_pods: settings.options.max_pods,
        pod_pids_limit: None,
        seccomp_default: false,
        log: LogLimits::default(),
        parallel_pulls: 1,
        version: crate::VERSION.to_owned(),
        labels: vec![],
        taints: vec![],
    })?)
}

/// The certificate of the kubelet's API: the locally made one, or a link that leads to one that the API issued.
fn serving_pair(settings: &Settings, pki: &Pki) -> Result<Pair> {
    if !settings.options.rotate_server_certificates {
        return Ok(pki.files("kubelet"));
    }
    let folder = credentials_folder(settings);
    let link = credentials::current(&folder, &serving(settings));
    if !link.exists() {
        env::create_private_dir(&folder)?;
        let both = format!("{}{}", pki.kubelet_server.certificate_pem, pki.kubelet_server.key_pem);
        env::remove_optional(&link)?;
        env::write_atomic(&link, both.as_bytes(), 0o600)
            .with_context(|| format!("cannot write {}", link.display()))?;
    }
    Ok(Pair { certificate: Pem::File(link.clone()), key: Pem::File(link) })
}

fn credentials_folder(settings: &Settings) -> PathBuf {
    settings.paths.kubelet().join("pki")
}

fn serving(settings: &Settings) -> Purpose {
    Purpose::Serving(vec![settings.node_ip])
}

/// What keeps the node's certificates fresh, where that is wanted.
fn rotations(settings: &Settings, plane: &ControlPlane) -> Vec<Task> {
    let options = &settings.options;
    let wanted = [
        (options.rotate_certificates, Purpose::Client),
        (options.rotate_server_certificates, serving(settings)),
    ];
    let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, purpose)| purpose);
    let rotation = |purpose| Rotation {
        client: plane.client(User::node(&settings.node_name)),
        env: plane.env().clone(),
        node_name: settings.node_name.clone(),
        purpose,
        folder: credentials_folder(settings),
    };
    wanted.map(|purpose| env::spawn("certificate-rotation", rotation(purpose).run())).collect()
}

/// Keeps the service rules like the API's Services and EndpointSlices.
async fn follow_services(informers: Arc<Informers>, node: NodeSpec) {
    proxy::follow(node, &informers.cache::<Service>(), &informers.cache::<EndpointSlice>()).await;
}

/// Opens the pod network when the node has its range, serves cluster DNS there, and keeps routes to the other nodes.
async fn follow_node(settings: Settings, informers: Arc<Informers>, network: Arc<BuiltIn>, masters: Client) {
    let nodes = informers.cache::<NodeObject>();
    let changed = Arc::new(Notify::new());
    let wake = changed.clone();
    nodes.subscribe(move |_| wake.notify_one());
    let opened = loop {
        let own = nodes.get("", &settings.node_name);
        if let Some(ranges) = own.map(|node| pod_ranges(&node)).filter(|ranges| !ranges.is_empty()) {
            match open_network(&settings, ranges).await {
                Ok(opened) => break Arc::new(opened),
                Err(error) => tracing::error!("the pod network cannot be set up: {error:#}"),
            }
        }
        changed.notified().await;
    };
    network.set(opened.clone());
    show_role(&settings, &masters).await;
    let serving = serve_dns(&settings, &informers, &masters, opened.gateways());
    let following = follow_nodes(opened, nodes, &settings.node_name);
    tokio::join!(serving, following);
}

/// Labels the node as part of the control plane, as kubeadm does; a node may not give itself that label.
async fn show_role(settings: &Settings, masters: &Client) {
    let patch = br#"{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}"#;
    let nodes = masters.all::<NodeObject>();
    let patched = nodes
        .patch(&settings.node_name, PatchKind::Merge, patch.as_slice().into(), &WriteOptions::default())
        .await;
    if let Err(status) = patched {
        tracing::warn!("the node's role is not shown: {}", status.message);
    }
}

fn pod_ranges(node: &NodeObject) -> Vec<IpNet> {
    node.spec.pod_cidrs.iter().filter_map(|range| range.parse().ok()).collect()
}

async fn open_network(settings: &Settings, ranges: Vec<IpNet>) -> Result<Network> {
    let config = network_config(settings, ranges)?;
    let opened = tokio::task::spawn_blocking(move || Network::open(config, Box::new(HostGateway))).await?;
    Ok(opened?)
}

/// Answers DNS on the node's own pod address and names it as endpoint of the DNS Service.
async fn serve_dns(
    settings: &Settings,
    informers: &Arc<Informers>,
    masters: &Client,
    addresses: Vec<IpAddr>,
) {
    let Some(zone) = dns::Zone::new(&settings.options.cluster_domain, DNS_TTL) else {
        tracing::error!("cluster DNS does not answer: {} is no domain", settings.options.cluster_domain);
        return;
    };
    let zone = Arc::new(RwLock::new(zone));
    dns::from_objects::follow(
        &zone,
        &informers.cache::<Service>(),
        &informers.cache::<EndpointSlice>(),
        &informers.cache::<Namespace>(),
    );
    let config = dns::Config {
        listen: addresses.iter().map(|address| SocketAddr::new(*address, 53)).collect(),
        upstream: dns::Upstream::File(PathBuf::from("/etc/resolv.conf")),
        never_ask: service_address(&settings.options.service_cidr, DNS_INDEX).into_iter().collect(),
    };
    let server = match dns::Server::bind(config, zone).await {
        Ok(server) => server,
        Err(error) => return tracing::error!("cluster DNS does not answer: {error}"),
    };
    let node = dns::objects::DnsNode { name: settings.node_name.clone(), addresses, port: 53, ready: true };
    for slice in dns::objects::slices(&[node]) {
        if let Err(status) = publish_slice(masters, slice).await {
            tracing::error!("cluster DNS is not published: {}", status.message);
        }
    }
    server.run().await;
}

async fn publish_slice(masters: &Client, slice: EndpointSlice) -> Result<(), Status> {
    let api = masters.namespaced::<EndpointSlice>(dns::objects::NAMESPACE);
    match api.get_optional(&slice.metadata.name).await? {
        Some(old) if old.endpoints == slice.endpoints && old.ports == slice.ports => Ok(()),
        Some(old) => api.update(EndpointSlice { metadata: old.metadata.clone(), ..slice }).await.map(drop),
        None => api.create(slice).await.map(drop),
    }
}

/// Makes the Service `kube-system/kube-dns` unless it is there.
async fn publish_dns_service(masters: &Client, address: IpAddr) {
    let api = masters.namespaced::<Service>(dns::objects::NAMESPACE);
    let published = match api.get_optional(dns::objects::NAME).await {
        Ok(None) => api.create(dns::objects::service(&[address])).await.map(drop),
        Ok(Some(_)) => Ok(()),
        Err(status) => Err(status),
    };
    if let Err(status) = published {
        tracing::error!("the DNS service is not there: {}", status.message);
    }
}
