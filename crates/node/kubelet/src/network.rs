//! The door to the pod network: our own (crate `cni`), or later external plugins by the CNI specification.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::watch;
use types::core::v1::Pod;

/// Gives sandboxes their network.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Whether pods can get a network; the text goes into the node's Ready condition.
    fn ready(&self) -> Result<(), String>;
    /// Changes whenever [`PodNetwork::ready`] may answer differently.
    fn changes(&self) -> watch::Receiver<()>;
    /// Connects a sandbox; asked again with the same id it answers the same addresses.
    async fn add(&self, sandbox_id: &str, pod: &Pod, netns: &std::path::Path) -> Result<Vec<IpAddr>, String>;
    /// Disconnects a sandbox. One that was never connected is no error.
    async fn remove(&self, sandbox_id: &str) -> Result<(), String>;
}

/// Crate `cni` behind the trait. The node learns its pod range only after it has registered, so the network may come late.
pub struct BuiltIn {
    network: RwLock<Option<Arc<cni::Network>>>,
    changed: watch::Sender<()>,
}

impl Default for BuiltIn {
    fn default() -> BuiltIn {
        BuiltIn { network: RwLock::new(None), changed: watch::Sender::new(()) }
    }
}

impl BuiltIn {
    /// The network is there, or another one.
    pub fn set(&self, network: Arc<cni::Network>) {
        *self.network.write() = Some(network);
        self.changed.send_replace(());
    }

    /// The network, once it is there.
    pub fn get(&self) -> Option<Arc<cni::Network>> {
        self.network.read().clone()
    }

    fn must(&self) -> Result<Arc<cni::Network>, String> {
        self.get().ok_or_else(|| NOT_READY.to_owned())
    }
}

const NOT_READY: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized";

/// Host ports of a pod, as the network wants them.
pub fn host_ports(pod: &Pod) -> Vec<cni::HostPort> {
    let ports =
        pod.spec.containers.iter().chain(pod.spec.init_containers.iter()).flat_map(|c| c.ports.iter());
    ports
        .filter(|p| p.host_port > 0)
        .filter_map(|p| {
            Some(cni::HostPort {
                host_ip: p.host_ip.parse().ok(),
                protocol: cni::Protocol::parse(&p.protocol)?,
                host_port: u16::try_from(p.host_port).ok()?,
                container_port: u16::try_from(p.container_port).ok()?,
            })
        })
        .collect()
}

#[async_trait]
impl PodNetwork for BuiltIn {
    fn ready(&self) -> Result<(), String> {
        self.must().map(drop)
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    async fn add(&self, sandbox_id: &str, pod: &Pod, netns: &std::path::Path) -> Result<Vec<IpAddr>, String> {
        let network = self.must()?;
        let request = cni::PodRequest {
            sandbox_id: sandbox_id.to_owned(),
            namespace: pod.metadata.namespace.to_string(),
            name: pod.metadata.name.to_string(),
            netns: netns.to_path_buf(),
            host_ports: host_ports(pod),
        };
        let added = tokio::task::spawn_blocking(move || network.add(&request)).await;
        added.map_err(|e| e.to_string())?.map(|n| n.ips).map_err(|e| e.to_string())
    }

    async fn remove(&self, sandbox_id: &str) -> Result<(), String> {
        // Without a network nothing was ever added.
        let Some(network) = self.get() else { return Ok(()) };
        let id = sandbox_id.to_owned();
        let removed = tokio::task::spawn_blocking(move || network.remove(&id)).await;
        removed.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }
}
