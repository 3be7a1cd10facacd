//! Node labels that pods spread over or gather by, as columns: each value is a small number, its domain.

use hashbrown::HashMap;
use meta::{Map, Str};

/// The domain of nodes without the label.
pub const NO_DOMAIN: u32 = 0;

/// Number of a column. It stays the same for as long as the snapshot lives.
pub type ColumnId = usize;

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

    /// A label that no node has takes no room, however many such labels pods name.
    fn set(&mut self, node: usize, labels: &Map<Str>, key: &str) {
        let next = self.domains.len() as u32 + 1;
        match labels.get(key) {
            None => {
                if let Some(domain) = self.of_node.get_mut(node) {
                    *domain = NO_DOMAIN;
                }
            }
            Some(value) => {
                if node >= self.of_node.len() {
                    self.of_node.resize(node + 1, NO_DOMAIN);
                }
                self.of_node[node] = *self.domains.entry(value.clone()).or_insert(next);
            }
        }
    }
}

/// The columns, by label.
#[derive(Default)]
pub struct Topology {
    columns: Vec<Column>,
    ids: HashMap<Str, ColumnId>,
}

impl Topology {
    /// The number of a label's column, once somebody asked for it.
    pub fn id(&self, key: &str) -> Option<ColumnId> {
        self.ids.get(key).copied()
    }

    /// A label's column, once somebody asked for it.
    pub fn column(&self, key: &str) -> Option<&Column> {
        self.columns.get(self.id(key)?)
    }

    /// The domain that a node has by a column.
    pub fn domain(&self, column: ColumnId, node: usize) -> u32 {
        self.columns.get(column).map_or(NO_DOMAIN, |column| column.domain(node))
    }

    /// One more than the largest domain of a column.
    pub fn domains(&self, column: ColumnId) -> usize {
        self.columns.get(column).map_or(1, Column::len)
    }

    /// Adds a column filled from `nodes`.
    pub fn add_column<'a>(&mut self, key: &str, nodes: impl Iterator<Item = (usize, &'a Map<Str>)>) {
        let mut column = Column::default();
        for (node, labels) in nodes {
            column.set(node, labels, key);
        }
        self.ids.insert(key.into(), self.columns.len());
        self.columns.push(column);
    }

    /// A node's labels changed.
    pub fn set_node(&mut self, node: usize, labels: &Map<Str>) {
        for (key, id) in &self.ids {
            self.columns[*id].set(node, labels, key);
        }
    }
}
