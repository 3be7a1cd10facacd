//! From the API's Nodes and Pods to the pod network's input, and the task that follows Nodes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use informer::{Cache, Change};
use tokio::sync::watch;
use types::core::v1::{Node, Pod};

use crate::backend::Peer;
use crate::config::{HostPort, Protocol};
use crate::network::Network;

/// Wait before trying again after the kernel refused.
const RETRY: Duration = Duration::from_secs(5);

/// Another node as the pod network sees it. A node without pod ranges gives one without routes.
pub fn peer(node: &Node) -> Peer {
    let spec = &node.spec;
    let mut pod_cidrs: Vec<_> = spec.pod_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect();
    if pod_cidrs.is_empty() {
        pod_cidrs.extend(spec.pod_cidr.parse::<ipnet::IpNet>().ok());
    }
    let internal = node.status.addresses.iter().filter(|address| address.type_ == "InternalIP");
    Peer {
        name: node.metadata.name.to_string(),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        pod_cidrs,
    }
}

/// The ports of the node that a pod asks for, in all its containers. Pods on the node's own network need none.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    if pod.spec.host_network {
        return Vec::new();
    }
    let restartable =
        pod.spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = restartable.chain(pod.spec.containers.iter()).flat_map(|container| container.ports.iter());
    let wanted = ports.filter(|port| port.host_port > 0);
    wanted
        .filter_map(|port| {
            Some(HostPort {
                host_ip: port.host_ip.parse().ok(),
                protocol: Protocol::parse(&port.protocol)?,
                host_port: u16::try_from(port.host_port).ok()?,
                container_port: u16::try_from(port.container_port).ok()?,
            })
        })
        .collect()
}

/// Keeps the routes to the other nodes' pods like the cache, until the future is dropped. `own` is the name of this node.
pub async fn follow_nodes(network: Arc<Network>, nodes: Arc<Cache<Node>>, own: &str) {
    let changes = Arc::new(watch::Sender::new(0_u64));
    let mut changed = changes.subscribe();
    // The cache keeps its handlers for ever: once this future is gone, ours does nothing.
    let weak: Weak<watch::Sender<u64>> = Arc::downgrade(&changes);
    nodes.subscribe(move |change| {
        let matters = match change {
            Change::Updated { old, new } => peer(old) != peer(new),
            Change::Added(_) | Change::Deleted(_) => true,
        };
        if let Some(changes) = weak.upgrade().filter(|_| matters) {
            changes.send_modify(|count| *count += 1);
        }
    });
    nodes.synced().await;
    loop {
        changed.borrow_and_update();
        let peers: Vec<Peer> =
            nodes.list().iter().filter(|node| node.metadata.name != own).map(|node| peer(node)).collect();
        let network = network.clone();
        let result = tokio::task::spawn_blocking(move || network.set_peers(&peers)).await;
        let wait = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::warn!(%error, "routes to other nodes not set; trying again");
                Some(RETRY)
            }
            // The process is shutting down.
            Err(_) => return,
        };
        let gone = match wait {
            None => changed.changed().await.is_err(),
            Some(wait) => {
                tokio::time::timeout(wait, changed.changed()).await.is_ok_and(|result| result.is_err())
            }
        };
        if gone {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_pods() {
        let node: Node = meta::from_value(serde_json::json!({
            "metadata": {"name": "b"}, "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
            "status": {"addresses": [{"type": "Hostname", "address": "b"}, {"type": "InternalIP", "address": "192.0.2.2"}]},
        }))
        .unwrap();
        let seen = peer(&node);
        assert_eq!((seen.addresses.len(), seen.pod_cidrs.len()), (1, 2));
        let pod = |host_network: bool| -> Pod {
            meta::from_value(serde_json::json!({"spec": {"hostNetwork": host_network,
                "initContainers": [{"name": "i", "ports": [{"containerPort": 1, "hostPort": 1}]}],
                "containers": [{"name": "c", "ports": [
                    {"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}, {"containerPort": 81},
                    {"containerPort": 53, "hostPort": 53, "protocol": "UDP"},
                ]}],
            }}))
            .unwrap()
        };
        let ports = host_ports(&pod(false));
        let shown: Vec<_> = ports
            .iter()
            .map(|port| format!("{:?} {} {}", port.host_ip, port.protocol, port.host_port))
            .collect();
        assert_eq!(shown, ["Some(127.0.0.1) TCP 8080", "None UDP 53"]);
        assert!(host_ports(&pod(true)).is_empty());
    }
}
