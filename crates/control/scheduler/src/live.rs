//! A core filled once from a running cluster, for questions about it.

use std::sync::Arc;

use informer::Informers;
use types::apps::v1::{ReplicaSet, StatefulSet};
use types::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use types::policy::v1::PodDisruptionBudget;
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use types::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};

use crate::cluster::Tabled;
use crate::core::Core;
use crate::profile::Profile;

/// Waits until everything is known, and takes it in.
pub async fn load(informers: &Arc<Informers>, profiles: Vec<Profile>) -> Core {
    let mut core = Core::new(profiles);
    let nodes = informers.cache::<Node>();
    nodes.synced().await;
    for node in nodes.list() {
        core.snapshot.set_node(node);
    }
    table::<Namespace>(&mut core, informers).await;
    table::<Service>(&mut core, informers).await;
    table::<ReplicationController>(&mut core, informers).await;
    table::<ReplicaSet>(&mut core, informers).await;
    table::<StatefulSet>(&mut core, informers).await;
    table::<PodDisruptionBudget>(&mut core, informers).await;
    table::<PersistentVolumeClaim>(&mut core, informers).await;
    table::<PersistentVolume>(&mut core, informers).await;
    table::<StorageClass>(&mut core, informers).await;
    table::<CSINode>(&mut core, informers).await;
    table::<CSIDriver>(&mut core, informers).await;
    table::<CSIStorageCapacity>(&mut core, informers).await;
    table::<VolumeAttachment>(&mut core, informers).await;
    table::<ResourceClaim>(&mut core, informers).await;
    table::<ResourceSlice>(&mut core, informers).await;
    table::<DeviceClass>(&mut core, informers).await;
    let pods = informers.cache::<Pod>();
    pods.synced().await;
    for pod in pods.list() {
        let over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if !over && !pod.spec.node_name.is_empty() {
            core.snapshot.set_pod(&pod);
        }
    }
    core
}

async fn table<K: Tabled>(core: &mut Core, informers: &Arc<Informers>) {
    let cache = informers.cache::<K>();
    cache.synced().await;
    for object in cache.list() {
        core.snapshot.set(object);
    }
}
