//! Node labels that pods spread over or gather by, as columns: each value is a small number, its domain.

use hashbrown::HashMap;
use meta::{Map, Str};

/// The domain of nodes without the label.
pub const NO_DOMAIN: u32 = 0;

/// One label: the domain of every node.
#[derive(Default)]
pub struct Column {
    domains: HashMap<Str, u32>,
    of_node: Vec<u32>,
}

impl Column {
    /// The domain of a node, [`NO_DOMAIN`] when it lacks the label.
    pub fn domain(&self, node: usize) -> u32 {
        self.of_node.get(node).copied().unwrap_or(NO_DOMAIN)
    }

    /// One more than the largest domain in use.
    pub fn len(&self) -> usize {
        self.domains.len() + 1
    }

    /// Whether no node has the label.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    fn set(&mut self, node: usize, labels: &Map<Str>, key: &str) {
        if node >= self.of_node.len() {
            self.of_node.resize(node + 1, NO_DOMAIN);
        }
        let next = self.domains.len() as u32 + 1;
        self.of_node[node] = match labels.get(key) {
            None => NO_DOMAIN,
            Some(value) => *self.domains.entry(value.clone()).or_insert(next),
        };
    }
}

/// The columns, by label.
#[derive(Default)]
pub struct Topology {
    columns: HashMap<Str, Column>,
}

impl Topology {
    /// A label's column, once somebody asked for it.
    pub fn column(&self, key: &str) -> Option<&Column> {
        self.columns.get(key)
    }

    /// Adds a column filled from `nodes`.
    pub fn add_column<'a>(&mut self, key: &str, nodes: impl Iterator<Item = (usize, &'a Map<Str>)>) {
        let mut column = Column::default();
        for (node, labels) in nodes {
            column.set(node, labels, key);
        }
        self.columns.insert(key.into(), column);
    }

    /// A node's labels changed.
    pub fn set_node(&mut self, node: usize, labels: &Map<Str>) {
        for (key, column) in &mut self.columns {
            column.set(node, labels, key);
        }
    }
}
