//! The devices that a node can reach, by pool, from ResourceSlices of each pool's latest generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use meta::Str;
use types::core::v1::NodeSelector;
use types::resource::v1::{Device, ResourceSlice};

use crate::cluster::Cluster;
use crate::plugins::node_selector::any_term_selects;
use crate::snapshot::NodeRow;

/// A device within reach.
#[derive(Clone)]
pub(super) struct Reachable {
    pub(super) slice: Arc<ResourceSlice>,
    at: usize,
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
}

/// Devices of one pool.
pub(super) struct Pool {
    pub(super) devices: Vec<Reachable>,
    /// Not all slices of the pool were published yet: what it has in all is not known.
    pub(super) incomplete: bool,
}

/// Whether something for a named node, selected nodes or all nodes is for this one.
fn reaches(
    name: &str,
    row: &NodeRow,
    named: Option<&Str>,
    selector: Option<&NodeSelector>,
    all: Option<bool>,
) -> bool {
    named.is_some_and(|named| *named == name)
        || all == Some(true)
        || selector.is_some_and(|selector| {
            row.node().is_some_and(|node| any_term_selects(&selector.node_selector_terms, node))
        })
}

/// The pools that a node can reach, by driver and name; the complete ones first.
pub(super) fn pools(cluster: &Cluster, name: &str, row: &NodeRow) -> Vec<Pool> {
    let near: BTreeSet<(&Str, &Str)> =
        cluster.slices_near(name).map(|slice| (&slice.spec.driver, &slice.spec.pool.name)).collect();
    let mut pools = Vec::new();
    for (driver, pool) in near {
        let mut slices: Vec<&Arc<ResourceSlice>> = cluster.pool(driver, pool).collect();
        let latest = slices.iter().map(|slice| slice.spec.pool.generation).max().unwrap_or(0);
        slices.retain(|slice| slice.spec.pool.generation == latest);
        let wanted = slices.first().map_or(0, |slice| slice.spec.pool.resource_slice_count);
        let incomplete = (slices.len() as i64) < wanted;
        let mut devices = Vec::new();
        for slice in slices {
            let spec = &slice.spec;
            let each = spec.per_device_node_selection == Some(true);
            let whole =
                reaches(name, row, spec.node_name.as_ref(), spec.node_selector.as_deref(), spec.all_nodes);
            for (at, device) in spec.devices.iter().enumerate() {
                let own = each
                    && reaches(
                        name,
                        row,
                        device.node_name.as_ref(),
                        device.node_selector.as_deref(),
                        device.all_nodes,
                    );
                if whole || own {
                    devices.push(Reachable { slice: slice.clone(), at });
                }
            }
        }
        if !devices.is_empty() {
            pools.push(Pool { devices, incomplete });
        }
    }
    pools.sort_by_key(|pool| pool.incomplete);
    pools
}
