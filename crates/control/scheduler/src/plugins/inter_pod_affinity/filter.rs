//! Required terms: those of the pod, and anti-affinity of pods that are there already.

use meta::Str;

use super::{NAME, Sums, for_each_pod};
use crate::explain::Change;
use crate::plugin::{Cx, Filter, Rejection};
use crate::pod_info::{PodInfo, Term};
use crate::topology::{ColumnId, NO_DOMAIN};

/// How many pods a person may be asked to do without.
const IN_THE_WAY: usize = 3;

/// The filter.
#[derive(Default)]
pub(super) struct Rules {
    /// Pods whose anti-affinity refuses the pod.
    refusing: Sums,
    /// Pods that all required affinity terms select.
    wanted: Sums,
    /// Pods that some required anti-affinity term selects.
    unwanted: Sums,
    /// The columns of the pod's affinity and anti-affinity terms.
    near: Vec<ColumnId>,
    apart: Vec<ColumnId>,
    /// Whether the pod has required terms.
    has_terms: bool,
    /// Whether the pod selects itself, so that it may be the first of its kind.
    selects_self: bool,
}

impl Rules {
    pub(super) fn new(cx: &Cx<'_>) -> Self {
        let labels = cx.cluster().namespace_labels(&cx.object().metadata.namespace);
        let selects_self = cx.pod.affinity.iter().all(|term| term.matches(cx.object(), labels));
        let has_terms = !(cx.pod.affinity.is_empty() && cx.pod.anti_affinity.is_empty());
        let columns = |terms: &[Term]| {
            // Every label that the pod names got its column before.
            terms.iter().filter_map(|term| cx.snapshot.topology.id(&term.topology_key)).collect()
        };
        let mut rules = Rules {
            selects_self,
            has_terms,
            near: columns(&cx.pod.affinity),
            apart: columns(&cx.pod.anti_affinity),
            ..Rules::default()
        };
        for_each_pod(cx, !has_terms, |pod, node| rules.count(cx, pod, node, 1));
        rules
    }

    fn count(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        let cluster = cx.cluster();
        if !pod.anti_affinity.is_empty() {
            let labels = cluster.namespace_labels(&cx.object().metadata.namespace);
            for term in pod.anti_affinity.iter().filter(|term| term.matches(cx.object(), labels)) {
                self.refusing.add(cx, &term.topology_key, node, 1, by);
            }
        }
        if !self.has_terms {
            return;
        }
        let labels = cluster.namespace_labels(&pod.pod.metadata.namespace);
        if !cx.pod.affinity.is_empty() && cx.pod.affinity.iter().all(|term| term.matches(&pod.pod, labels)) {
            for term in &cx.pod.affinity {
                self.wanted.add(cx, &term.topology_key, node, 1, by);
            }
        }
        for term in cx.pod.anti_affinity.iter().filter(|term| term.matches(&pod.pod, labels)) {
            self.unwanted.add(cx, &term.topology_key, node, 1, by);
        }
    }

    fn near_enough(&self, cx: &Cx<'_>, node: usize) -> bool {
        let mut all_near = true;
        for column in &self.near {
            if cx.snapshot.topology.domain(*column, node) == NO_DOMAIN {
                return false;
            }
            all_near = all_near && self.wanted.at(cx, *column, node) > 0;
        }
        all_near || (self.selects_self && self.wanted.is_empty())
    }

    fn is_unwanted(&self, cx: &Cx<'_>, node: usize) -> bool {
        self.apart.iter().any(|column| self.unwanted.at(cx, *column, node) > 0)
    }

    fn is_refused(&self, cx: &Cx<'_>, node: usize) -> bool {
        self.refusing.each(cx, node).any(|pods| pods > 0)
    }

    /// The pods that the node's domains would have to be rid of, at most so many.
    fn in_the_way(cx: &Cx<'_>, node: usize, at_most: usize) -> Option<Vec<Str>> {
        let (cluster, topology) = (cx.cluster(), &cx.snapshot.topology);
        let together = |key: &Str, other: usize| {
            let domain = |node| topology.id(key).map(|column| topology.domain(column, node));
            domain(node).is_some_and(|here| here != NO_DOMAIN) && domain(node) == domain(other)
        };
        let own = cluster.namespace_labels(&cx.object().metadata.namespace);
        let mut pods = Vec::new();
        for_each_pod(cx, cx.pod.anti_affinity.is_empty(), |pod, other| {
            let labels = cluster.namespace_labels(&pod.pod.metadata.namespace);
            let unwanted = cx.pod.anti_affinity.iter().filter(|term| term.matches(&pod.pod, labels));
            let refusing = pod.anti_affinity.iter().filter(|term| term.matches(cx.object(), own));
            if unwanted.chain(refusing).any(|term| together(&term.topology_key, other))
                && pods.len() <= at_most
            {
                let metadata = &pod.pod.metadata;
                pods.push(format!("{}/{}", metadata.namespace, metadata.name).into());
            }
        });
        pods.sort();
        (!pods.is_empty() && pods.len() <= at_most).then_some(pods)
    }
}

impl Filter for Rules {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        if !self.near_enough(cx, node) {
            return Some(Rejection::unresolvable(NAME, "node(s) didn't match pod affinity rules"));
        }
        if self.is_unwanted(cx, node) {
            return Some(Rejection::unschedulable(NAME, "node(s) didn't match pod anti-affinity rules"));
        }
        if self.is_refused(cx, node) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Some(Rejection::unschedulable(NAME, reason));
        }
        None
    }

    fn passes(&self, cx: &Cx<'_>, node: usize) -> bool {
        self.near_enough(cx, node) && !self.is_unwanted(cx, node) && !self.is_refused(cx, node)
    }

    fn idle(&self) -> bool {
        !self.has_terms && self.refusing.is_empty()
    }

    fn remedy(&self, cx: &Cx<'_>, node: usize) -> Option<Vec<Change>> {
        // What is counted for other reasons as well must not change with it.
        let counted = !cx.object().spec.topology_spread_constraints.is_empty();
        if self.near_enough(cx, node) {
            let free = cx.pod.affinity.is_empty() && !counted;
            let pods = if free { Self::in_the_way(cx, node, IN_THE_WAY) } else { None };
            return pods.map(|pods| vec![Change::Without(pods)]);
        }
        let [term] = &cx.pod.affinity[..] else { return None };
        // The other pod may come to this very node, and takes a place there.
        let row = cx.row(node);
        let has_place = row.pods_max - row.pods.len() as i64 >= 2;
        let has_domain =
            self.near.iter().all(|column| cx.snapshot.topology.domain(*column, node) != NO_DOMAIN);
        let alone = cx.pod.anti_affinity.is_empty() && !counted && !self.is_refused(cx, node);
        let selector = term.asked_at_home(&cx.object().metadata.namespace)?;
        let namespace = cx.object().metadata.namespace.clone();
        (has_domain && has_place && alone)
            .then(|| vec![Change::Near { namespace, selector, key: term.topology_key.clone() }])
    }

    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        if cx.row(node).node().is_some() {
            self.count(cx, pod, node, by);
        }
    }
}
