//! NodeAffinity: `nodeSelector` and required node affinity filter, preferred node affinity scores. A profile may add an
//! affinity of its own (`addedAffinity`).

use meta::Str;
use types::core::v1::{Node, NodeAffinity as Affinity, NodeSelectorTerm, Pod, PreferredSchedulingTerm};

use super::node_selector::{any_term_selects, term_selects};
use crate::plugin::{
    About, ClusterEvent, Cx, Filter, Happening, Plugin, PreFilter, Rejection, Scope, Score, local_filter,
    normalize_by_max,
};
use crate::pod_info::PodInfo;
use crate::snapshot::NodeRow;

/// The plugin with the profile's own affinity.
#[derive(Default)]
pub struct NodeAffinity {
    /// `addedAffinity` of NodeAffinityArgs.
    pub added: Option<Affinity>,
}

/// Its name.
pub const NAME: &str = "NodeAffinity";
const REASON: &str = "node(s) didn't match Pod's node affinity/selector";
const REASON_ADDED: &str = "node(s) didn't match scheduler-enforced node affinity";

fn affinity(pod: &Pod) -> Option<&Affinity> {
    pod.spec.affinity.as_ref()?.node_affinity.as_deref()
}

fn required(affinity: Option<&Affinity>) -> Option<&[NodeSelectorTerm]> {
    let selector = affinity?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&selector.node_selector_terms)
}

/// Whether `nodeSelector` and required node affinity of the pod select the row's node.
pub fn selects(pod: &Pod, row: &NodeRow) -> bool {
    row.node().is_some_and(|node| selects_node(pod, node))
}

/// The same for a node.
pub fn selects_node(pod: &Pod, node: &Node) -> bool {
    let selector = &pod.spec.node_selector;
    selector.iter().all(|(key, value)| node.metadata.labels.get(key) == Some(value))
        && required(affinity(pod)).is_none_or(|terms| any_term_selects(terms, node))
}

/// When every term pins `metadata.name`, only those nodes are worth a look.
fn pinned(terms: &[NodeSelectorTerm]) -> Option<Vec<Str>> {
    let mut all = Vec::new();
    for term in terms {
        let mut names: Option<Vec<Str>> = None;
        let pins = |field: &&types::core::v1::NodeSelectorRequirement| {
            field.key == "metadata.name" && field.operator == "In"
        };
        for field in term.match_fields.iter().filter(pins) {
            names = Some(match names {
                Some(names) => names.into_iter().filter(|name| field.values.contains(name)).collect(),
                None => field.values.iter().cloned().collect(),
            });
        }
        all.extend(names?);
    }
    (!terms.is_empty()).then_some(all)
}

/// Sums the weights of the preferences that a node meets.
struct Preference(Vec<PreferredSchedulingTerm>);

impl Score for Preference {
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        let Some(node) = cx.row(node).node() else { return 0 };
        self.0
            .iter()
            .filter(|term| term_selects(&term.preference, node))
            .map(|term| i64::from(term.weight))
            .sum()
    }

    fn normalize(&self, _: &Cx<'_>, _: &[u32], scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }

    fn scope(&self) -> Scope {
        Scope::Row
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let terms = required(affinity(cx.object()));
        let added = required(self.added.as_ref()).map(<[_]>::to_vec);
        if terms.is_none() && added.is_none() && cx.object().spec.node_selector.is_empty() {
            return PreFilter::Skip;
        }
        let names = terms.and_then(pinned);
        if names.as_ref().is_some_and(Vec::is_empty) {
            return PreFilter::Reject(Rejection::unresolvable(NAME, "pod affinity terms conflict"));
        }
        let filter: Box<dyn Filter> = local_filter(move |cx, row| {
            let refused_added = added
                .as_ref()
                .is_some_and(|terms| !row.node().is_some_and(|node| any_term_selects(terms, node)));
            if refused_added {
                return Some(Rejection::unresolvable(NAME, REASON_ADDED));
            }
            (!selects(cx.object(), row)).then(|| Rejection::unresolvable(NAME, REASON))
        });
        match names {
            Some(names) => PreFilter::Only(names, filter),
            None => PreFilter::Run(filter),
        }
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        let own = affinity(cx.object()).into_iter().chain(&self.added);
        let terms: Vec<PreferredSchedulingTerm> = own
            .flat_map(|affinity| {
                affinity.preferred_during_scheduling_ignored_during_execution.iter().cloned()
            })
            .collect();
        (!terms.is_empty()).then(|| Box::new(Preference(terms)) as Box<dyn Score>)
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        let About::Node(old, Some(new)) = happening.about else { return true };
        let fits = |node: &Node| {
            required(self.added.as_ref()).is_none_or(|terms| any_term_selects(terms, node))
                && selects_node(&pod.pod, node)
        };
        fits(new) && old.is_none_or(|old| !fits(old))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels | ClusterEvent::PodChanged)
    }
}
