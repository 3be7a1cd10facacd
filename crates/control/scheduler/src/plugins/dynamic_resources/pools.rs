//! The devices that a node can reach, by pool: ResourceSlices of each pool's latest generation, checked for being whole
//! and free of contradictions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashSet;
use meta::Str;
use types::core::v1::NodeSelector;
use types::resource::v1::{CounterSet, Device, ResourceSlice};

use crate::cluster::Cluster;
use crate::plugins::node_selector::any_term_selects;
use crate::snapshot::NodeRow;

/// A device of a slice that is for the node.
#[derive(Clone)]
pub(super) struct Reachable {
    pub(super) slice: Arc<ResourceSlice>,
    at: usize,
    /// Whether the device itself is for the node, where a slice says so device by device.
    pub(super) here: bool,
}

impl Reachable {
    pub(super) fn device(&self) -> &Device {
        &self.slice.spec.devices[self.at]
    }

    /// What tells the device from all others as long as its slice lives.
    pub(super) fn place(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.slice) as usize, self.at)
    }

    pub(super) fn driver(&self) -> &Str {
        &self.slice.spec.driver
    }

    pub(super) fn pool(&self) -> &Str {
        &self.slice.spec.pool.name
    }

    pub(super) fn id(&self) -> crate::devices::DeviceId {
        (self.driver().clone(), self.pool().clone(), self.device().name.clone())
    }

    /// Whether several claims may have the device.
    pub(super) fn is_shared(&self) -> bool {
        self.device().allow_multiple_allocations == Some(true)
    }
}

/// Whether devices of a pool may be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Ready,
    /// Not all slices of the pool were published yet.
    Incomplete,
    /// Its slices contradict each other.
    Invalid,
}

/// One pool as a node sees it.
pub(super) struct Pool {
    pub(super) driver: Str,
    pub(super) name: Str,
    pub(super) condition: Condition,
    /// Devices in the order in which they are tried.
    pub(super) devices: Vec<Reachable>,
    /// All slices of the generation, those for other nodes included.
    pub(super) slices: Vec<Arc<ResourceSlice>>,
}

impl Pool {
    /// The counters that devices of the pool draw from.
    pub(super) fn counters(&self) -> impl Iterator<Item = &CounterSet> {
        self.slices.iter().flat_map(|slice| slice.spec.shared_counters.iter())
    }

    fn needs_preparation(&self) -> bool {
        self.devices.iter().any(|device| !device.device().binding_conditions.is_empty())
    }
}

/// Whether something for a named node, all nodes or selected nodes is for this one.
fn reaches(
    name: &str,
    row: &NodeRow,
    named: Option<&Str>,
    all: Option<bool>,
    selector: Option<&NodeSelector>,
) -> bool {
    match (named.filter(|named| !named.is_empty()), all, selector) {
        (Some(named), _, _) => *named == name,
        (None, Some(true), _) => true,
        (None, _, Some(selector)) => {
            row.node().is_some_and(|node| any_term_selects(&selector.node_selector_terms, node))
        }
        _ => false,
    }
}

fn device_reaches(name: &str, row: &NodeRow, device: &Device) -> bool {
    reaches(name, row, device.node_name.as_ref(), device.all_nodes, device.node_selector.as_deref())
}

/// Whether the slice matters on the node. Counters matter wherever their pool does.
fn is_relevant(name: &str, row: &NodeRow, slice: &ResourceSlice) -> bool {
    let spec = &slice.spec;
    let selector = spec.node_selector.as_deref();
    if !spec.shared_counters.is_empty() {
        return true;
    }
    match spec.node_name.as_ref().is_some_and(|node| !node.is_empty())
        || spec.all_nodes == Some(true)
        || selector.is_some()
    {
        true => reaches(name, row, spec.node_name.as_ref(), spec.all_nodes, selector),
        false => {
            spec.per_device_node_selection == Some(true)
                && spec.devices.iter().any(|device| device_reaches(name, row, device))
        }
    }
}

/// The pools that a node can reach, by driver and name; those whose devices have to be prepared come last.
pub(super) fn pools(cluster: &Cluster, name: &str, row: &NodeRow) -> Vec<Pool> {
    let relevant = |slice: &&Arc<ResourceSlice>| is_relevant(name, row, slice);
    let near: BTreeSet<(&Str, &Str)> = cluster
        .slices_near(name)
        .filter(relevant)
        .map(|slice| (&slice.spec.driver, &slice.spec.pool.name))
        .collect();
    let mut all: Vec<Pool> =
        near.into_iter().filter_map(|(driver, pool)| gather(cluster, (driver, pool), name, row)).collect();
    all.sort_by_key(Pool::needs_preparation);
    all
}

/// One pool; `None` while a newer generation replaces what the node can reach.
fn gather(cluster: &Cluster, (driver, name): (&Str, &Str), node: &str, row: &NodeRow) -> Option<Pool> {
    let all = || cluster.pool(driver, name);
    let mut near: Vec<&Arc<ResourceSlice>> = all().filter(|slice| is_relevant(node, row, slice)).collect();
    let generation = near.iter().map(|slice| slice.spec.pool.generation).max()?;
    near.retain(|slice| slice.spec.pool.generation == generation);
    let wanted = near[0].spec.pool.resource_slice_count;
    let mut slices: Vec<Arc<ResourceSlice>> = near.iter().map(|slice| Arc::clone(slice)).collect();
    let mut condition = Condition::Ready;
    if near.len() as i64 != wanted {
        if all().any(|slice| slice.spec.pool.generation > generation) {
            return None;
        }
        slices = all().filter(|slice| slice.spec.pool.generation == generation).cloned().collect();
        if slices.len() as i64 != wanted {
            condition = Condition::Incomplete;
        }
    }
    let mut pool =
        Pool { driver: driver.clone(), name: name.clone(), condition, devices: Vec::new(), slices };
    if condition == Condition::Ready {
        pool.devices = devices(&near, node, row);
        if contradicts_itself(&pool) {
            pool.condition = Condition::Invalid;
            pool.devices.clear();
        }
    }
    Some(pool)
}

fn devices(slices: &[&Arc<ResourceSlice>], node: &str, row: &NodeRow) -> Vec<Reachable> {
    let with_devices = slices.iter().filter(|slice| slice.spec.shared_counters.is_empty());
    let each = with_devices.flat_map(|slice| {
        let one_by_one = slice.spec.per_device_node_selection == Some(true);
        slice.spec.devices.iter().enumerate().map(move |(at, device)| Reachable {
            slice: Arc::clone(slice),
            at,
            here: !one_by_one || device_reaches(node, row, device),
        })
    });
    each.collect()
}

/// Two devices or sets of counters of one name, or a device that draws from counters which are not there.
fn contradicts_itself(pool: &Pool) -> bool {
    let mut names = HashSet::new();
    if !pool.devices.iter().all(|device| names.insert(&device.device().name)) {
        return true;
    }
    let mut sets: BTreeMap<&Str, &CounterSet> = BTreeMap::new();
    for set in pool.counters() {
        if sets.insert(&set.name, set).is_some() {
            return true;
        }
    }
    let mut drawn =
        pool.slices.iter().flat_map(|slice| slice.spec.devices.iter()).flat_map(|one| &one.consumes_counters);
    drawn.any(|drawn| {
        let set = sets.get(&drawn.counter_set);
        !set.is_some_and(|set| drawn.counters.iter().all(|(name, _)| set.counters.contains_key(name)))
    })
}
