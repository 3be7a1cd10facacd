//! What every pod worker needs of its node: clients, runtime, network, settings.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use client::Client;
use env::Env;
use informer::Cache;
use meta::{Map, Quantity};
use parking_lot::RwLock;
use reconcile::{EventType, Note, Recorder};
use tokio::sync::Semaphore;
use types::core::v1::{Node, ObjectReference, Pod, Service};

use crate::backend::ContainerRuntime;
use crate::mounted::MountedVolumes;
use crate::network::PodNetwork;
use crate::objects::ObjectStore;
use crate::pod::Role;
use crate::pod::config::NodeSettings;
use crate::room::Room;

/// Resolver settings of the cluster.
#[derive(Clone, Debug, Default)]
pub struct DnsSettings {
    /// Addresses of cluster DNS.
    pub cluster_dns: Vec<String>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// The node's resolver file.
    pub resolv_conf: PathBuf,
}

/// The node, as its pods' workers see it.
pub struct Shared {
    /// Name of the node.
    pub node_name: String,
    /// Addresses of the node, the primary one first.
    pub node_ips: Vec<IpAddr>,
    /// `/var/lib/kubelet` or its like.
    pub root_dir: PathBuf,
    /// Clock and randomness.
    pub env: Env,
    /// When the kubelet started.
    pub since: SystemTime,
    /// The API.
    pub client: Client,
    /// Runs containers.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Connects pods.
    pub network: Arc<dyn PodNetwork>,
    /// Records events as `kubelet` on this node.
    pub recorder: Recorder,
    /// ConfigMaps, Secrets, tokens.
    pub objects: Arc<ObjectStore>,
    /// All services, for environments.
    pub services: Arc<Cache<Service>>,
    /// Cluster DNS.
    pub dns: DnsSettings,
    /// For configurations.
    pub settings: NodeSettings,
    /// One permit pulls one image.
    pub pulls: Semaphore,
    /// The node object as last seen or written.
    pub node: RwLock<Arc<Node>>,
    /// Allocatable resources.
    pub allocatable: Map<Quantity>,
    /// Who was granted how much of them.
    pub room: Room,
    /// Where the volumes of pods are.
    pub mounted: MountedVolumes,
}

impl Shared {
    /// Directory of a pod's volumes and termination messages.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// Takes note of a state of the Node object, unless a newer one is known.
    pub fn see_node(&self, node: Arc<Node>) {
        let mut known = self.node.write();
        if informer::revision(&node.metadata) > informer::revision(&known.metadata)
            || node.metadata.uid != known.metadata.uid
        {
            *known = node;
        }
    }

    /// Node addresses as text.
    pub fn host_ips(&self) -> Vec<String> {
        self.node_ips.iter().map(|ip| ip.to_string()).collect()
    }

    /// Records an event about a pod.
    pub fn pod_event(&self, pod: &Pod, event_type: EventType, reason: &str, message: impl Into<String>) {
        self.event(pod, String::new(), event_type, reason, message.into());
    }

    /// Records an event about a container of a pod.
    pub fn container_event(
        &self,
        pod: &Pod,
        role: Role,
        name: &str,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let list = match role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Regular => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        self.event(pod, format!("spec.{list}{{{name}}}"), event_type, reason, message.into());
    }

    fn event(&self, pod: &Pod, field_path: String, event_type: EventType, reason: &str, message: String) {
        let regarding = ObjectReference {
            kind: "Pod".into(),
            api_version: "v1".into(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: field_path.into(),
        };
        self.recorder.record(Note {
            regarding,
            event_type,
            reason: reason.into(),
            message: message.into(),
            action: Default::default(),
        });
    }
}
