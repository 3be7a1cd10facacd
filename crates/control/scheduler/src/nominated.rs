//! Pods that preempted others: the node that becomes free for each, which others must not take from under it.

use std::sync::Arc;

use hashbrown::HashMap;
use meta::Str;

use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

/// Nominated pods by uid, with their node.
#[derive(Default)]
pub struct Nominated {
    pods: HashMap<Str, (Arc<PodInfo>, Str)>,
    by_node: HashMap<Str, Vec<Str>>,
}

impl Nominated {
    /// Nominates a pod for a node.
    pub fn set(&mut self, pod: Arc<PodInfo>, node: Str) {
        self.remove(&pod.uid().clone());
        self.by_node.entry(node.clone()).or_default().push(pod.uid().clone());
        self.pods.insert(pod.uid().clone(), (pod, node));
    }

    /// Takes a nomination back.
    pub fn remove(&mut self, uid: &str) {
        let Some((_, node)) = self.pods.remove(uid) else { return };
        if let Some(uids) = self.by_node.get_mut(&node) {
            uids.retain(|other| other != uid);
            if uids.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// The node that a pod is nominated for here.
    pub fn node(&self, uid: &str) -> Option<&Str> {
        self.pods.get(uid).map(|(_, node)| node)
    }

    /// The node that the pod is nominated for, here or in its status.
    pub fn node_of(&self, pod: &PodInfo) -> Option<Str> {
        if let Some((_, node)) = self.pods.get(pod.uid()) {
            return Some(node.clone());
        }
        let told = &pod.pod.status.nominated_node_name;
        (!told.is_empty()).then(|| told.clone())
    }

    /// Pods nominated for the node that are at least as important as `than`.
    pub fn on(&self, snapshot: &Snapshot, node: usize, than: &PodInfo) -> Vec<Arc<PodInfo>> {
        if self.by_node.is_empty() {
            return Vec::new();
        }
        let Some(uids) = self.by_node.get(&snapshot.name(node)) else { return Vec::new() };
        let pods = uids.iter().filter_map(|uid| self.pods.get(uid)).map(|(pod, _)| pod);
        pods.filter(|pod| pod.priority >= than.priority && pod.uid() != than.uid()).cloned().collect()
    }

    /// Pods nominated for the node that are less important than `than`: they lose their nomination to it.
    pub fn lesser(&self, node: &str, than: &PodInfo) -> Vec<Arc<PodInfo>> {
        let uids = self.by_node.get(node).into_iter().flatten();
        let pods = uids.filter_map(|uid| self.pods.get(uid)).map(|(pod, _)| pod);
        pods.filter(|pod| pod.priority < than.priority).cloned().collect()
    }
}
