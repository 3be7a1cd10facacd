//! NodeAffinity: `nodeSelector` and required node affinity filter, preferred node affinity scores.

use types::core::v1::{NodeAffinity as Affinity, NodeSelectorTerm, Pod};

use super::node_selector::{any_term_selects, term_selects};
use crate::node_set::NodeSet;
use crate::plugin::{Candidates, ClusterEvent, Plugin, PreFilter, Rejection, Wanted, normalize_by_max};
use crate::snapshot::Snapshot;

pub struct NodeAffinity;

const REASON: &str = "node(s) didn't match Pod's node affinity/selector";

fn affinity(pod: &Pod) -> Option<&Affinity> {
    pod.spec.affinity.as_ref()?.node_affinity.as_deref()
}

fn required(pod: &Pod) -> Option<&[NodeSelectorTerm]> {
    let selector = affinity(pod)?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&selector.node_selector_terms)
}

/// When every term pins `metadata.name`, only those nodes are worth a look.
fn pinned(terms: &[NodeSelectorTerm], snapshot: &Snapshot) -> Option<NodeSet> {
    let mut set = NodeSet::none(snapshot.count());
    for term in terms {
        let mut names: Option<Vec<&str>> = None;
        for field in
            term.match_fields.iter().filter(|field| field.key == "metadata.name" && field.operator == "In")
        {
            let values: Vec<&str> = field.values.iter().map(|value| value.as_str()).collect();
            names = Some(match names {
                Some(names) => names.into_iter().filter(|name| values.contains(name)).collect(),
                None => values,
            });
        }
        for index in names?.iter().filter_map(|name| snapshot.index_of(name)) {
            set.insert(index);
        }
    }
    (!terms.is_empty()).then_some(set)
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn pre_filter(&self, wanted: &Wanted<'_>, snapshot: &Snapshot) -> PreFilter {
        let terms = required(wanted.pod);
        if terms.is_none() && wanted.pod.spec.node_selector.is_empty() {
            return PreFilter::Skip;
        }
        match terms.and_then(|terms| pinned(terms, snapshot)) {
            Some(nodes) if nodes.is_empty() => PreFilter::Reject(Rejection::unresolvable(
                self.name(),
                format!("{} {REASON}", snapshot.count()),
            )),
            Some(nodes) => PreFilter::Only(nodes),
            None => PreFilter::Run,
        }
    }

    fn filter(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, candidates: &mut Candidates) {
        let selector = &wanted.pod.spec.node_selector;
        let terms = required(wanted.pod);
        candidates.keep(|index| {
            let fits = snapshot.row(index).node().is_some_and(|node| {
                selector.iter().all(|(key, value)| node.metadata.labels.get(key) == Some(value))
                    && terms.is_none_or(|terms| any_term_selects(terms, node))
            });
            (!fits).then(|| Rejection::unresolvable(self.name(), REASON))
        });
    }

    fn score(&self, wanted: &Wanted<'_>, snapshot: &Snapshot, nodes: &[usize], scores: &mut [i64]) -> bool {
        let Some(preferred) =
            affinity(wanted.pod).map(|own| &own.preferred_during_scheduling_ignored_during_execution)
        else {
            return false;
        };
        if preferred.is_empty() {
            return false;
        }
        for (index, score) in nodes.iter().zip(scores) {
            let Some(node) = snapshot.row(*index).node() else { continue };
            let matching = preferred.iter().filter(|term| {
                let empty =
                    term.preference.match_expressions.is_empty() && term.preference.match_fields.is_empty();
                // A preference without requirements prefers every node.
                term.weight != 0 && (empty || term_selects(&term.preference, node))
            });
            *score = matching.map(|term| i64::from(term.weight)).sum();
        }
        true
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels)
    }
}
