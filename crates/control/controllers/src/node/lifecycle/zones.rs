//! Whether a zone is in a state in which pods may be evicted.
//!
//! When many nodes of a zone fall silent at once, the fault is often the network's and not the nodes'.

use std::collections::BTreeMap;
use std::sync::Arc;

use reconcile::World;
use types::core::v1::Node;

use super::super::{condition, metrics};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// Share of silent nodes from which a zone counts as disrupted.
const UNHEALTHY_PERCENT: usize = 55;
/// Zones up to this many nodes evict nothing while disrupted.
const LARGE_ZONE: usize = 50;

fn zone(node: &Node) -> (Option<&str>, Option<&str>) {
    let label = |key| node.metadata.labels.get(key).map(|value| value.as_str());
    (label(REGION), label(ZONE))
}

/// What metrics call the node's zone: region and zone, or nothing.
pub(super) fn name(node: &Node) -> String {
    match zone(node) {
        (None, None) => String::new(),
        (region, zone) => format!("{}:\0:{}", region.unwrap_or_default(), zone.unwrap_or_default()),
    }
}

/// Measures the zones of all `nodes`, `turned` being the one that made it necessary.
pub(super) fn measure(nodes: &[Arc<Node>], turned: &Node) {
    let mut zones: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for node in nodes {
        let (all, ready) = zones.entry(name(node)).or_default();
        *all += 1;
        *ready += usize::from(is_ready(node));
    }
    let own = name(turned);
    if !zones.contains_key(&own) {
        metrics::zone_gone(&own);
    }
    zones.iter().for_each(|(name, (all, ready))| metrics::zone(name, *all, *ready));
}

fn is_ready(node: &Node) -> bool {
    condition(node, "Ready") == "True"
}

/// Whether there are nodes and none is ready.
pub(super) fn all_down(world: &World) -> bool {
    let nodes = world.list_all::<Node>();
    !nodes.is_empty() && !nodes.iter().any(|node| is_ready(node))
}

/// Whether pods of `node` may be evicted although it does not answer.
pub(super) fn may_evict(node: &Node, world: &World) -> bool {
    let nodes = world.list_all::<Node>();
    if !nodes.iter().any(|node| is_ready(node)) {
        return false;
    }
    let neighbours: Vec<&Arc<Node>> = nodes.iter().filter(|other| zone(other) == zone(node)).collect();
    let down = neighbours.iter().filter(|node| !is_ready(node)).count();
    let all = down == neighbours.len();
    let partly = down > 2 && down * 100 >= neighbours.len() * UNHEALTHY_PERCENT;
    // A zone that is down as a whole while others answer has really lost its nodes.
    all || !partly || neighbours.len() > LARGE_ZONE
}
