//! What changes in the cluster, told to snapshot and queue.

use std::sync::Arc;

use informer::{Change, Informers};
use meta::Kind;
use types::apps::v1::{ReplicaSet, StatefulSet};
use types::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use types::policy::v1::PodDisruptionBudget;
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use types::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};

use super::{Scheduler, State};
use crate::cluster::Tabled;
use crate::plugin::ClusterEvent;
use crate::queue::gate;

/// Watches every kind that plugins look at, and waits until all of them are known.
pub(super) async fn subscribe(scheduler: &Arc<Scheduler>, informers: &Arc<Informers>) {
    let nodes = informers.cache::<Node>();
    let pods = informers.cache::<Pod>();
    let handler = scheduler.clone();
    nodes.subscribe(move |change| handler.node_changed(change));
    nodes.synced().await;
    table::<Namespace>(scheduler, informers, Some(ClusterEvent::Namespace)).await;
    table::<Service>(scheduler, informers, None).await;
    table::<ReplicationController>(scheduler, informers, None).await;
    table::<ReplicaSet>(scheduler, informers, None).await;
    table::<StatefulSet>(scheduler, informers, None).await;
    table::<PodDisruptionBudget>(scheduler, informers, None).await;
    let storage = Some(ClusterEvent::Storage);
    table::<PersistentVolumeClaim>(scheduler, informers, storage).await;
    table::<PersistentVolume>(scheduler, informers, storage).await;
    table::<StorageClass>(scheduler, informers, storage).await;
    table::<CSINode>(scheduler, informers, storage).await;
    table::<CSIDriver>(scheduler, informers, storage).await;
    table::<CSIStorageCapacity>(scheduler, informers, storage).await;
    table::<VolumeAttachment>(scheduler, informers, storage).await;
    let devices = Some(ClusterEvent::Devices);
    table::<ResourceClaim>(scheduler, informers, devices).await;
    table::<ResourceSlice>(scheduler, informers, devices).await;
    table::<DeviceClass>(scheduler, informers, devices).await;
    // Pods last: what they refer to is known by then.
    let handler = scheduler.clone();
    pods.subscribe(move |change| handler.pod_changed(change));
    pods.synced().await;
}

async fn table<K: Tabled + Kind>(
    scheduler: &Arc<Scheduler>,
    informers: &Arc<Informers>,
    event: Option<ClusterEvent>,
) {
    let cache = informers.cache::<K>();
    let handler = scheduler.clone();
    cache.subscribe(move |change| handler.object_changed(change, event));
    cache.synced().await;
}

fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

impl State {
    fn happened(&mut self, event: ClusterEvent, now: std::time::Duration) {
        let pods = self.queue.happened(event, &self.core.profiles, now);
        super::metrics::moved(event, pods);
    }

    /// Asks PreEnqueue again about the pods that it holds back.
    fn ask_gates(&mut self, now: std::time::Duration) {
        for (pod, profile) in self.queue.gated() {
            if gate(&self.core.profiles[profile], &pod, &self.core.snapshot.cluster).is_none() {
                self.queue.add(pod, profile, false, &self.core.profiles, now);
            }
        }
    }
}

impl Scheduler {
    fn node_changed(&self, change: &Change<Node>) {
        let now = self.now();
        self.change(|state| match change {
            Change::Added(node) => {
                state.core.snapshot.set_node(node.clone());
                state.happened(ClusterEvent::NodeAdded, now);
            }
            Change::Updated { old, new } => {
                state.core.snapshot.set_node(new.clone());
                for event in node_events(old, new) {
                    state.happened(event, now);
                }
            }
            Change::Deleted(node) => {
                state.core.snapshot.remove_node(&node.metadata.name);
                state.happened(ClusterEvent::NodeDeleted, now);
            }
        });
    }

    fn object_changed<K: Tabled + Kind>(&self, change: &Change<K>, event: Option<ClusterEvent>) {
        let now = self.now();
        self.change(|state| {
            match change {
                Change::Deleted(object) => state.core.snapshot.remove(&**object),
                Change::Added(object) | Change::Updated { new: object, .. } => {
                    state.core.snapshot.set(object.clone());
                }
            }
            if let Some(event) = event {
                state.happened(event, now);
            }
            if event == Some(ClusterEvent::Devices) {
                state.ask_gates(now);
            }
        });
        if event == Some(ClusterEvent::Storage) {
            self.storage.notify_waiters();
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let now = self.now();
        let pod = change.object();
        let uid = pod.metadata.uid.as_str();
        let gone = matches!(change, Change::Deleted(_));
        self.change(|state| {
            if gone || is_over(pod) {
                state.queue.remove(uid);
                state.core.release(uid);
                if state.core.snapshot.remove_pod(uid) {
                    state.happened(ClusterEvent::PodFreed, now);
                }
            } else if !pod.spec.node_name.is_empty() {
                state.queue.remove(uid);
                state.core.release(uid);
                state.core.snapshot.set_pod(pod);
                match change.old() {
                    Some(old) if !old.spec.node_name.is_empty() => {
                        if old.metadata.labels != pod.metadata.labels {
                            state.happened(ClusterEvent::PodLabels, now);
                        }
                    }
                    _ => state.happened(ClusterEvent::PodPlaced, now),
                }
                if change.old().is_some_and(|old| gave_back(old, pod)) {
                    state.happened(ClusterEvent::PodFreed, now);
                }
            } else if pod.metadata.deletion_timestamp.is_some() {
                state.queue.remove(uid);
                state.core.release(uid);
            } else if !state.core.snapshot.has_pod(uid)
                && let Some(profile) = state.core.profile(&pod.spec.scheduler_name)
            {
                let nominated = &pod.status.nominated_node_name;
                if !nominated.is_empty() && state.core.nominated.node(uid).is_none() {
                    let info = Arc::new(crate::pod_info::PodInfo::new(pod.clone()));
                    state.core.nominate(info, nominated.clone());
                }
                let gated = gate(&state.core.profiles[profile], pod, &state.core.snapshot.cluster).is_some();
                state.queue.add(pod.clone(), profile, gated, &state.core.profiles, now);
            }
        });
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
    events
}

/// Whether a pod on a node asks for less than before (in-place resize).
fn gave_back(old: &Pod, new: &Pod) -> bool {
    let (before, after) = (crate::resources::pod_requests(old), crate::resources::pod_requests(new));
    after.cpu_milli < before.cpu_milli || after.memory_bytes < before.memory_bytes
}
