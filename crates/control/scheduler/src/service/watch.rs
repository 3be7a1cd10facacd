//! What changes in the cluster, told to snapshot and queue.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use informer::{Change, Informers};
use meta::Kind;
use types::apps::v1::{ReplicaSet, StatefulSet};
use types::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use types::policy::v1::PodDisruptionBudget;
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use types::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};

use super::{Scheduler, State, metrics};
use crate::cluster::{Tabled, key};
use crate::plugin::{About, ClusterEvent, Happening, What};
use crate::pod_info::PodInfo;
use crate::queue::gate;

/// Watches every kind that plugins look at, and waits until all of them are known.
pub(super) async fn subscribe(scheduler: &Arc<Scheduler>, informers: &Arc<Informers>) {
    let nodes = informers.cache::<Node>();
    let pods = informers.cache::<Pod>();
    let handler = scheduler.clone();
    nodes.subscribe(move |change| handler.node_changed(change));
    nodes.synced().await;
    table::<Namespace>(scheduler, informers, Some(What::Namespace)).await;
    table::<Service>(scheduler, informers, None).await;
    table::<ReplicationController>(scheduler, informers, None).await;
    table::<ReplicaSet>(scheduler, informers, None).await;
    table::<StatefulSet>(scheduler, informers, None).await;
    table::<PodDisruptionBudget>(scheduler, informers, None).await;
    table::<PersistentVolumeClaim>(scheduler, informers, Some(What::PersistentVolumeClaim)).await;
    table::<PersistentVolume>(scheduler, informers, Some(What::PersistentVolume)).await;
    table::<StorageClass>(scheduler, informers, Some(What::StorageClass)).await;
    table::<CSINode>(scheduler, informers, Some(What::CSINode)).await;
    table::<CSIDriver>(scheduler, informers, Some(What::CSIDriver)).await;
    table::<CSIStorageCapacity>(scheduler, informers, Some(What::CSIStorageCapacity)).await;
    table::<VolumeAttachment>(scheduler, informers, Some(What::VolumeAttachment)).await;
    table::<ResourceClaim>(scheduler, informers, Some(What::ResourceClaim)).await;
    table::<ResourceSlice>(scheduler, informers, Some(What::ResourceSlice)).await;
    table::<DeviceClass>(scheduler, informers, Some(What::DeviceClass)).await;
    // Pods last: what they refer to is known by then.
    let handler = scheduler.clone();
    pods.subscribe(move |change| handler.pod_changed(change));
    pods.synced().await;
}

async fn table<K: Tabled + Kind>(scheduler: &Arc<Scheduler>, informers: &Arc<Informers>, what: Option<What>) {
    let cache = informers.cache::<K>();
    let handler = scheduler.clone();
    cache.subscribe(move |change| handler.object_changed(change, what));
    cache.synced().await;
}

fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

impl State {
    /// Something happened that may help pods which wait.
    pub(super) fn happened(&mut self, event: ClusterEvent, about: About<'_>, now: Duration) {
        let happening = Happening { event, about, cluster: &self.core.snapshot.cluster };
        self.queue.happened(&happening, &self.core.profiles, now);
    }

    /// Asks PreEnqueue again about the pods that it holds back and that name the resource claim.
    fn ask_gates(&mut self, claim: &meta::ObjectMeta, now: Duration) {
        let State { queue, core } = self;
        for (pod, profile) in queue.gated_by(&key(&claim.namespace, &claim.name)) {
            if gate(&core.profiles[profile], &pod, &core.snapshot.cluster).is_none() {
                queue.add(pod, profile, false, (&core.profiles, &core.snapshot.cluster), now);
            }
        }
    }

    fn node_changed(&mut self, change: &Change<Node>, now: Duration) {
        match change {
            Change::Added(node) => {
                self.core.snapshot.set_node(node.clone());
                self.happened(ClusterEvent::NodeAdded, About::Node(None, Some(node)), now);
            }
            Change::Updated { old, new } => {
                self.core.snapshot.set_node(new.clone());
                for event in node_events(old, new) {
                    self.happened(event, About::Node(Some(old), Some(new)), now);
                }
            }
            Change::Deleted(node) => {
                self.core.snapshot.remove_node(&node.metadata.name);
                self.happened(ClusterEvent::NodeDeleted, About::Node(Some(node), None), now);
            }
        }
    }

    /// A pod is gone, or will not run any more.
    fn pod_over(&mut self, pod: &Pod, now: Duration) {
        let uid = pod.metadata.uid.as_str();
        self.queue.remove(uid);
        self.core.release(uid);
        if self.core.snapshot.remove_pod(uid) {
            self.happened(ClusterEvent::PodFreed, About::Pod(Some(pod), None), now);
        }
    }

    /// A pod with a node appeared or changed.
    fn pod_placed(&mut self, old: Option<&Pod>, pod: &Arc<Pod>, now: Duration) {
        let uid = pod.metadata.uid.as_str();
        self.queue.remove(uid);
        self.core.release(uid);
        self.core.snapshot.set_pod(pod);
        let Some(old) = old.filter(|old| !old.spec.node_name.is_empty()) else {
            return self.happened(ClusterEvent::PodPlaced, About::Pod(None, Some(pod)), now);
        };
        if old.metadata.labels != pod.metadata.labels {
            self.happened(ClusterEvent::PodLabels, About::Pod(Some(old), Some(pod)), now);
        }
        if gave_back(old, pod) {
            self.happened(ClusterEvent::PodFreed, About::Pod(Some(old), Some(pod)), now);
        }
    }

    /// A pod without a node appeared or changed.
    fn pod_waits(&mut self, pod: &Arc<Pod>, now: Duration) {
        let uid = &pod.metadata.uid;
        if self.core.snapshot.has_pod(uid) {
            return;
        }
        let Some(profile) = self.core.profile(&pod.spec.scheduler_name) else { return };
        let nominated = &pod.status.nominated_node_name;
        if !nominated.is_empty() && self.core.nominated.node(uid).is_none() {
            self.core.nominate(Arc::new(PodInfo::new(pod.clone())), nominated.clone());
        }
        let State { queue, core } = self;
        let gated = gate(&core.profiles[profile], pod, &core.snapshot.cluster).is_some();
        queue.add(pod.clone(), profile, gated, (&core.profiles, &core.snapshot.cluster), now);
    }
}

impl Scheduler {
    fn node_changed(&self, change: &Change<Node>) {
        let (now, begun) = (self.now(), Instant::now());
        self.change(|state| state.node_changed(change, now));
        metrics::handled(told("Node", change), begun.elapsed());
    }

    fn object_changed<K: Tabled + Kind>(&self, change: &Change<K>, what: Option<What>) {
        let now = self.now();
        self.change(|state| {
            let object: &dyn Any = &**change.object();
            let outdated = !matches!(change, Change::Deleted(_))
                && object
                    .downcast_ref::<ResourceClaim>()
                    .is_some_and(|claim| state.core.snapshot.cluster.is_outdated(claim));
            match change {
                _ if outdated => {}
                Change::Deleted(object) => state.core.snapshot.remove(&**object),
                Change::Added(object) | Change::Updated { new: object, .. } => {
                    state.core.snapshot.set(object.clone());
                }
            }
            if let Some(what) = what {
                let (event, old, new): (_, Option<&dyn Any>, Option<&dyn Any>) = match change {
                    Change::Added(new) => (ClusterEvent::Added(what), None, Some(&**new)),
                    Change::Updated { old, new } => (ClusterEvent::Updated(what), Some(&**old), Some(&**new)),
                    Change::Deleted(old) => (ClusterEvent::Deleted(what), Some(&**old), None),
                };
                state.happened(event, About::Object(old, new), now);
            }
            if what == Some(What::ResourceClaim) {
                state.ask_gates(change.object().metadata(), now);
            }
        });
        let waited_for = [What::PersistentVolumeClaim, What::PersistentVolume, What::ResourceClaim];
        if what.is_some_and(|what| waited_for.contains(&what)) {
            self.storage.notify_waiters();
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let (now, begun) = (self.now(), Instant::now());
        let pod = change.object();
        let gone = matches!(change, Change::Deleted(_));
        self.change(|state| {
            if gone || is_over(pod) {
                state.pod_over(pod, now);
            } else if !pod.spec.node_name.is_empty() {
                state.pod_placed(change.old().map(|old| &**old), pod, now);
            } else if pod.metadata.deletion_timestamp.is_some() {
                state.queue.remove(&pod.metadata.uid);
                state.core.release(&pod.metadata.uid);
            } else {
                state.pod_waits(pod, now);
            }
        });
        if gone || pod.metadata.deletion_timestamp.is_some() {
            self.waiting.forget(&pod.metadata.uid);
        }
        let what = if pod.spec.node_name.is_empty() { "UnscheduledPod" } else { "AssignedPod" };
        metrics::handled(told(what, change), begun.elapsed());
    }
}

/// The name of a change in metrics.
fn told<T>(what: &str, change: &Change<T>) -> &'static str {
    match (what, change) {
        ("Node", Change::Added(_)) => "NodeAdd",
        ("Node", Change::Updated { .. }) => "NodeUpdate",
        ("Node", Change::Deleted(_)) => "NodeDelete",
        ("AssignedPod", Change::Added(_)) => "AssignedPodAdd",
        ("AssignedPod", Change::Updated { .. }) => "AssignedPodUpdate",
        ("AssignedPod", Change::Deleted(_)) => "AssignedPodDelete",
        (_, Change::Added(_)) => "UnscheduledPodAdd",
        (_, Change::Updated { .. }) => "UnscheduledPodUpdate",
        (_, Change::Deleted(_)) => "UnscheduledPodDelete",
    }
}

/// The changes of a node that plugins have hints for.
fn node_events(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let mut events = Vec::new();
    if old.status.allocatable != new.status.allocatable {
        events.push(ClusterEvent::NodeAllocatable);
    }
    if old.metadata.labels != new.metadata.labels {
        events.push(ClusterEvent::NodeLabels);
    }
    if old.spec.taints != new.spec.taints || old.spec.unschedulable != new.spec.unschedulable {
        events.push(ClusterEvent::NodeTaints);
    }
    if old.status.declared_features != new.status.declared_features {
        events.push(ClusterEvent::NodeFeatures);
    }
    events
}

/// Whether a pod on a node asks for less than before (in-place resize).
fn gave_back(old: &Pod, new: &Pod) -> bool {
    let (before, after) = (crate::resources::pod_requests(old), crate::resources::pod_requests(new));
    after.cpu_milli < before.cpu_milli || after.memory_bytes < before.memory_bytes
}
