//! InterPodAffinity: pods that want to be near certain pods, or away from them, by a label of the node that says what
//! near is. Anti-affinity holds both ways.
//!
//! Matching pods are counted per domain of each label and followed by increments.

mod filter;
mod score;

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::plugin::{About, ClusterEvent, Cx, Happening, Plugin, PreFilter, Score, What};
use crate::pod_info::PodInfo;
use crate::topology::{ColumnId, NO_DOMAIN};
use meta::Str;
use types::core::v1::{Node, Pod};

/// The plugin with its arguments.
pub struct InterPodAffinity {
    /// What the required affinity of a pod that is there already is worth to pods that it wants near.
    pub hard_pod_affinity_weight: i64,
    /// Pods without preferences of their own are not drawn by those of others.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

/// Its name.
pub const NAME: &str = "InterPodAffinity";

impl Default for InterPodAffinity {
    fn default() -> Self {
        InterPodAffinity { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// Numbers by label and domain.
#[derive(Default)]
struct Sums {
    all: Vec<Sum>,
    /// Contributions in all.
    contributions: i64,
}

struct Sum {
    column: ColumnId,
    /// By domain: the sum, and how many contributions made it.
    domains: Vec<(i64, i64)>,
}

impl Sums {
    /// Adds `amount` for the domain that the node has by `key`; a contribution is taken back with `by` -1.
    fn add(&mut self, cx: &Cx<'_>, key: &Str, node: usize, amount: i64, by: i64) {
        let topology = &cx.snapshot.topology;
        let Some(column) = topology.id(key) else { return };
        let domain = topology.domain(column, node);
        if domain == NO_DOMAIN {
            return;
        }
        let at = self.all.iter().position(|sum| sum.column == column).unwrap_or_else(|| {
            self.all.push(Sum { column, domains: Vec::new() });
            self.all.len() - 1
        });
        let sum = &mut self.all[at];
        if sum.domains.len() <= domain as usize {
            sum.domains.resize(topology.domains(column).max(domain as usize + 1), (0, 0));
        }
        self.contributions += by;
        let (total, contributions) = &mut sum.domains[domain as usize];
        *total += amount * by;
        *contributions += by;
        if *contributions == 0 {
            *total = 0;
        }
    }

    /// Whether nothing contributes.
    fn is_empty(&self) -> bool {
        self.contributions == 0
    }

    /// The sum for the node's domain by a column.
    fn at(&self, cx: &Cx<'_>, column: ColumnId, node: usize) -> i64 {
        self.all.iter().find(|sum| sum.column == column).map_or(0, |sum| sum.of(cx, node))
    }

    /// The sums for the node over all labels.
    fn each<'a>(&'a self, cx: &'a Cx<'_>, node: usize) -> impl Iterator<Item = i64> + 'a {
        self.all.iter().map(move |sum| sum.of(cx, node))
    }
}

impl Sum {
    fn of(&self, cx: &Cx<'_>, node: usize) -> i64 {
        match cx.snapshot.topology.domain(self.column, node) {
            NO_DOMAIN => 0,
            domain => self.domains.get(domain as usize).map_or(0, |(total, _)| *total),
        }
    }
}

/// Tells `each` of all pods on existing nodes; only of those with affinity terms when nothing else matters.
fn for_each_pod(cx: &Cx<'_>, only_with_affinity: bool, mut each: impl FnMut(&PodInfo, usize)) {
    let nodes = if only_with_affinity { cx.snapshot.with_affinity() } else { cx.snapshot.present() };
    for node in nodes.iter().filter(|node| cx.snapshot.present().contains(*node)) {
        for pod in &cx.row(node).pods {
            if !only_with_affinity || pod.has_affinity() {
                each(pod, node);
            }
        }
    }
}

/// Whether the other pod is one that the pod's affinity looks for.
fn wants_near(pod: &PodInfo, other: &Pod, cluster: &Cluster) -> bool {
    let labels = cluster.namespace_labels(&other.metadata.namespace);
    !pod.affinity.is_empty() && pod.affinity.iter().all(|term| term.matches(other, labels))
}

/// Whether the pod's anti-affinity keeps away from the other pod.
fn wants_apart(pod: &PodInfo, other: &Pod, cluster: &Cluster) -> bool {
    let labels = cluster.namespace_labels(&other.metadata.namespace);
    pod.anti_affinity.iter().any(|term| term.matches(other, labels))
}

/// Whether the other pod's anti-affinity keeps the pod away.
fn refuses(other: &Pod, pod: &PodInfo, cluster: &Cluster) -> bool {
    let has_terms = other.spec.affinity.as_ref().is_some_and(|affinity| affinity.pod_anti_affinity.is_some());
    let labels = cluster.namespace_labels(&pod.pod.metadata.namespace);
    has_terms
        && PodInfo::new(Arc::new(other.clone()))
            .anti_affinity
            .iter()
            .any(|term| term.matches(&pod.pod, labels))
}

/// Whether a label that the pod's terms go by came to a node, or has another value. Without terms of its own the pod was
/// refused by the terms of others, by whatever label.
fn near_changed(pod: &PodInfo, old: Option<&Node>, new: &Node) -> bool {
    let mut keys = pod.affinity.iter().chain(&pod.anti_affinity).map(|term| &term.topology_key).peekable();
    let Some(old) = old else {
        return pod.affinity.iter().all(|term| new.metadata.labels.contains_key(&term.topology_key));
    };
    keys.peek().is_none() || keys.any(|key| new.metadata.labels.get(key) != old.metadata.labels.get(key))
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn topology_keys(&self, pod: &PodInfo) -> Vec<Str> {
        let terms = pod.affinity.iter().chain(&pod.anti_affinity).chain(&pod.preferred);
        terms.map(|term| term.topology_key.clone()).collect()
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        PreFilter::Run(Box::new(filter::Rules::new(cx)))
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        if self.ignore_preferred_terms_of_existing_pods && cx.pod.preferred.is_empty() {
            return None;
        }
        Some(Box::new(score::Attraction::new(cx, self.hard_pod_affinity_weight)))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        match happening.about {
            About::Node(old, Some(new)) => near_changed(pod, old, new),
            About::Pod(None, Some(new)) => wants_near(pod, new, happening.cluster),
            About::Pod(Some(old), Some(new)) => {
                let cluster = happening.cluster;
                (wants_near(pod, new, cluster) && !wants_near(pod, old, cluster))
                    || (wants_apart(pod, old, cluster) && !wants_apart(pod, new, cluster))
            }
            About::Pod(Some(old), None) => {
                wants_apart(pod, old, happening.cluster) || refuses(old, pod, happening.cluster)
            }
            _ => true,
        }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeLabels
                | ClusterEvent::PodPlaced
                | ClusterEvent::PodFreed
                | ClusterEvent::PodLabels
                | ClusterEvent::PodChanged
                | ClusterEvent::Added(What::Namespace)
                | ClusterEvent::Updated(What::Namespace)
        )
    }
}
