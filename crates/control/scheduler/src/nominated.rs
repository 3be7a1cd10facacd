//! Pods that preempted others: the node that becomes free for each, which others must not take from under it.

use std::sync::Arc;

use hashbrown::HashMap;
use meta::Str;

use crate::node_set::NodeSet;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

struct Nomination {
    pod: Arc<PodInfo>,
    name: Str,
    node: usize,
}

/// Nominated pods by uid, with their node.
#[derive(Default)]
pub struct Nominated {
    pods: HashMap<Str, Nomination>,
    by_node: HashMap<usize, Vec<Str>>,
    nodes: NodeSet,
}

impl Nominated {
    /// Nominates a pod for a node, which need not exist yet.
    pub fn set(&mut self, pod: Arc<PodInfo>, name: Str, snapshot: &mut Snapshot) {
        self.remove(pod.uid(), snapshot);
        let node = snapshot.pin(&name);
        self.by_node.entry(node).or_default().push(pod.uid().clone());
        self.nodes.insert(node);
        self.pods.insert(pod.uid().clone(), Nomination { pod, name, node });
    }

    /// Takes a nomination back.
    pub fn remove(&mut self, uid: &str, snapshot: &mut Snapshot) {
        let Some(Nomination { node, name, .. }) = self.pods.remove(uid) else { return };
        snapshot.unpin(node, &name);
        if let Some(uids) = self.by_node.get_mut(&node) {
            uids.retain(|other| other != uid);
            if uids.is_empty() {
                self.by_node.remove(&node);
                self.nodes.remove(node);
            }
        }
    }

    /// The node that a pod is nominated for here.
    pub fn node(&self, uid: &str) -> Option<&Str> {
        self.pods.get(uid).map(|nomination| &nomination.name)
    }

    /// The node that the pod is nominated for, here or in its status.
    pub fn node_of(&self, pod: &PodInfo) -> Option<Str> {
        if let Some(nomination) = self.pods.get(pod.uid()) {
            return Some(nomination.name.clone());
        }
        let told = &pod.pod.status.nominated_node_name;
        (!told.is_empty()).then(|| told.clone())
    }

    /// Whether any pod is nominated for the node.
    pub fn has(&self, node: usize) -> bool {
        self.nodes.contains(node)
    }

    fn all_on(&self, node: usize) -> impl Iterator<Item = &Arc<PodInfo>> {
        let uids = self.by_node.get(&node).into_iter().flatten();
        uids.filter_map(|uid| self.pods.get(uid)).map(|nomination| &nomination.pod)
    }

    /// Pods nominated for the node that are at least as important as `than`.
    pub fn on(&self, node: usize, than: &PodInfo) -> Vec<Arc<PodInfo>> {
        if !self.has(node) {
            return Vec::new();
        }
        let others = self.all_on(node).filter(|pod| pod.uid() != than.uid());
        others.filter(|pod| pod.priority >= than.priority).cloned().collect()
    }

    /// Pods nominated for the node that are less important than `than`: they lose their nomination to it.
    pub fn lesser(&self, node: usize, than: &PodInfo) -> Vec<Arc<PodInfo>> {
        self.all_on(node).filter(|pod| pod.priority < than.priority).cloned().collect()
    }
}
