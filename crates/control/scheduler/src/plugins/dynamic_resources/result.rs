//! What a search found, as a claim's status has it.

use meta::{List, Map, Quantity, Str};
use types::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use types::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
    ResourceClaim,
};

use super::allocate::{Allocation, Taken};
use super::request::{Request, Way};
use crate::cluster::Cluster;
use crate::devices::short_name;

/// The allocation of one claim from the devices that were taken for it.
pub(super) fn result(
    cluster: &Cluster,
    (claim, requests): (&ResourceClaim, &[Request]),
    taken: &[&Taken<'_>],
    node: &str,
) -> Allocation {
    // The way in which each request was satisfied, in the order of the requests.
    let chosen: Vec<(&Request, &Way)> = requests
        .iter()
        .filter_map(|request| {
            let way = taken.iter().find(|one| one.request.name == request.name).map(|one| one.way);
            Some((request, way.or_else(|| request.ways.first())?))
        })
        .collect();
    let results = taken.iter().map(|one| device(one)).collect();
    Allocation {
        preference: chosen.iter().map(|(_, way)| way.preference).sum(),
        result: AllocationResult {
            devices: DeviceAllocationResult { results, config: configuration(cluster, claim, &chosen) },
            node_selector: node_selector(taken, node),
            allocation_timestamp: None,
        },
    }
}

fn device(taken: &Taken<'_>) -> DeviceRequestAllocationResult {
    let device = taken.device.device();
    DeviceRequestAllocationResult {
        request: taken.way.name.clone(),
        driver: taken.device.driver().clone(),
        pool: taken.device.pool().clone(),
        device: device.name.clone(),
        admin_access: taken.way.admin_access.then_some(true),
        tolerations: taken.way.tolerations.iter().cloned().collect(),
        binding_conditions: device.binding_conditions.clone(),
        binding_failure_conditions: device.binding_failure_conditions.clone(),
        // Who writes the allocation gives shares their identity.
        share_id: taken.device.is_shared().then(Str::default),
        consumed_capacity: if taken.device.is_shared() { consumed(taken) } else { Map::new() },
    }
}

/// What the classes prescribe, each once for all of its requests, then what the claim gives for requests that were met.
fn configuration(
    cluster: &Cluster,
    claim: &ResourceClaim,
    chosen: &[(&Request, &Way)],
) -> List<DeviceAllocationConfiguration> {
    let mut classes: Vec<(&Str, Vec<Str>)> = Vec::new();
    for (_, way) in chosen {
        match classes.iter_mut().find(|(class, _)| *class == &way.class) {
            Some((_, names)) => names.push(way.name.clone()),
            None => classes.push((&way.class, vec![way.name.clone()])),
        }
    }
    let mut all = Vec::new();
    for (name, requests) in classes {
        let class = cluster.device_classes.get(name);
        for given in class.into_iter().flat_map(|class| class.spec.config.iter()) {
            all.push(DeviceAllocationConfiguration {
                source: "FromClass".into(),
                requests: requests.iter().cloned().collect(),
                opaque: given.opaque.clone(),
            });
        }
    }
    for given in &claim.spec.devices.config {
        // As upstream has it: once for every request that it names.
        let times = match given.requests.is_empty() {
            true => 1,
            false => {
                let named = |(request, way): &&(&Request, &Way)| {
                    given.requests.contains(&request.name) || given.requests.contains(&way.name)
                };
                chosen.iter().filter(named).count()
            }
        };
        for _ in 0..times {
            all.push(DeviceAllocationConfiguration {
                source: "FromClaim".into(),
                requests: given.requests.clone(),
                opaque: given.opaque.clone(),
            });
        }
    }
    all.into_iter().collect()
}

/// What was taken of the device's capacities, under the names and in the notation that the device has for them.
fn consumed(taken: &Taken<'_>) -> Map<Quantity> {
    let driver = taken.device.driver();
    let each = taken.device.device().capacity.iter().filter_map(|(name, capacity)| {
        let amount = taken.amounts.get(&short_name(driver, name))?;
        Some((name.clone(), Quantity::from_nanos(*amount, capacity.value.format())))
    });
    each.collect()
}

/// Where the devices can be used: on one node as soon as one of them is a node's own, else where all their selectors say.
fn node_selector(taken: &[&Taken<'_>], node: &str) -> Option<Box<NodeSelector>> {
    let mut merged: Option<NodeSelectorTerm> = None;
    for one in taken {
        let (spec, device) = (&one.device.slice.spec, one.device.device());
        let (name, selector) = match spec.per_device_node_selection {
            Some(true) => (&device.node_name, &device.node_selector),
            _ => (&spec.node_name, &spec.node_selector),
        };
        if name.is_some() || device.binds_to_node == Some(true) {
            let pin = NodeSelectorRequirement {
                key: "metadata.name".into(),
                operator: "In".into(),
                values: [Str::from(node)].into_iter().collect(),
            };
            let term =
                NodeSelectorTerm { match_fields: [pin].into_iter().collect(), ..NodeSelectorTerm::default() };
            return Some(Box::new(NodeSelector { node_selector_terms: [term].into_iter().collect() }));
        }
        if let Some(term) = selector.as_ref().and_then(|selector| selector.node_selector_terms.first()) {
            let all = merged.get_or_insert_default();
            for requirement in term.match_expressions.iter() {
                if !all.match_expressions.contains(requirement) {
                    all.match_expressions.push(requirement.clone());
                }
            }
            for requirement in term.match_fields.iter() {
                if !all.match_fields.contains(requirement) {
                    all.match_fields.push(requirement.clone());
                }
            }
        }
    }
    merged.map(|term| Box::new(NodeSelector { node_selector_terms: [term].into_iter().collect() }))
}
