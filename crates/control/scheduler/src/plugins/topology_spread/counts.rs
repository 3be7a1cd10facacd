//! How many selected pods are in each domain, per constraint.

use std::collections::BTreeMap;

use super::{Constraint, HOSTNAME};
use crate::plugin::Cx;
use crate::pod_info::PodInfo;
use crate::topology::{ColumnId, NO_DOMAIN};

/// Counts of one constraint.
pub(super) struct Domains {
    pub(super) constraint: Constraint,
    /// The label's column; `None` when nobody asked for it, and then no node has it.
    column: Option<ColumnId>,
    /// Whether every node is a domain of its own.
    pub(super) by_node: bool,
    /// Selected pods on counted nodes, by domain.
    pub(super) pods: Vec<i64>,
    /// Counted nodes, by domain: a domain without any does not exist.
    nodes: Vec<u32>,
    /// How many existing domains have how many pods.
    levels: BTreeMap<i64, u32>,
    /// Existing domains.
    pub(super) existing: usize,
    /// Selected pods on each node, whether it is counted or not.
    pub(super) on_node: Vec<i64>,
}

impl Domains {
    /// The fewest pods in any existing domain; `None` when there is none.
    pub(super) fn fewest(&self) -> Option<i64> {
        self.levels.first_key_value().map(|(pods, _)| *pods)
    }

    /// The domain of a node.
    pub(super) fn of(&self, cx: &Cx<'_>, node: usize) -> u32 {
        self.column.map_or(NO_DOMAIN, |column| cx.snapshot.topology.domain(column, node))
    }

    fn add(&mut self, domain: u32, by: i64) {
        let domain = domain as usize;
        let before = self.pods[domain];
        self.pods[domain] = before + by;
        if self.nodes[domain] > 0 {
            self.leave_level(before);
            *self.levels.entry(before + by).or_default() += 1;
        }
    }

    fn leave_level(&mut self, level: i64) {
        if let Some(count) = self.levels.get_mut(&level) {
            *count -= 1;
            if *count == 0 {
                self.levels.remove(&level);
            }
        }
    }
}

/// Counts of all constraints of a pod.
pub(super) struct Counts {
    pub(super) all: Vec<Domains>,
    /// Nodes must have the labels of all constraints to count.
    pub(super) all_labels: bool,
    namespace: meta::Str,
}

impl Counts {
    /// Counts the pods that are there.
    pub(super) fn new(cx: &Cx<'_>, constraints: Vec<Constraint>, all_labels: bool) -> Self {
        let rows = cx.snapshot.rows();
        let all = constraints
            .into_iter()
            .map(|constraint| {
                let column = cx.snapshot.topology.id(&constraint.key);
                let domains = column.map_or(1, |column| cx.snapshot.topology.domains(column));
                Domains {
                    by_node: constraint.key == HOSTNAME,
                    constraint,
                    column,
                    pods: vec![0; domains],
                    nodes: vec![0; domains],
                    levels: BTreeMap::new(),
                    existing: 0,
                    on_node: vec![0; rows],
                }
            })
            .collect();
        let mut counts = Counts { all, all_labels, namespace: cx.object().metadata.namespace.clone() };
        for node in cx.snapshot.present().iter() {
            counts.count_node(cx, node);
        }
        counts
    }

    fn count_node(&mut self, cx: &Cx<'_>, node: usize) {
        let row = cx.row(node);
        let complete = self.is_complete(cx, node);
        for at in 0..self.all.len() {
            let selected = row.pods.iter().filter(|pod| self.selects(at, pod)).count() as i64;
            let domains = &mut self.all[at];
            domains.on_node[node] = selected;
            if !complete || !domains.constraint.includes(cx.object(), row) {
                continue;
            }
            let domain = domains.of(cx, node);
            let slot = domain as usize;
            if domains.nodes[slot] == 0 {
                domains.existing += 1;
                *domains.levels.entry(domains.pods[slot]).or_default() += 1;
            }
            domains.nodes[slot] += 1;
            domains.add(domain, selected);
        }
    }

    /// Whether the node has the labels that it needs in order to count.
    pub(super) fn is_complete(&self, cx: &Cx<'_>, node: usize) -> bool {
        !self.all_labels || self.all.iter().all(|domains| domains.of(cx, node) != NO_DOMAIN)
    }

    /// Terminating pods and pods of other namespaces do not count, nor does anything for an empty selector.
    fn selects(&self, at: usize, pod: &PodInfo) -> bool {
        let selector = &self.all[at].constraint.selector;
        !pod.is_terminating()
            && pod.pod.metadata.namespace == self.namespace
            && !selector.requirements().is_empty()
            && selector.matches(&pod.pod.metadata.labels)
    }

    /// A pod came or went.
    pub(super) fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        if pod.pod.metadata.namespace != self.namespace {
            return;
        }
        let complete = self.is_complete(cx, node);
        for at in 0..self.all.len() {
            if !self.selects(at, pod) {
                continue;
            }
            let domains = &mut self.all[at];
            if node >= domains.on_node.len() {
                domains.on_node.resize(node + 1, 0);
            }
            domains.on_node[node] += by;
            if complete
                && cx.row(node).node().is_some()
                && domains.constraint.includes(cx.object(), cx.row(node))
            {
                domains.add(domains.of(cx, node), by);
            }
        }
    }
}
