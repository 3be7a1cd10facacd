//! The cluster as the scheduler sees it: one row a node, with the sums of what its pods take. Kept up to date by single
//! events; nothing is recomputed from lists.
//!
//! A pod that was just decided for a node counts at once ([`Snapshot::place`]); when the watch later brings the same
//! pod with its node, that replaces the assumption, and a binding that failed takes it back ([`Snapshot::remove_pod`]).
//!
//! Whoever derives something from the snapshot keeps it exact in one of these ways: a row's [`Snapshot::generation`] grows
//! with every change of the row, and [`Snapshot::touches`] lists the rows that changed; [`Snapshot::journal`] lists pods that
//! came and went; [`Snapshot::images`] grows when images come or go; and [`Snapshot::epoch`] grows when anything else changes
//! that all nodes depend on (a label, a taint, a namespace).

use std::sync::Arc;

use hashbrown::HashMap;
use meta::{Map, Str};
use rules::amounts::Amounts as _;
use types::core::v1::{Node, Pod, Taint};

use crate::cluster::{Cluster, Tabled};
use crate::journal::{Journal, Moved, Touches};
use crate::node_order::{self, NodeOrder};
use crate::node_set::NodeSet;
use crate::pod_info::{HostPort, PodInfo};
use crate::resources::Resources;
use crate::topology::Topology;

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
    /// Pods on it, in the order in which they came.
    pub pods: Vec<Arc<PodInfo>>,
    /// Host ports in use.
    pub ports: Vec<HostPort>,
    /// How many of the pods have affinity or anti-affinity terms.
    pub with_affinity: u32,
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

    /// The node, to keep.
    pub fn shared_node(&self) -> Option<Arc<Node>> {
        self.node.clone()
    }

    /// One of its labels.
    pub fn label(&self, key: &str) -> Option<&Str> {
        self.node.as_ref()?.metadata.labels.get(key)
    }

    /// Counts a pod.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.requested_nonzero.add(&pod.nonzero);
        self.ports.extend(pod.ports.iter().cloned());
        self.with_affinity += u32::from(pod.has_affinity());
        self.pods.push(pod);
    }

    /// No longer counts a pod.
    pub fn remove_pod(&mut self, uid: &str) {
        let Some(at) = self.pods.iter().rposition(|pod| pod.uid() == uid) else { return };
        let pod = self.pods.remove(at);
        self.requested.subtract(&pod.requests);
        self.requested_nonzero.subtract(&pod.nonzero);
        self.with_affinity -= u32::from(pod.has_affinity());
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|used| used == port) {
                self.ports.swap_remove(at);
            }
        }
    }
}

/// An image that some node has.
#[derive(Debug, Default, Clone)]
struct Image {
    bytes: i64,
    nodes: u32,
}

/// All nodes and what their pods take, and the rest of the cluster.
#[derive(Default)]
pub struct Snapshot {
    rows: Vec<NodeRow>,
    /// By row: grows with every change of the row, and is unique over all rows.
    generations: Vec<u64>,
    names: HashMap<Str, usize>,
    present: NodeSet,
    count: usize,
    free: Vec<usize>,
    pods: HashMap<Str, (Arc<PodInfo>, usize)>,
    images: HashMap<Str, Image>,
    order: NodeOrder,
    changes: u64,
    epoch: u64,
    image_changes: u64,
    budgets: u64,
    /// Nodes whose pods have affinity or anti-affinity terms.
    with_affinity: NodeSet,
    /// How many hold on to a row, whether its node exists or not.
    pins: HashMap<usize, u32>,
    /// Pods that came and went.
    pub journal: Journal,
    /// Rows that changed.
    pub touches: Touches,
    /// Values of node labels that pods spread over.
    pub topology: Topology,
    /// Everything besides nodes and pods.
    pub cluster: Cluster,
}

fn image_names(node: &Node) -> impl Iterator<Item = (&Str, i64)> {
    node.status.images.iter().flat_map(|image| image.names.iter().map(|name| (name, image.size_bytes)))
}

impl Snapshot {
    /// The nodes that exist, by index.
    pub fn present(&self) -> &NodeSet {
        &self.present
    }

    /// How many nodes exist.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many rows there are, those of nodes that do not exist any more included.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Grows when something changed that answers about every node may depend on.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Grows when an image came to some node or went.
    pub fn images(&self) -> u64 {
        self.image_changes
    }

    /// Nodes whose pods have affinity or anti-affinity terms.
    pub fn with_affinity(&self) -> &NodeSet {
        &self.with_affinity
    }

    /// Grows when the node's row changed.
    pub fn generation(&self, index: usize) -> u64 {
        self.generations.get(index).copied().unwrap_or(0)
    }

    /// Grows when a disruption budget changed.
    pub fn budgets(&self) -> u64 {
        self.budgets
    }

    /// The existing nodes in the order in which they are to be looked at.
    pub fn ordered(&mut self) -> &[u32] {
        self.order.list()
    }

    /// The same as of the last [`Snapshot::ordered`].
    pub fn order_now(&self) -> &[u32] {
        self.order.now()
    }

    /// The place of an existing node in [`Snapshot::order_now`].
    pub fn position(&self, index: usize) -> Option<usize> {
        self.order.position(index)
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

    /// Size of an image and on how many nodes it is.
    pub fn image(&self, name: &str) -> Option<(i64, u32)> {
        self.images.get(name).map(|image| (image.bytes, image.nodes))
    }

    fn touch(&mut self, index: usize) {
        self.changes += 1;
        self.generations.resize(self.rows.len(), 0);
        self.generations[index] = self.changes;
        self.touches.push(index as u32);
        match self.rows[index].with_affinity {
            0 => self.with_affinity.remove(index),
            _ => self.with_affinity.insert(index),
        }
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
        let old = self.rows[index].node.take();
        let same = |differs: fn(&Node, &Node) -> bool| old.as_ref().is_some_and(|old| !differs(old, &node));
        let same_images = same(|old, new| old.status.images != new.status.images);
        let same_place = same(|old, new| {
            old.metadata.labels != new.metadata.labels
                || old.spec.taints != new.spec.taints
                || old.spec.unschedulable != new.spec.unschedulable
        });
        let same_offer = same(|old, new| old.status.allocatable != new.status.allocatable);
        let same_features = same(|old, new| old.status.declared_features != new.status.declared_features);
        if !same_images {
            if let Some(old) = &old {
                self.forget_images(old);
            }
            for (name, bytes) in image_names(&node) {
                self.images.entry(name.clone()).or_insert(Image { bytes, nodes: 0 }).nodes += 1;
            }
        }
        if !same_place {
            self.order.set(index as u32, node_order::zone(&node));
            self.topology.set_node(index, &node.metadata.labels);
        }
        self.epoch += u64::from(!same_place);
        self.image_changes += u64::from(!same_images);
        if !same_offer {
            let row = &mut self.rows[index];
            row.allocatable = Resources::from_list(&node.status.allocatable);
            row.pods_max = node.status.allocatable.get("pods").map_or(0, |pods| pods.value());
        }
        self.rows[index].node = Some(node);
        if !(same_images && same_place && same_offer && same_features) {
            self.touch(index);
        }
        if !self.present.contains(index) {
            self.present.insert(index);
            self.count += 1;
        }
    }

    fn forget_images(&mut self, node: &Node) {
        for (name, _) in image_names(node) {
            if let Some(image) = self.images.get_mut(name) {
                image.nodes -= 1;
                if image.nodes == 0 {
                    self.images.remove(name);
                }
            }
        }
    }

    /// Forgets a node. Its pods stay counted until they are removed, in case it comes back.
    pub fn remove_node(&mut self, name: &str) {
        let Some(index) = self.names.get(name).copied() else { return };
        let Some(node) = self.rows[index].node.take() else { return };
        self.forget_images(&node);
        self.present.remove(index);
        self.count -= 1;
        self.order.remove(index as u32);
        self.topology.set_node(index, &Map::new());
        self.epoch += 1;
        self.touch(index);
        self.give_up_if_empty(index, name);
    }

    /// The row of a node, which keeps its index until [`Snapshot::unpin`].
    pub fn pin(&mut self, name: &str) -> usize {
        let index = self.slot(name);
        *self.pins.entry(index).or_default() += 1;
        index
    }

    /// Lets go of a row.
    pub fn unpin(&mut self, index: usize, name: &str) {
        if let Some(pins) = self.pins.get_mut(&index) {
            *pins -= 1;
            if *pins == 0 {
                self.pins.remove(&index);
                self.give_up_if_empty(index, name);
            }
        }
    }

    fn give_up_if_empty(&mut self, index: usize, name: &str) {
        let row = &self.rows[index];
        if row.node.is_none() && row.pods.is_empty() && !self.pins.contains_key(&index) {
            self.rows[index] = NodeRow::default();
            self.touch(index);
            self.names.remove(name);
            self.free.push(index);
        }
    }

    /// Counts a pod on the node that its spec names, instead of what was counted for it before. Answers whether that made
    /// a difference to anybody.
    pub fn set_pod(&mut self, pod: &Arc<Pod>) -> bool {
        let info = Arc::new(PodInfo::new(pod.clone()));
        if let Some((known, index)) = self.pods.get(&pod.metadata.uid)
            && self.names.get(&pod.spec.node_name) == Some(index)
            && like(known, &info)
        {
            let index = *index;
            self.replace(index, info);
            return false;
        }
        self.place(info, &pod.spec.node_name.clone());
        true
    }

    /// The same pod with a newer object that changes nothing for others.
    fn replace(&mut self, index: usize, info: Arc<PodInfo>) {
        // From the end: what was placed last is confirmed next.
        if let Some(held) = self.rows[index].pods.iter_mut().rfind(|held| held.uid() == info.uid()) {
            *held = info.clone();
        }
        self.pods.insert(info.uid().clone(), (info, index));
    }

    /// Counts a pod on `node`: an assumption until the watch confirms it.
    pub fn place(&mut self, info: Arc<PodInfo>, node: &str) {
        self.remove_pod(info.uid());
        self.want_terms(&info);
        let index = self.slot(node);
        self.rows[index].add_pod(info.clone());
        self.touch(index);
        self.journal.push(Moved { pod: info.clone(), node: index, by: 1 });
        self.pods.insert(info.uid().clone(), (info, index));
    }

    /// Takes a pod off its node. Answers whether it was on one.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some((info, index)) = self.pods.remove(uid) else { return false };
        self.rows[index].remove_pod(uid);
        self.touch(index);
        self.journal.push(Moved { pod: info, node: index, by: -1 });
        let name = self.rows[index]
            .node
            .is_none()
            .then(|| self.names.iter().find(|(_, other)| **other == index).map(|(name, _)| name.clone()));
        if let Some(Some(name)) = name {
            self.give_up_if_empty(index, &name);
        }
        true
    }

    /// The pod and the index of its node.
    pub fn pod(&self, uid: &str) -> Option<&(Arc<PodInfo>, usize)> {
        self.pods.get(uid)
    }

    /// Whether the pod is counted on a node.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// All pods with the index of their node.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &(Arc<PodInfo>, usize)> {
        self.pods.values()
    }

    /// Takes another object in.
    pub fn set<K: Tabled>(&mut self, object: Arc<K>) {
        self.changed_kind::<K>();
        if self.cluster.set(object) {
            self.epoch += 1;
        }
    }

    /// Forgets another object.
    pub fn remove<K: Tabled>(&mut self, object: &K) {
        self.changed_kind::<K>();
        if self.cluster.remove(object) {
            self.epoch += 1;
        }
    }

    fn changed_kind<K: Tabled>(&mut self) {
        if std::any::TypeId::of::<K>() == std::any::TypeId::of::<types::policy::v1::PodDisruptionBudget>() {
            self.budgets += 1;
        }
    }

    /// Makes sure that the labels which the pod's affinity goes by have columns, before it is counted anywhere.
    pub fn want_terms(&mut self, info: &PodInfo) {
        for term in info.affinity.iter().chain(&info.anti_affinity).chain(&info.preferred) {
            self.want_topology(&term.topology_key);
        }
    }

    /// Makes sure that the label has a column in [`Snapshot::topology`].
    pub fn want_topology(&mut self, key: &str) {
        if self.topology.column(key).is_none() {
            let nodes: Vec<(usize, Arc<Node>)> = self
                .present
                .iter()
                .filter_map(|index| Some((index, self.rows[index].node.clone()?)))
                .collect();
            self.topology.add_column(key, nodes.iter().map(|(index, node)| (*index, &node.metadata.labels)));
        }
    }
}

/// Whether two versions of a pod are the same to everybody else.
fn like(old: &PodInfo, new: &PodInfo) -> bool {
    old.requests == new.requests
        && old.nonzero == new.nonzero
        && old.priority == new.priority
        && old.pod.metadata.labels == new.pod.metadata.labels
        && old.is_terminating() == new.is_terminating()
        && old.pod.status.start_time == new.pod.status.start_time
}
