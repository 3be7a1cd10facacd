//! Finds devices for the claims of one pod on one node: a depth-first search over requests, their alternatives and the
//! devices within reach, which keeps constraints and what others have. The first solution is taken; devices of one
//! request are tried in ascending order only, since their order makes no difference.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use types::resource::v1::{AllocationResult, Device, DeviceAttribute, DeviceConstraint, ResourceClaim};

use super::capacity;
use super::pools::{Condition, Pool, Reachable, pools};
use super::request::{Count, Request, Way, covers, full_name, requests};
use super::result::result;
use crate::cluster::Cluster;
use crate::devices::{Amounts, DeviceId};
use crate::snapshot::NodeRow;

/// Most devices of one claim.
const DEVICES_MAX: usize = 32;
/// Most devices of one pod: each is a level of the search, and the stack ends somewhere.
const DEPTH_MAX: usize = 512;
/// So many steps pass between two looks at the clock.
const STEPS_UNTIMED: usize = 1024;
/// What a search that takes too long is told as.
pub(super) const LATE: &str = "timed out trying to allocate devices";

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A claim or a class is wrong: no node is worth another try.
    Fatal(String),
    /// This node will not do, for this reason.
    Node(&'static str),
}

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
    pub(super) claims: Vec<(Arc<ResourceClaim>, Vec<Request>)>,
    /// How long the search for one node may take.
    pub(super) patience: Option<Duration>,
}

impl Allocator {
    /// For claims that have no devices yet; `patience` is how long the search may take for one node.
    ///
    /// # Errors
    /// A class that does not exist.
    pub fn new(
        cluster: &Cluster,
        claims: Vec<Arc<ResourceClaim>>,
        patience: Option<Duration>,
    ) -> Result<Self, String> {
        let each = claims.into_iter().map(|claim| {
            let requests = requests(cluster, &claim)?;
            Ok((claim, requests))
        });
        Ok(Allocator { claims: each.collect::<Result<_, String>>()?, patience })
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

    /// The claims.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<ResourceClaim>> {
        self.claims.iter().map(|(claim, _)| claim)
    }

    /// What each claim gets on the node; `None` when not all get theirs. The places of the pools that were looked at go to
    /// `looked_at`.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn allocate(
        &self,
        cluster: &Cluster,
        node: &str,
        row: &NodeRow,
        looked_at: &mut Vec<u32>,
    ) -> Result<Option<Vec<Allocation>>, Trouble> {
        let pools = pools(cluster, node, row);
        looked_at.extend(pools.iter().filter_map(|pool| cluster.pool_place(&pool.driver, &pool.name)));
        let mut search = Search {
            allocator: self,
            cluster,
            pools: &pools,
            taken: Vec::new(),
            all: HashMap::new(),
            suits: HashMap::new(),
            steps: 0,
            until: self.patience.and_then(|patience| Instant::now().checked_add(patience)),
        };
        match search.prepare().and_then(|()| search.request(0, 0)) {
            Ok(true) => {}
            Ok(false) | Err(Stop::TooMany) => {
                let invalid = pools.iter().any(|pool| pool.condition == Condition::Invalid);
                return match invalid {
                    true => Err(Trouble::Node("invalid resource pools were encountered")),
                    false => Ok(None),
                };
            }
            Err(Stop::Late) => return Err(Trouble::Node(LATE)),
            Err(Stop::Deep) => return Err(Trouble::Node("too many devices for one pod")),
            Err(Stop::Fatal(error)) => return Err(Trouble::Fatal(error)),
        }
        let Search { taken, .. } = search;
        let each = self.claims.iter().enumerate().map(|(at, (claim, requests))| {
            let own: Vec<&Taken<'_>> = taken.iter().filter(|one| one.claim == at).collect();
            result(cluster, (claim, requests), &own, node)
        });
        Ok(Some(each.collect()))
    }
}

/// A device that a request gets.
pub(super) struct Taken<'a> {
    claim: usize,
    pub(super) request: &'a Request,
    pub(super) way: &'a Way,
    pub(super) device: Reachable,
    /// What it takes of the device's capacity.
    pub(super) amounts: Amounts,
    /// Whether it draws from the pool's counters.
    draws: bool,
}

/// Why a branch of the search ends.
enum Stop {
    /// More devices than a claim may have.
    TooMany,
    /// Time is up.
    Late,
    /// More devices than a search goes down.
    Deep,
    Fatal(String),
}

/// A device by the places of its pool and in it.
type Place = (usize, usize);

struct Search<'a> {
    allocator: &'a Allocator,
    cluster: &'a Cluster,
    pools: &'a [Pool],
    taken: Vec<Taken<'a>>,
    /// The devices of ways that want all of them, by the way's address.
    all: HashMap<*const Way, Vec<Place>>,
    /// Whether a device meets a way's conditions, by the addresses of both.
    suits: HashMap<(*const Way, Place), bool>,
    steps: usize,
    until: Option<Instant>,
}

impl<'a> Search<'a> {
    /// Finds out how many devices are wanted at least, and what "all" means.
    fn prepare(&mut self) -> Result<(), Stop> {
        let allocator = self.allocator;
        for (claim, requests) in &allocator.claims {
            let mut least = 0;
            for request in requests {
                let mut fewest = usize::MAX;
                for way in &request.ways {
                    fewest = fewest.min(match way.count {
                        Count::Exactly(count) => count,
                        Count::All => self.find_all(claim, way)?,
                    });
                }
                least += fewest;
            }
            if least > DEVICES_MAX {
                return Err(Stop::Fatal(format!(
                    "claim {}: number of requested devices {least} exceeds the claim limit of {DEVICES_MAX}",
                    full_name(claim)
                )));
            }
        }
        Ok(())
    }

    fn find_all(&mut self, claim: &ResourceClaim, way: &'a Way) -> Result<usize, Stop> {
        let mut found = Vec::new();
        for (at, pool) in self.pools.iter().enumerate() {
            let trouble = match pool.condition {
                Condition::Ready => None,
                Condition::Incomplete => Some("being updated"),
                Condition::Invalid => Some("invalid"),
            };
            if let Some(trouble) = trouble {
                return Err(Stop::Fatal(format!(
                    "claim {}, request {}: asks for all devices, but resource pool {}/{} is currently {trouble}",
                    full_name(claim),
                    way.short,
                    pool.driver,
                    pool.name
                )));
            }
            for (device_at, device) in pool.devices.iter().enumerate() {
                if self.suits(way, (at, device_at))? && self.amounts(device, way).is_some() {
                    found.push((at, device_at));
                }
            }
        }
        let count = found.len();
        self.all.insert(std::ptr::from_ref(way), found);
        Ok(count)
    }

    /// Satisfies the requests of the claims from this one on.
    fn request(&mut self, claim: usize, at: usize) -> Result<bool, Stop> {
        let allocator = self.allocator;
        let Some((_, requests)) = allocator.claims.get(claim) else { return Ok(true) };
        let Some(wanted) = requests.get(at) else {
            return match self.request(claim + 1, 0) {
                Err(Stop::TooMany) => Ok(false),
                outcome => outcome,
            };
        };
        let mut always_too_many = wanted.ways.len() > 1 || wanted.ways[0].preference != 0;
        for way in &wanted.ways {
            match self.way(claim, at, wanted, way) {
                Err(Stop::TooMany) if way.preference != 0 => {}
                Ok(false) => always_too_many = false,
                outcome => return outcome,
            }
        }
        if always_too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    /// Satisfies a request in one way, and all that come after it.
    fn way(&mut self, claim: usize, at: usize, request: &'a Request, way: &'a Way) -> Result<bool, Stop> {
        let wanted = self.all.get(&std::ptr::from_ref(way)).cloned();
        let count = match (way.count, &wanted) {
            (Count::Exactly(count), _) => count,
            (Count::All, Some(wanted)) if !wanted.is_empty() => wanted.len(),
            (Count::All, _) => return Ok(false),
        };
        let before = self.taken.iter().filter(|one| one.claim == claim).count();
        if before + count > DEVICES_MAX {
            return Err(Stop::TooMany);
        }
        match wanted {
            Some(wanted) => self.these(claim, at, request, way, &wanted),
            None => self.some(claim, at, request, way, (count, (0, 0))),
        }
    }

    /// Takes `left` devices, the first of them from `from` on.
    fn some(
        &mut self,
        claim: usize,
        at: usize,
        request: &'a Request,
        way: &'a Way,
        (left, from): (usize, Place),
    ) -> Result<bool, Stop> {
        if left == 0 {
            return self.request(claim, at + 1);
        }
        let pools = self.pools;
        for (pool_at, pool) in pools.iter().enumerate().skip(from.0) {
            let first = if pool_at == from.0 { from.1 } else { 0 };
            for device_at in first..pool.devices.len() {
                self.step()?;
                let place = (pool_at, device_at);
                let device = &pool.devices[device_at];
                if self.is_in_use(claim, device, way) || !self.suits(way, place)? {
                    continue;
                }
                if !self.take(claim, request, way, place, false)? {
                    continue;
                }
                if self.some(claim, at, request, way, (left - 1, (pool_at, device_at + 1)))? {
                    return Ok(true);
                }
                self.taken.pop();
            }
        }
        Ok(false)
    }

    /// Takes all of these devices or none.
    fn these(
        &mut self,
        claim: usize,
        at: usize,
        request: &'a Request,
        way: &'a Way,
        wanted: &[Place],
    ) -> Result<bool, Stop> {
        let before = self.taken.len();
        for place in wanted {
            self.step()?;
            if !self.take(claim, request, way, *place, true)? {
                self.taken.truncate(before);
                return Ok(false);
            }
        }
        let outcome = self.request(claim, at + 1);
        if !matches!(outcome, Ok(true)) {
            self.taken.truncate(before);
        }
        outcome
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.taken.len() > DEPTH_MAX {
            return Err(Stop::Deep);
        }
        let late = self.steps.is_multiple_of(STEPS_UNTIMED)
            && self.until.is_some_and(|until| Instant::now() > until);
        if late { Err(Stop::Late) } else { Ok(()) }
    }

    /// Whether somebody has the device for himself, or this claim does already.
    fn is_in_use(&self, claim: usize, device: &Reachable, way: &Way) -> bool {
        let id = device.id();
        let mut own = self.taken.iter().filter(|one| !device.is_shared() && one.device.id() == id);
        match way.admin_access {
            true => own.any(|one| one.claim == claim),
            false => self.cluster.devices().is_taken(&id) || own.next().is_some(),
        }
    }

    /// Takes the device when it is free, suits the taints that are tolerated and keeps the claim's constraints. Where
    /// `must`, a constraint that no other device could keep is an error.
    fn take(
        &mut self,
        claim: usize,
        request: &'a Request,
        way: &'a Way,
        (pool_at, device_at): Place,
        must: bool,
    ) -> Result<bool, Stop> {
        let pools = self.pools;
        let pool = &pools[pool_at];
        let device = &pool.devices[device_at];
        if self.is_in_use(claim, device, way) {
            return Ok(false);
        }
        // Who shares a device that is in use draws nothing more from its counters.
        let draws = match device.is_shared() {
            true => !self.is_shared_now(device),
            false => true,
        } && !device.device().consumes_counters.is_empty();
        if (draws && !self.has_counters(pool, device)) || !tolerated(device.device(), way) {
            return Ok(false);
        }
        let (object, _) = &self.allocator.claims[claim];
        let constraints = &object.spec.devices.constraints;
        if !constraints.iter().all(|one| self.keeps(one, claim, request, way, device)) {
            if must {
                return Err(Stop::Fatal(format!(
                    "claim {}, request {}: cannot add device {}/{}/{} because a claim constraint would not be satisfied",
                    full_name(object),
                    way.short,
                    pool.driver,
                    pool.name,
                    device.device().name
                )));
            }
            return Ok(false);
        }
        let Some(amounts) = self.amounts(device, way) else { return Ok(false) };
        self.taken.push(Taken { claim, request, way, device: device.clone(), amounts, draws });
        Ok(true)
    }

    /// What the request would take of the device's capacity; `None` when not so much is left.
    fn amounts(&self, device: &Reachable, way: &Way) -> Option<Amounts> {
        let id = device.id();
        let own = self.taken.iter().filter(|one| one.device.is_shared() && one.device.id() == id);
        let mut consumed: Vec<&Amounts> = own.map(|one| &one.amounts).collect();
        consumed.extend(self.cluster.devices().shared(&id));
        capacity::take(device.device(), &way.capacity, device.driver(), &consumed)
    }

    /// Whether somebody has a share of the device.
    fn is_shared_now(&self, device: &Reachable) -> bool {
        let id = device.id();
        self.cluster.devices().shared(&id).is_some() || self.taken.iter().any(|one| one.device.id() == id)
    }

    /// Whether the counters that the device draws from (KEP-4815) have enough left beside all devices in use. They may be
    /// in slices of their own, and devices of other nodes may draw from them.
    fn has_counters(&self, pool: &Pool, device: &Reachable) -> bool {
        let in_use = self.cluster.devices();
        let is_used = |name: &meta::Str| {
            let id: DeviceId = (pool.driver.clone(), pool.name.clone(), name.clone());
            in_use.is_taken(&id) || in_use.shared(&id).is_some()
        };
        device.device().consumes_counters.iter().all(|wanted| {
            let Some(set) = pool.counters().find(|set| set.name == wanted.counter_set) else { return false };
            wanted.counters.iter().all(|(name, amount)| {
                let Some(available) = set.counters.get(name) else { return false };
                let drawn = |other: &Device| -> i128 {
                    let sets =
                        other.consumes_counters.iter().filter(|one| one.counter_set == wanted.counter_set);
                    sets.filter_map(|one| one.counters.get(name)).map(|counter| counter.value.nanos()).sum()
                };
                let others = pool.slices.iter().flat_map(|slice| slice.spec.devices.iter());
                let others =
                    others.filter(|other| !other.consumes_counters.is_empty() && is_used(&other.name));
                let own = self.taken.iter().filter(|one| {
                    one.draws && *one.device.driver() == pool.driver && *one.device.pool() == pool.name
                });
                let used: i128 =
                    others.map(drawn).sum::<i128>() + own.map(|one| drawn(one.device.device())).sum::<i128>();
                used + amount.value.nanos() <= available.value.nanos()
            })
        })
    }

    /// Whether the device meets all conditions and is for the node.
    fn suits(&mut self, way: &'a Way, place: Place) -> Result<bool, Stop> {
        let key = (std::ptr::from_ref(way), place);
        if let Some(known) = self.suits.get(&key) {
            return Ok(*known);
        }
        let device = &self.pools[place.0].devices[place.1];
        let mut suits = true;
        for condition in &way.conditions {
            let selected = self.cluster.selectors.select(&condition.expression, device);
            suits = selected.map_err(|error| Stop::Fatal(format!("{}: {error}", condition.whose)))?;
            if !suits {
                break;
            }
        }
        suits = suits && device.here;
        self.suits.insert(key, suits);
        Ok(suits)
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
    let mut keeps_away =
        device.taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    keeps_away.all(|taint| {
        way.tolerations.iter().any(|toleration| {
            (toleration.effect.is_empty() || toleration.effect == taint.effect)
                && (toleration.key.is_empty() || toleration.key == taint.key)
                && match toleration.operator.as_str() {
                    "" | "Equal" => toleration.value == taint.value,
                    operator => operator == "Exists",
                }
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
