//! The cluster as the scheduler sees it: nodes as columns, and what the pods on them take. Kept up to date by single
//! events; nothing is recomputed from lists.
//!
//! A pod that was just decided for a node counts at once ([`Snapshot::place`]); when the watch later brings the same
//! pod with its node, that replaces the assumption, and a binding that failed takes it back ([`Snapshot::remove_pod`]).

use std::sync::Arc;

use hashbrown::HashMap;
use meta::Str;
use types::core::v1::{Node, Pod, Taint};

use crate::node_set::NodeSet;
use crate::resources::{Resources, pod_requests, pod_requests_nonzero};

/// A port of the node that a pod occupies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Address it is bound to; `0.0.0.0` means every address.
    pub ip: Str,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Str,
    /// Port number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be bound on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

/// The host ports of a pod, init containers that keep running included.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars =
        pod.spec.init_containers.iter().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let ports = pod.spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter());
    ports
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: if port.host_ip.is_empty() { "0.0.0.0".into() } else { port.host_ip.clone() },
            protocol: if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() },
            port: port.host_port,
        })
        .collect()
}

/// What one pod takes from its node.
#[derive(Clone, Debug)]
struct Placed {
    node: Str,
    requests: Resources,
    nonzero: Resources,
    ports: Vec<HostPort>,
}

/// One node: the object, and sums over the pods on it.
#[derive(Clone, Debug, Default)]
pub struct NodeRow {
    /// The node as last seen; `None` while only its pods are known.
    node: Option<Arc<Node>>,
    /// What it offers.
    pub allocatable: Resources,
    /// Most pods on it.
    pub pods_max: i64,
    /// What its pods asked for.
    pub requested: Resources,
    /// The same with amounts for containers that ask for nothing.
    pub requested_nonzero: Resources,
    /// Pods on it.
    pub pods: i64,
    /// Host ports in use.
    pub ports: Vec<HostPort>,
}

impl NodeRow {
    /// The node's taints.
    pub fn taints(&self) -> &[Taint] {
        self.node.as_ref().map_or(&[], |node| &node.spec.taints)
    }

    /// The node.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_deref()
    }
}

/// All nodes and what their pods take.
#[derive(Default)]
pub struct Snapshot {
    rows: Vec<NodeRow>,
    names: HashMap<Str, usize>,
    present: NodeSet,
    free: Vec<usize>,
    pods: HashMap<Str, Placed>,
}

impl Snapshot {
    /// The nodes that exist, by index.
    pub fn present(&self) -> &NodeSet {
        &self.present
    }

    /// How many nodes exist.
    pub fn count(&self) -> usize {
        self.present.len()
    }

    /// The node with this index; only indices from [`Snapshot::present`] mean something.
    pub fn row(&self, index: usize) -> &NodeRow {
        &self.rows[index]
    }

    /// The name of the node with this index.
    pub fn name(&self, index: usize) -> Str {
        self.rows[index].node.as_ref().map(|node| node.metadata.name.clone()).unwrap_or_default()
    }

    /// The index of an existing node.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied().filter(|index| self.present.contains(*index))
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(index) = self.names.get(name) {
            return *index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.rows.push(NodeRow::default());
            self.rows.len() - 1
        });
        self.names.insert(name.into(), index);
        index
    }

    /// Adds a node or replaces what is known of it.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let index = self.slot(&node.metadata.name);
        let row = &mut self.rows[index];
        let offered = &node.status.allocatable;
        row.allocatable = Resources::from_list(offered);
        row.pods_max = offered.get("pods").map_or(0, |pods| pods.value());
        row.node = Some(node);
        self.present.insert(index);
    }

    /// Forgets a node. Its pods stay counted until they are removed, in case it comes back.
    pub fn remove_node(&mut self, name: &str) {
        let Some(index) = self.names.get(name).copied() else { return };
        self.rows[index].node = None;
        self.present.remove(index);
        self.give_up_if_empty(index, name);
    }

    fn give_up_if_empty(&mut self, index: usize, name: &str) {
        if self.rows[index].node.is_none() && self.rows[index].pods == 0 {
            self.rows[index] = NodeRow::default();
            self.names.remove(name);
            self.free.push(index);
        }
    }

    /// Counts a pod on the node that its spec names, instead of what was counted for it before.
    pub fn set_pod(&mut self, pod: &Pod) {
        self.place(pod, pod.spec.node_name.clone());
    }

    /// Counts a pod on `node`: an assumption until the watch confirms it.
    pub fn place(&mut self, pod: &Pod, node: Str) {
        let placed = Placed {
            node,
            requests: pod_requests(pod),
            nonzero: pod_requests_nonzero(pod),
            ports: host_ports(pod),
        };
        self.remove_pod(&pod.metadata.uid);
        let index = self.slot(&placed.node);
        let row = &mut self.rows[index];
        row.requested.add(&placed.requests);
        row.requested_nonzero.add(&placed.nonzero);
        row.pods += 1;
        row.ports.extend(placed.ports.iter().cloned());
        self.pods.insert(pod.metadata.uid.clone(), placed);
    }

    /// Takes a pod off its node. Answers whether it was on one.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(placed) = self.pods.remove(uid) else { return false };
        if let Some(index) = self.names.get(&placed.node).copied() {
            let row = &mut self.rows[index];
            row.requested.subtract(&placed.requests);
            row.requested_nonzero.subtract(&placed.nonzero);
            row.pods -= 1;
            for port in &placed.ports {
                if let Some(at) = row.ports.iter().position(|used| used == port) {
                    row.ports.swap_remove(at);
                }
            }
            self.give_up_if_empty(index, &placed.node);
        }
        true
    }

    /// Whether the pod is counted on a node.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }
}

#[cfg(test)]
mod tests {
    use meta::Codec;

    use super::*;

    fn node(name: &str, cpu: &str) -> Arc<Node> {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}"}},"status":{{"allocatable":{{"cpu":"{cpu}","memory":"1Gi","pods":"10"}}}}}}"#
        );
        Arc::new(Node::from_json(text.as_bytes()).unwrap())
    }

    fn pod(uid: &str, node: &str) -> Pod {
        let text = format!(
            r#"{{"metadata":{{"uid":"{uid}"}},"spec":{{"nodeName":"{node}","containers":[{{"name":"c",
                "ports":[{{"containerPort":80,"hostPort":80}}],"resources":{{"requests":{{"cpu":"100m"}}}}}}]}}}}"#
        );
        Pod::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn sums_follow_the_pods() {
        let mut snapshot = Snapshot::default();
        snapshot.set_pod(&pod("1", "a"));
        assert_eq!(
            (snapshot.count(), snapshot.index_of("a")),
            (0, None),
            "pods may be seen before their node"
        );
        snapshot.set_node(node("a", "2"));
        let index = snapshot.index_of("a").unwrap();
        assert_eq!((snapshot.row(index).requested.cpu_milli, snapshot.row(index).pods), (100, 1));

        snapshot.place(&pod("2", ""), "a".into());
        snapshot.set_pod(&pod("2", "a"));
        assert_eq!((snapshot.row(index).requested.cpu_milli, snapshot.row(index).ports.len()), (200, 2));
        assert!(snapshot.remove_pod("2") && !snapshot.remove_pod("2"));
        assert_eq!((snapshot.row(index).requested.cpu_milli, snapshot.row(index).ports.len()), (100, 1));

        snapshot.remove_node("a");
        assert_eq!(snapshot.count(), 0);
        snapshot.set_node(node("a", "4"));
        let index = snapshot.index_of("a").unwrap();
        assert_eq!((snapshot.row(index).allocatable.cpu_milli, snapshot.row(index).pods), (4000, 1));
    }
}
