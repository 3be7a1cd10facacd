//! Finds devices for the claims of one pod on one node: a depth-first search over requests, their alternatives and the
//! devices within reach, which keeps constraints and what others have.

use std::collections::HashMap;
use std::sync::Arc;

use meta::{Map, Quantity, Str};
use types::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use types::resource::v1::{
    AllocationResult, Device, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceAttribute,
    DeviceConstraint, DeviceRequestAllocationResult, ResourceClaim,
};

use super::capacity;
use super::pools::{Pool, Reachable, pools};
use super::request::{Count, Request, Way, covers, requests};
use crate::cluster::Cluster;
use crate::devices::{Amounts, DeviceId, short_name};
use crate::snapshot::NodeRow;

/// Most devices of one claim.
const DEVICES_MAX: usize = 32;
/// Most steps of one search: a bound for claims that are made to be hard.
const STEPS_MAX: usize = 200_000;

/// What a claim gets.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// For the claim's status.
    pub result: AllocationResult,
    /// Points for preferred alternatives.
    pub preference: i64,
}

/// Finds devices for claims.
pub struct Allocator {
    claims: Vec<(Arc<ResourceClaim>, Vec<Request>)>,
}

impl Allocator {
    /// For claims that have no devices yet.
    ///
    /// # Errors
    /// A class that does not exist, a selector that does not compile.
    pub fn new(cluster: &Cluster, claims: Vec<Arc<ResourceClaim>>) -> Result<Self, String> {
        let mut with_requests = Vec::new();
        for claim in claims {
            let requests = requests(cluster, &claim)?;
            for expression in requests.iter().flat_map(|one| &one.ways).flat_map(|way| &way.selectors) {
                cluster.selectors.add(expression)?;
            }
            with_requests.push((claim, requests));
        }
        Ok(Allocator { claims: with_requests })
    }

    /// Whether some request has alternatives, of which one may be preferred.
    pub fn has_alternatives(&self) -> bool {
        let requests = self.claims.iter().flat_map(|(_, requests)| requests);
        requests.flat_map(|request| &request.ways).any(|way| way.preference != 0)
    }

    /// Whether there is nothing to find.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// What each claim gets on the node; `None` when not all get theirs.
    ///
    /// # Errors
    /// A selector that fails on some device.
    pub fn allocate(
        &self,
        cluster: &Cluster,
        node: &str,
        row: &NodeRow,
    ) -> Result<Option<Vec<Allocation>>, String> {
        let pools = pools(cluster, node, row);
        let mut search = Search {
            allocator: self,
            cluster,
            pools: &pools,
            taken: Vec::new(),
            steps: 0,
            matches: HashMap::new(),
        };
        if !search.claim(0, 0)? {
            return Ok(None);
        }
        let Search { taken, .. } = search;
        let each = self.claims.iter().enumerate().map(|(at, (claim, _))| {
            let own: Vec<&Taken> = taken.iter().filter(|one| one.claim == at).collect();
            result(cluster, claim, &own, node)
        });
        Ok(Some(each.collect()))
    }
}

/// A device that a request gets.
struct Taken<'a> {
    claim: usize,
    request: &'a Request,
    way: &'a Way,
    device: Reachable,
    /// What it takes of the device's capacity.
    amounts: Amounts,
}

struct Search<'a> {
    allocator: &'a Allocator,
    cluster: &'a Cluster,
    pools: &'a [Pool],
    taken: Vec<Taken<'a>>,
    steps: usize,
    /// Whether a device meets a way's selectors, by the addresses of both.
    matches: HashMap<(*const Way, DeviceId), bool>,
}

impl<'a> Search<'a> {
    /// Satisfies the requests of the claims from this one on.
    fn claim(&mut self, claim: usize, request: usize) -> Result<bool, String> {
        let allocator = self.allocator;
        let Some((_, requests)) = allocator.claims.get(claim) else { return Ok(true) };
        let Some(wanted) = requests.get(request) else {
            if self.taken.iter().filter(|one| one.claim == claim).count() > DEVICES_MAX {
                return Ok(false);
            }
            return self.claim(claim + 1, 0);
        };
        for way in &wanted.ways {
            let done = match way.count {
                Count::Exactly(count) => self.some(claim, request, wanted, way, count)?,
                Count::All => self.all(claim, request, wanted, way)?,
            };
            if done {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn some(
        &mut self,
        claim: usize,
        at: usize,
        request: &'a Request,
        way: &'a Way,
        left: usize,
    ) -> Result<bool, String> {
        if left == 0 {
            return self.claim(claim, at + 1);
        }
        for pool in self.pools {
            for device in &pool.devices {
                self.steps += 1;
                if self.steps > STEPS_MAX {
                    return Ok(false);
                }
                let Some(amounts) = self.free(claim, device, way) else { continue };
                if !self.suits(device, way)? || !self.keeps_constraints(claim, request, way, device) {
                    continue;
                }
                self.taken.push(Taken { claim, request, way, device: device.clone(), amounts });
                if self.some(claim, at, request, way, left - 1)? {
                    return Ok(true);
                }
                self.taken.pop();
            }
        }
        Ok(false)
    }

    fn all(&mut self, claim: usize, at: usize, request: &'a Request, way: &'a Way) -> Result<bool, String> {
        let before = self.taken.len();
        for pool in self.pools {
            if pool.incomplete {
                return Ok(self.back_to(before));
            }
            for device in &pool.devices {
                if !self.suits(device, way)? {
                    continue;
                }
                let Some(amounts) = self.free(claim, device, way) else { return Ok(self.back_to(before)) };
                if !self.keeps_constraints(claim, request, way, device) {
                    return Ok(self.back_to(before));
                }
                self.taken.push(Taken { claim, request, way, device: device.clone(), amounts });
            }
        }
        if self.taken.len() == before || !self.claim(claim, at + 1)? {
            return Ok(self.back_to(before));
        }
        Ok(true)
    }

    fn back_to(&mut self, length: usize) -> bool {
        self.taken.truncate(length);
        false
    }

    /// What the request would take of the device; `None` when others have it, or too much of it.
    fn free(&self, claim: usize, device: &Reachable, way: &Way) -> Option<Amounts> {
        let (id, in_use) = (device.id(), self.cluster.devices());
        let shared = device.device().allow_multiple_allocations == Some(true);
        let others = || self.taken.iter().filter(|one| one.device.id() == id);
        if way.admin_access {
            let twice = !shared && others().any(|one| one.claim == claim);
            return (!twice).then(Amounts::new);
        }
        if in_use.is_taken(&id) || (!shared && others().any(|one| !one.way.admin_access)) {
            return None;
        }
        let mut consumed: Vec<&Amounts> =
            others().filter(|one| !one.way.admin_access).map(|one| &one.amounts).collect();
        consumed.extend(in_use.shared(&id));
        // Who shares a device that is in use draws nothing more from its counters.
        if (!shared || consumed.is_empty()) && !self.has_counters(device) {
            return None;
        }
        capacity::take(device.driver(), device.device(), &way.capacity, &consumed)
    }

    /// Whether the counters that the device draws from (KEP-4815) have enough left beside all devices in use. They may be
    /// in slices of their own, and devices of other nodes may draw from them.
    fn has_counters(&self, device: &Reachable) -> bool {
        let generation = device.slice.spec.pool.generation;
        let slices = || {
            let all = self.cluster.pool(device.driver(), device.pool());
            all.filter(move |slice| slice.spec.pool.generation == generation)
        };
        device.device().consumes_counters.iter().all(|wanted| {
            let mut sets = slices().flat_map(|slice| slice.spec.shared_counters.iter());
            let Some(set) = sets.find(|set| set.name == wanted.counter_set) else { return false };
            wanted.counters.iter().all(|(name, amount)| {
                let Some(available) = set.counters.get(name) else { return false };
                let used: i128 = slices()
                    .flat_map(|slice| slice.spec.devices.iter())
                    .filter(|other| !other.consumes_counters.is_empty() && self.is_used(device, &other.name))
                    .flat_map(|other| other.consumes_counters.iter())
                    .filter(|other| other.counter_set == wanted.counter_set)
                    .filter_map(|other| other.counters.get(name))
                    .map(|counter| counter.value.nanos())
                    .sum();
                used + amount.value.nanos() <= available.value.nanos()
            })
        })
    }

    /// Whether somebody has the device of this name in the same pool, or a share of it.
    fn is_used(&self, device: &Reachable, name: &Str) -> bool {
        let id = (device.driver().clone(), device.pool().clone(), name.clone());
        let in_use = self.cluster.devices();
        in_use.is_taken(&id)
            || in_use.shared(&id).is_some()
            || self.taken.iter().any(|one| one.device.id() == id)
    }

    /// Whether the device has no taint that the request does not tolerate, and meets all selectors.
    fn suits(&mut self, device: &Reachable, way: &'a Way) -> Result<bool, String> {
        let key = (std::ptr::from_ref(way), device.id());
        if let Some(known) = self.matches.get(&key) {
            return Ok(*known);
        }
        let mut suits = tolerated(device.device(), way);
        for expression in &way.selectors {
            suits = suits && self.cluster.selectors.select(expression, device)?;
        }
        self.matches.insert(key, suits);
        Ok(suits)
    }

    fn keeps_constraints(&self, claim: usize, request: &Request, way: &Way, device: &Reachable) -> bool {
        let constraints = self.allocator.claims[claim].0.spec.devices.constraints.iter();
        constraints.into_iter().all(|constraint| self.keeps(constraint, claim, request, way, device))
    }

    fn keeps(
        &self,
        constraint: &DeviceConstraint,
        claim: usize,
        request: &Request,
        way: &Way,
        device: &Reachable,
    ) -> bool {
        if !covers(&constraint.requests, &request.name, &way.name) {
            return true;
        }
        let mut others = self.taken.iter().filter(|one| {
            one.claim == claim && covers(&constraint.requests, &one.request.name, &one.way.name)
        });
        if let Some(name) = &constraint.match_attribute {
            let Some(own) = attribute(device, name) else { return false };
            return others.all(|other| attribute(&other.device, name) == Some(own));
        }
        if let Some(name) = &constraint.distinct_attribute {
            let Some(own) = attribute(device, name) else { return false };
            return others.all(|other| attribute(&other.device, name).is_some_and(|other| other != own));
        }
        true
    }
}

fn tolerated(device: &Device, way: &Way) -> bool {
    let keeps_away =
        device.taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    keeps_away.into_iter().all(|taint| {
        way.tolerations.iter().any(|toleration| {
            (toleration.effect.is_empty() || toleration.effect == taint.effect)
                && (toleration.key.is_empty() || toleration.key == taint.key)
                && (toleration.operator == "Exists" || toleration.value == taint.value)
        })
    })
}

/// A device's attribute by its full name; names without a domain are in the driver's.
fn attribute<'a>(device: &'a Reachable, name: &str) -> Option<&'a DeviceAttribute> {
    let attributes = &device.device().attributes;
    attributes.get(name).or_else(|| {
        let (domain, short) = name.split_once('/')?;
        if *device.driver() == domain { attributes.get(short) } else { None }
    })
}

fn result(cluster: &Cluster, claim: &ResourceClaim, taken: &[&Taken<'_>], node: &str) -> Allocation {
    let mut results = Vec::new();
    for one in taken {
        let device = one.device.device();
        let shared = device.allow_multiple_allocations == Some(true);
        results.push(DeviceRequestAllocationResult {
            request: one.way.name.clone(),
            driver: one.device.driver().clone(),
            pool: one.device.pool().clone(),
            device: device.name.clone(),
            admin_access: one.way.admin_access.then_some(true),
            tolerations: one.way.tolerations.iter().cloned().collect(),
            binding_conditions: device.binding_conditions.clone(),
            binding_failure_conditions: device.binding_failure_conditions.clone(),
            // Who writes the allocation gives shares their identity.
            share_id: shared.then(Str::default),
            consumed_capacity: if shared { consumed(one) } else { Map::new() },
        });
    }
    let mut config = Vec::new();
    let mut ways: Vec<(&Request, &Way)> = Vec::new();
    for one in taken {
        if !ways.iter().any(|(_, way)| way.name == one.way.name) {
            ways.push((one.request, one.way));
        }
    }
    for (_, way) in &ways {
        let class = cluster.device_classes.get(&way.class);
        for given in class.into_iter().flat_map(|class| class.spec.config.iter()) {
            config.push(DeviceAllocationConfiguration {
                source: "FromClass".into(),
                requests: [way.name.clone()].into_iter().collect(),
                opaque: given.opaque.clone(),
            });
        }
    }
    for given in &claim.spec.devices.config {
        if given.requests.is_empty()
            || ways.iter().any(|(request, way)| covers(&given.requests, &request.name, &way.name))
        {
            config.push(DeviceAllocationConfiguration {
                source: "FromClaim".into(),
                requests: given.requests.clone(),
                opaque: given.opaque.clone(),
            });
        }
    }
    Allocation {
        preference: ways.iter().map(|(_, way)| way.preference).sum(),
        result: AllocationResult {
            devices: DeviceAllocationResult {
                results: results.into_iter().collect(),
                config: config.into_iter().collect(),
            },
            node_selector: node_selector(taken, node),
            allocation_timestamp: None,
        },
    }
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
        if spec.node_name.is_some() || device.node_name.is_some() {
            let pin = NodeSelectorRequirement {
                key: "metadata.name".into(),
                operator: "In".into(),
                values: [Str::from(node)].into_iter().collect(),
            };
            let term =
                NodeSelectorTerm { match_fields: [pin].into_iter().collect(), ..NodeSelectorTerm::default() };
            return Some(Box::new(NodeSelector { node_selector_terms: [term].into_iter().collect() }));
        }
        let selector = spec.node_selector.as_ref().or(device.node_selector.as_ref());
        if let Some(term) = selector.and_then(|selector| selector.node_selector_terms.first()) {
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
