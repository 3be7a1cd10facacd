//! How endpoints spread over slices: as few writes as possible, at most 100 endpoints a slice.
//!
//! Shared by the controller of Services and the one that mirrors Endpoints: both say what they want as [`Wanted`] groups
//! and get back which slices to create, update and delete.

use std::collections::BTreeMap;

use meta::{List, ObjectMeta, Str};
use reconcile::{Plan, Write};
use types::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::metrics::Measures;

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const SLICES_OF: &str = SERVICE_NAME;
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";

/// Endpoints with the same ports.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// Ports in an order that does not matter, comparable.
pub(super) type PortKey = Vec<(Option<Str>, Option<Str>, Option<i32>, Option<Str>)>;

pub(super) fn port_key<'a>(ports: impl IntoIterator<Item = &'a EndpointPort>) -> PortKey {
    let mut key: PortKey = ports
        .into_iter()
        .map(|port| (port.name.clone(), port.protocol.clone(), port.port, port.app_protocol.clone()))
        .collect();
    key.sort();
    key
}

/// Slices to write.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
    /// Endpoints that there should be, and how many of them come and go.
    pub(super) endpoints: usize,
    pub(super) added: usize,
    pub(super) removed: usize,
    /// How many of those that stay look different.
    pub(super) updated: usize,
    /// Slices that there would be if all of them were full.
    pub(super) slices_least: usize,
}

/// What an endpoint is: the same pod at the same addresses, whatever its state.
fn identity(endpoint: &Endpoint) -> (Vec<Str>, Str) {
    let mut addresses: Vec<Str> = endpoint.addresses.iter().cloned().collect();
    addresses.sort();
    (addresses, endpoint.target_ref.as_ref().map(|target| target.uid.clone()).unwrap_or_default())
}

/// Brings `existing` slices of one address type to `wanted`. `blank` makes a new slice without endpoints, and `metadata`
/// brings a slice's labels up to date and says whether that changed it.
pub(super) fn arrange(
    existing: Vec<EndpointSlice>,
    wanted: BTreeMap<PortKey, Wanted>,
    endpoints_max: usize,
    blank: impl Fn() -> EndpointSlice,
    metadata: impl Fn(&mut ObjectMeta) -> bool,
) -> Changes {
    let mut changes = Changes::default();
    let mut by_ports: BTreeMap<PortKey, Vec<EndpointSlice>> = BTreeMap::new();
    for slice in existing {
        by_ports.entry(port_key(&slice.ports)).or_default().push(slice);
    }
    for (key, group) in wanted {
        changes.endpoints += group.endpoints.len();
        changes.slices_least += group.endpoints.len().div_ceil(endpoints_max);
        let slices = by_ports.remove(&key).unwrap_or_default();
        arrange_group(slices, group, endpoints_max, &blank, &metadata, &mut changes);
    }
    let left: Vec<EndpointSlice> = by_ports.into_values().flatten().collect();
    changes.removed += left.iter().map(|slice| slice.endpoints.len()).sum::<usize>();
    changes.delete.extend(left);
    reuse(&mut changes);
    changes
}

fn arrange_group(
    slices: Vec<EndpointSlice>,
    group: Wanted,
    endpoints_max: usize,
    blank: &impl Fn() -> EndpointSlice,
    metadata: &impl Fn(&mut ObjectMeta) -> bool,
    changes: &mut Changes,
) {
    let mut missing: BTreeMap<_, _> =
        group.endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let (mut updates, mut unchanged) = (Vec::new(), Vec::new());
    for mut slice in slices {
        let mut kept: List<Endpoint> = List::new();
        let mut changed = false;
        for endpoint in &slice.endpoints {
            match missing.remove(&identity(endpoint)) {
                Some(mut now) => {
                    now.hints = now.hints.or_else(|| endpoint.hints.clone());
                    changes.updated += usize::from(now != *endpoint);
                    changed |= now != *endpoint;
                    kept.push(now);
                }
                None => {
                    changes.removed += 1;
                    changed = true;
                }
            }
        }
        changed |= metadata(&mut slice.metadata);
        if kept.is_empty() && !slice.endpoints.is_empty() {
            changes.delete.push(slice);
        } else if changed {
            slice.endpoints = kept;
            updates.push(slice);
        } else {
            unchanged.push(slice);
        }
    }
    changes.added += missing.len();
    let mut missing: std::collections::VecDeque<Endpoint> = missing.into_values().collect();
    // Slices that are written anyway take new endpoints first, the fullest before the others.
    updates.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut updates {
        while slice.endpoints.len() < endpoints_max
            && let Some(endpoint) = missing.pop_front()
        {
            slice.endpoints.push(endpoint);
        }
    }
    // Then the slice that the rest fills best, so that no more than one further slice is written.
    if !missing.is_empty() {
        let room = |slice: &EndpointSlice| endpoints_max.checked_sub(slice.endpoints.len() + missing.len());
        let best = unchanged
            .iter()
            .enumerate()
            .filter_map(|(index, slice)| Some((room(slice)?, index)))
            .filter(|(room, _)| *room < endpoints_max)
            .min();
        if let Some((_, index)) = best {
            let mut slice = unchanged.swap_remove(index);
            slice.endpoints.extend(missing.drain(..));
            updates.push(slice);
        }
    }
    while !missing.is_empty() {
        let mut slice = blank();
        slice.ports = group.ports.iter().cloned().collect();
        slice.endpoints = missing.drain(..endpoints_max.min(missing.len())).collect();
        changes.create.push(slice);
    }
    changes.update.extend(updates);
}

/// Turns a create and a delete into one update, which readers follow with less noise.
fn reuse(changes: &mut Changes) {
    let mut index = 0;
    while index < changes.delete.len() && !changes.create.is_empty() {
        let old = &changes.delete[index];
        let Some(new) = changes.create.last() else { break };
        let same_owner = old.metadata.owner_references.iter().map(|owner| &owner.uid).eq(new
            .metadata
            .owner_references
            .iter()
            .map(|owner| &owner.uid));
        if old.address_type != new.address_type || !same_owner {
            index += 1;
            continue;
        }
        let mut slice = changes.delete.remove(index);
        if let Some(new) = changes.create.pop() {
            slice.endpoints = new.endpoints;
            slice.ports = new.ports;
            slice.metadata.labels = new.metadata.labels;
            changes.update.push(slice);
        }
    }
}

impl Changes {
    /// Takes over what is to be done about more slices of the same Service.
    pub(super) fn extend(&mut self, more: Changes) {
        self.create.extend(more.create);
        self.update.extend(more.update);
        self.delete.extend(more.delete);
        self.endpoints += more.endpoints;
        self.added += more.added;
        self.removed += more.removed;
        self.updated += more.updated;
        self.slices_least += more.slices_least;
    }

    /// Appends the writes, which are counted.
    pub(super) fn plan(self, plan: &mut Plan, measures: &Measures) {
        let creates = self.create.into_iter().map(|slice| measures.counted(0, Write::create(slice)));
        let updates = self.update.into_iter().map(|slice| measures.counted(1, Write::update(slice)));
        let deletes = self.delete.iter().map(|slice| measures.counted(2, Write::delete(slice)));
        let writes = creates.chain(updates).chain(deletes).collect();
        plan.all(writes);
    }
}
