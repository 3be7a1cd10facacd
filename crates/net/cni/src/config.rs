//! What the node decides about its pod network, and what a pod asks for. Plain values, no API types.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
pub use netlink::Protocol;
use serde::{Deserialize, Serialize};

/// Settings of a node's pod network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's own ranges (`spec.podCIDRs`), at most one of each family; pods get one address from each.
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges of all pods of the cluster: traffic from a pod to anywhere else is masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    /// Ranges of Services. A route to them makes node processes reach Services even without a default route.
    pub service_cidrs: Vec<IpNet>,
    /// The node's own addresses, used as source towards Services; may be empty.
    pub node_ips: Vec<IpAddr>,
    /// Largest packet of pods in bytes; by default that of the link with the default route, or 1500.
    pub mtu: Option<u32>,
    /// Directory for the addresses in use, one file for each pod.
    pub state_dir: PathBuf,
    /// First letters of all links on the node's side, at most [`MAX_PREFIX`] bytes; two networks in one namespace need different ones.
    pub link_prefix: String,
    /// Name of the nftables table (family inet).
    pub table: String,
}

/// Longest link prefix in bytes: names of links have 15, of which ten make collisions unlikely.
pub const MAX_PREFIX: usize = 5;

impl Default for Config {
    fn default() -> Config {
        Config {
            pod_cidrs: Vec::new(),
            cluster_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            node_ips: Vec::new(),
            mtu: None,
            state_dir: PathBuf::from("/var/lib/ferrokube/net"),
            link_prefix: "fk".to_owned(),
            table: "ferrokube-pods".to_owned(),
        }
    }
}

/// A pod's wish for a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequest {
    /// Identity of the sandbox; asking again with the same one gives the same network.
    pub sandbox_id: String,
    /// Namespace of the pod, for messages.
    pub namespace: String,
    /// Name of the pod, for messages.
    pub name: String,
    /// Path of the sandbox's network namespace, such as `/proc/PID/ns/net`.
    pub netns: PathBuf,
    /// Ports of the node that lead to the pod.
    pub host_ports: Vec<HostPort>,
}

/// A port of the node that leads to a port of a pod (`ports[].hostPort`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// Address of the node on which it answers; absent (or unspecified) means all of them.
    pub host_ip: Option<IpAddr>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port on the node.
    pub host_port: u16,
    /// Port of the pod.
    pub container_port: u16,
}
