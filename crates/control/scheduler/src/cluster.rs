//! What the scheduler knows of the cluster besides nodes and pods: namespaces' labels, owners of pods, budgets, volumes and
//! devices.
//!
//! Objects come in by [`Cluster::set`] and leave by [`Cluster::remove`]; both say whether a plugin could answer differently
//! now, so that a heartbeat in some status does not throw away what was computed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::devices::Devices;
use crate::plugins::dynamic_resources::selector::Selectors;
use hashbrown::HashMap;
use meta::{Kind, Map, Object, Str};
use types::apps::v1::{ReplicaSet, StatefulSet};
use types::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service};
use types::policy::v1::PodDisruptionBudget;
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use types::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};

/// Objects of one kind by `namespace/name`, or by name where the kind has no namespaces.
pub type Table<K> = HashMap<Str, Arc<K>>;

/// The key of an object in a [`Table`].
pub fn key(namespace: &str, name: &str) -> Str {
    if namespace.is_empty() { name.into() } else { format!("{namespace}/{name}").into() }
}

/// The tables. A kind that no list of ours asks for is simply absent.
#[derive(Default)]
pub struct Cluster {
    /// Namespaces, for namespace selectors.
    pub namespaces: Table<Namespace>,
    /// Services, for default spreading.
    pub services: Table<Service>,
    /// ReplicationControllers, for default spreading.
    pub replication_controllers: Table<ReplicationController>,
    /// ReplicaSets, for default spreading.
    pub replica_sets: Table<ReplicaSet>,
    /// StatefulSets, for default spreading.
    pub stateful_sets: Table<StatefulSet>,
    /// Budgets that preemption respects.
    pub budgets: Table<PodDisruptionBudget>,
    /// Claims.
    pub claims: Table<PersistentVolumeClaim>,
    /// Volumes.
    pub volumes: Table<PersistentVolume>,
    /// Storage classes.
    pub storage_classes: Table<StorageClass>,
    /// What CSI drivers can attach to each node.
    pub csi_nodes: Table<CSINode>,
    /// CSI drivers.
    pub csi_drivers: Table<CSIDriver>,
    /// Room for new volumes.
    pub capacities: Table<CSIStorageCapacity>,
    /// Volumes attached to nodes.
    pub attachments: Table<VolumeAttachment>,
    /// Claims for devices.
    pub resource_claims: Table<ResourceClaim>,
    /// Devices.
    pub slices: Table<ResourceSlice>,
    /// Device classes.
    pub device_classes: Table<DeviceClass>,
    /// Volumes attached to each node: the attachments' names, by node.
    attached: HashMap<Str, HashMap<Str, Arc<VolumeAttachment>>>,
    /// Slices of one node's devices, by node; under an empty name those of devices that others reach too.
    node_slices: HashMap<Str, BTreeMap<Str, Arc<ResourceSlice>>>,
    /// All slices of each pool, by driver and pool.
    pools: HashMap<(Str, Str), BTreeMap<Str, Arc<ResourceSlice>>>,
    /// What claims have.
    devices: Devices,
    /// Selectors of devices, compiled, with what they select.
    pub selectors: Selectors,
    /// Volumes that were promised to claims but are not bound yet, by volume: the claim's key.
    pub assumed_volumes: HashMap<Str, Str>,
    no_labels: Map<Str>,
}

/// A kind that has a table.
pub trait Tabled: Kind + Object {
    /// Its table.
    fn table(cluster: &mut Cluster) -> &mut Table<Self>;
    /// Whether answers of plugins that are shared between pods may depend on the difference.
    fn matters(_old: Option<&Self>, _new: Option<&Self>) -> bool {
        false
    }
    /// Keeps what is derived from the table.
    fn follow(_cluster: &mut Cluster, _old: Option<&Arc<Self>>, _new: Option<&Arc<Self>>) {}
}

macro_rules! tabled {
    ($($kind:ty => $field:ident $(, $matters:expr)?;)*) => {$(
        impl Tabled for $kind {
            fn table(cluster: &mut Cluster) -> &mut Table<Self> {
                &mut cluster.$field
            }
            $(fn matters(old: Option<&Self>, new: Option<&Self>) -> bool {
                let relevant: fn(&Self) -> _ = $matters;
                old.map(relevant) != new.map(relevant)
            })?
        }
    )*};
}

tabled! {
    Namespace => namespaces, |namespace| namespace.metadata.labels.clone();
    Service => services, |service| service.spec.selector.clone();
    ReplicationController => replication_controllers, |owner| owner.spec.selector.clone();
    ReplicaSet => replica_sets, |owner| owner.spec.selector.clone();
    StatefulSet => stateful_sets, |owner| owner.spec.selector.clone();
    PodDisruptionBudget => budgets;
    PersistentVolumeClaim => claims;
    PersistentVolume => volumes;
    StorageClass => storage_classes;
    CSINode => csi_nodes;
    CSIDriver => csi_drivers;
    CSIStorageCapacity => capacities;
    DeviceClass => device_classes;
}

impl Tabled for VolumeAttachment {
    fn table(cluster: &mut Cluster) -> &mut Table<Self> {
        &mut cluster.attachments
    }

    fn follow(cluster: &mut Cluster, old: Option<&Arc<Self>>, new: Option<&Arc<Self>>) {
        if let Some(old) = old
            && let Some(all) = cluster.attached.get_mut(&old.spec.node_name)
        {
            all.remove(&old.metadata.name);
            if all.is_empty() {
                cluster.attached.remove(&old.spec.node_name);
            }
        }
        if let Some(new) = new {
            let all = cluster.attached.entry(new.spec.node_name.clone()).or_default();
            all.insert(new.metadata.name.clone(), new.clone());
        }
    }
}

impl Tabled for ResourceSlice {
    fn table(cluster: &mut Cluster) -> &mut Table<Self> {
        &mut cluster.slices
    }

    fn follow(cluster: &mut Cluster, old: Option<&Arc<Self>>, new: Option<&Arc<Self>>) {
        cluster.selectors.forget_devices();
        let node = |slice: &ResourceSlice| slice.spec.node_name.clone().unwrap_or_default();
        if let Some(old) = old
            && let Some(all) = cluster.node_slices.get_mut(&node(old))
        {
            all.remove(&old.metadata.name);
            if all.is_empty() {
                cluster.node_slices.remove(&node(old));
            }
        }
        let pool = |slice: &ResourceSlice| (slice.spec.driver.clone(), slice.spec.pool.name.clone());
        if let Some(old) = old
            && let Some(all) = cluster.pools.get_mut(&pool(old))
        {
            all.remove(&old.metadata.name);
            if all.is_empty() {
                cluster.pools.remove(&pool(old));
            }
        }
        if let Some(new) = new {
            let name = &new.metadata.name;
            cluster.node_slices.entry(node(new)).or_default().insert(name.clone(), new.clone());
            cluster.pools.entry(pool(new)).or_default().insert(name.clone(), new.clone());
        }
    }
}

impl Tabled for ResourceClaim {
    fn table(cluster: &mut Cluster) -> &mut Table<Self> {
        &mut cluster.resource_claims
    }

    fn follow(cluster: &mut Cluster, old: Option<&Arc<Self>>, new: Option<&Arc<Self>>) {
        if let Some(old) = old {
            cluster.devices.count(old, -1);
        }
        if let Some(new) = new {
            cluster.devices.count(new, 1);
        }
    }
}

impl Cluster {
    /// Takes an object in. Answers whether shared answers may have changed.
    pub fn set<K: Tabled>(&mut self, object: Arc<K>) -> bool {
        let metadata = object.metadata();
        let key = key(&metadata.namespace, &metadata.name);
        let old = K::table(self).insert(key, object.clone());
        K::follow(self, old.as_ref(), Some(&object));
        K::matters(old.as_deref(), Some(&object))
    }

    /// Forgets an object. Answers whether shared answers may have changed.
    pub fn remove<K: Tabled>(&mut self, object: &K) -> bool {
        let metadata = object.metadata();
        let old = K::table(self).remove(&key(&metadata.namespace, &metadata.name));
        K::follow(self, old.as_ref(), None);
        K::matters(old.as_deref(), None)
    }

    /// Volumes that are attached to a node, or about to be.
    pub fn attached_to(&self, node: &str) -> impl ExactSizeIterator<Item = &Arc<VolumeAttachment>> {
        static NONE: LazyLock<HashMap<Str, Arc<VolumeAttachment>>> = LazyLock::new(HashMap::new);
        self.attached.get(node).unwrap_or(&NONE).values()
    }

    /// Slices with devices that a node may reach, by name.
    pub fn slices_near(&self, node: &str) -> impl Iterator<Item = &Arc<ResourceSlice>> {
        let of = |node: &str| self.node_slices.get(node).into_iter().flat_map(BTreeMap::values);
        of(node).chain(of(""))
    }

    /// All slices of a pool, by name, wherever their devices are.
    pub fn pool(&self, driver: &Str, name: &Str) -> impl Iterator<Item = &Arc<ResourceSlice>> {
        self.pools.get(&(driver.clone(), name.clone())).into_iter().flat_map(BTreeMap::values)
    }

    /// Devices that claims have.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// The labels of a namespace; none when it is not known.
    pub fn namespace_labels(&self, name: &str) -> &Map<Str> {
        self.namespaces.get(name).map_or(&self.no_labels, |namespace| &namespace.metadata.labels)
    }

    /// A claim by namespace and name.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&key(namespace, name))
    }
}
