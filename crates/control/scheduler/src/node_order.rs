//! The order in which nodes are looked at: one node of each zone in turn, so that a search that stops early still sees
//! every zone.

use hashbrown::HashMap;
use meta::Str;
use types::core::v1::Node;

/// Nodes by zone, zones and nodes in the order in which they came.
#[derive(Default)]
pub struct NodeOrder {
    zones: Vec<(Str, Vec<u32>)>,
    zone_of: HashMap<u32, Str>,
    flat: Vec<u32>,
    /// By node: its place in `flat`.
    positions: Vec<u32>,
    stale: bool,
}

/// The zone of a node: region and zone together; empty when it has neither.
pub fn zone(node: &Node) -> Str {
    let label = |name: &str, old: &str| {
        let labels = &node.metadata.labels;
        labels.get(name).or_else(|| labels.get(old)).map_or("", |value| value.as_str()).to_owned()
    };
    let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
    let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    if region.is_empty() && zone.is_empty() { Str::default() } else { format!("{region}:\0:{zone}").into() }
}

impl NodeOrder {
    /// Adds a node, or moves it when its zone changed.
    pub fn set(&mut self, index: u32, zone: Str) {
        if self.zone_of.get(&index) == Some(&zone) {
            return;
        }
        self.remove(index);
        match self.zones.iter_mut().find(|(name, _)| *name == zone) {
            Some((_, nodes)) => nodes.push(index),
            None => self.zones.push((zone.clone(), vec![index])),
        }
        self.zone_of.insert(index, zone);
        self.stale = true;
    }

    /// Takes a node out.
    pub fn remove(&mut self, index: u32) {
        let Some(zone) = self.zone_of.remove(&index) else { return };
        if let Some((_, nodes)) = self.zones.iter_mut().find(|(name, _)| *name == zone) {
            nodes.retain(|other| *other != index);
        }
        self.zones.retain(|(_, nodes)| !nodes.is_empty());
        self.stale = true;
    }

    /// The order as of the last [`NodeOrder::list`].
    pub fn now(&self) -> &[u32] {
        &self.flat
    }

    /// The place of a node in the order as of the last [`NodeOrder::list`]; of nodes in it only.
    pub fn position(&self, node: usize) -> Option<usize> {
        let position = *self.positions.get(node)? as usize;
        (self.flat.get(position).copied() == Some(node as u32)).then_some(position)
    }

    /// All nodes in order.
    pub fn list(&mut self) -> &[u32] {
        if self.stale {
            self.stale = false;
            self.flat.clear();
            let longest = self.zones.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
            for at in 0..longest {
                self.flat.extend(self.zones.iter().filter_map(|(_, nodes)| nodes.get(at)));
            }
            let rows = self.flat.iter().max().map_or(0, |last| *last as usize + 1);
            self.positions.clear();
            self.positions.resize(rows, u32::MAX);
            for (position, node) in self.flat.iter().enumerate() {
                self.positions[*node as usize] = position as u32;
            }
        }
        &self.flat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_take_turns() {
        let mut order = NodeOrder::default();
        for (index, zone) in [(0, "a"), (1, "a"), (2, "a"), (3, "b"), (4, "c"), (5, "c")] {
            order.set(index, zone.into());
        }
        assert_eq!(order.list(), [0, 3, 4, 1, 5, 2]);
        order.set(0, "b".into());
        order.remove(4);
        assert_eq!(order.list(), [1, 3, 5, 2, 0]);
        assert_eq!((order.position(5), order.position(4), order.position(9)), (Some(2), None, None));
    }
}
