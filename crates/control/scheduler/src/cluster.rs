//! What the scheduler knows of the cluster besides nodes and pods: namespaces' labels, owners of pods, budgets, volumes and
//! devices.
//!
//! Objects come in by [`Cluster::set`] and leave by [`Cluster::remove`]; both say whether a plugin could answer differently
//! now, so that a heartbeat in some status does not throw away what was computed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::devices::Devices;
use crate::plugins::dynamic_resources::answers::Answers;
use crate::plugins::dynamic_resources::extended::{
    ANNOTATION as EXTENDED_ANNOTATION, CLASS_PREFIX, is_unborn,
};
use crate::plugins::dynamic_resources::selector::Selectors;
use hashbrown::HashMap;
use meta::{Kind, Map, Object, Str};
use parking_lot::Mutex;
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
    /// What nodes have for claims, remembered.
    pub answers: Mutex<Answers>,
    /// Claims that are being given devices for a pod: the claim's uid, the pod's uid.
    pub in_flight: HashMap<Str, Str>,
    /// The time, as of the last decision.
    pub unix_seconds: i64,
    /// Extended resources that devices stand behind.
    extended: HashMap<Str, Arc<DeviceClass>>,
    /// Claims for extended resources, by the uid of their pod.
    extended_claims: HashMap<Str, Arc<ResourceClaim>>,
    /// The pools by place, and when a device of each last changed hands.
    pool_places: HashMap<(Str, Str), u32>,
    pool_changes: Vec<u64>,
    free_places: Vec<u32>,
    device_changes: u64,
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
}

impl Tabled for DeviceClass {
    fn table(cluster: &mut Cluster) -> &mut Table<Self> {
        &mut cluster.device_classes
    }

    // Who offers an extended resource decides whether a node has to.
    fn matters(old: Option<&Self>, new: Option<&Self>) -> bool {
        let resource = |class: &Self| class.spec.extended_resource_name.clone();
        old.map(resource) != new.map(resource)
    }

    fn follow(cluster: &mut Cluster, old: Option<&Arc<Self>>, new: Option<&Arc<Self>>) {
        cluster.answers.get_mut().clear();
        for class in old.into_iter().chain(new) {
            let implied = Str::from(format!("{CLASS_PREFIX}{}", class.metadata.name));
            cluster.extended.remove(&implied);
            if let Some(name) = &class.spec.extended_resource_name {
                cluster.extended.remove(name);
            }
        }
        let names = old.into_iter().chain(new).filter_map(|class| class.spec.extended_resource_name.clone());
        let mut found: Vec<(Str, Arc<DeviceClass>)> = Vec::new();
        for name in names {
            // The newest class has it, of equally old ones the first by name.
            let claiming = cluster.device_classes.values();
            let claiming = claiming.filter(|class| class.spec.extended_resource_name.as_ref() == Some(&name));
            let best = claiming.max_by(|one, other| {
                let age = |class: &DeviceClass| class.metadata.creation_timestamp;
                age(one).cmp(&age(other)).then_with(|| other.metadata.name.cmp(&one.metadata.name))
            });
            found.extend(best.map(|class| (name, class.clone())));
        }
        cluster.extended.extend(found);
        if let Some(new) = new {
            cluster.extended.insert(format!("{CLASS_PREFIX}{}", new.metadata.name).into(), new.clone());
        }
    }
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
        cluster.answers.get_mut().clear();
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
                cluster.free_places.extend(cluster.pool_places.remove(&pool(old)));
            }
        }
        if let Some(new) = new {
            let name = &new.metadata.name;
            cluster.node_slices.entry(node(new)).or_default().insert(name.clone(), new.clone());
            cluster.pools.entry(pool(new)).or_default().insert(name.clone(), new.clone());
            if !cluster.pool_places.contains_key(&pool(new)) {
                let place = cluster.free_places.pop().unwrap_or_else(|| {
                    cluster.pool_changes.push(0);
                    cluster.pool_changes.len() as u32 - 1
                });
                cluster.pool_places.insert(pool(new), place);
            }
        }
    }
}

impl Tabled for ResourceClaim {
    fn table(cluster: &mut Cluster) -> &mut Table<Self> {
        &mut cluster.resource_claims
    }

    fn follow(cluster: &mut Cluster, old: Option<&Arc<Self>>, new: Option<&Arc<Self>>) {
        let given = |claim: &Arc<Self>| claim.status.allocation.as_ref().map(|given| given.devices.clone());
        if old.and_then(given) != new.and_then(given) {
            if let Some(old) = old {
                cluster.count_devices(old, -1);
            }
            if let Some(new) = new {
                cluster.count_devices(new, 1);
            }
        }
        let of = |claim: &Self| {
            let made = claim.metadata.annotations.get(EXTENDED_ANNOTATION).is_some_and(|made| made == "true");
            claim.metadata.controller().filter(|_| made && !is_unborn(claim)).map(|pod| pod.uid.clone())
        };
        if let Some(pod) = old.and_then(|old| of(old)) {
            cluster.extended_claims.remove(&pod);
        }
        if let Some((new, pod)) = new.and_then(|new| Some((new, of(new)?))) {
            cluster.extended_claims.insert(pod, new.clone());
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

    fn count_devices(&mut self, claim: &ResourceClaim, by: i64) {
        self.devices.count(claim, by);
        self.device_changes += 1;
        for result in claim.status.allocation.iter().flat_map(|given| given.devices.results.iter()) {
            if let Some(place) = self.pool_places.get(&(result.driver.clone(), result.pool.clone())) {
                self.pool_changes[*place as usize] = self.device_changes;
            }
        }
    }

    /// Whether a claim as the watch shows it is older than what is known: while it is being given devices it has them
    /// already, and the watch may be behind what was written.
    pub fn is_outdated(&self, claim: &ResourceClaim) -> bool {
        let metadata = &claim.metadata;
        let known = self.resource_claims.get(&key(&metadata.namespace, &metadata.name));
        let Some(known) = known.filter(|known| known.metadata.uid == metadata.uid) else { return false };
        let version = |metadata: &meta::ObjectMeta| metadata.resource_version.parse::<u64>().ok();
        let older = version(metadata).zip(version(&known.metadata)).is_some_and(|(new, old)| new < old);
        older || claim.status.allocation.is_none() && self.in_flight.contains_key(&metadata.uid)
    }

    /// How often devices changed hands.
    pub fn device_changes(&self) -> u64 {
        self.device_changes
    }

    /// The place of a pool, for [`Cluster::unchanged_since`].
    pub fn pool_place(&self, driver: &Str, name: &Str) -> Option<u32> {
        self.pool_places.get(&(driver.clone(), name.clone())).copied()
    }

    /// Whether no device of these pools changed hands since [`Cluster::device_changes`] was `stamp`.
    pub fn unchanged_since(&self, pools: &[u32], stamp: u64) -> bool {
        pools.iter().all(|place| self.pool_changes.get(*place as usize).is_some_and(|at| *at <= stamp))
    }

    /// The class whose devices stand behind an extended resource.
    pub fn extended_class(&self, name: &str) -> Option<&Arc<DeviceClass>> {
        self.extended.get(name)
    }

    /// The claim that was made for a pod's extended resources.
    pub fn extended_claim(&self, pod: &str) -> Option<&Arc<ResourceClaim>> {
        self.extended_claims.get(pod)
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
