//! Preferred terms: those of the pod, those of pods that are there already, and a little for their required affinity.

use super::{Sums, for_each_pod};
use crate::plugin::{Cx, SCORE_MAX, Score};
use crate::pod_info::PodInfo;

/// The scorer.
pub(super) struct Attraction {
    sums: Sums,
    hard_weight: i64,
}

impl Attraction {
    pub(super) fn new(cx: &Cx<'_>, hard_weight: i64) -> Self {
        let mut attraction = Attraction { sums: Sums::default(), hard_weight };
        for_each_pod(cx, cx.pod.preferred.is_empty(), |pod, node| attraction.count(cx, pod, node, 1));
        attraction
    }

    fn count(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        let cluster = cx.cluster();
        if !cx.pod.preferred.is_empty() {
            let labels = cluster.namespace_labels(&pod.pod.metadata.namespace);
            for term in cx.pod.preferred.iter().filter(|term| term.matches(&pod.pod, labels)) {
                self.sums.add(cx, &term.topology_key, node, term.weight, by);
            }
        }
        if !pod.has_affinity() {
            return;
        }
        let labels = cluster.namespace_labels(&cx.object().metadata.namespace);
        if self.hard_weight > 0 {
            for term in pod.affinity.iter().filter(|term| term.matches(cx.object(), labels)) {
                self.sums.add(cx, &term.topology_key, node, self.hard_weight, by);
            }
        }
        for term in pod.preferred.iter().filter(|term| term.matches(cx.object(), labels)) {
            self.sums.add(cx, &term.topology_key, node, term.weight, by);
        }
    }
}

impl Score for Attraction {
    fn begin(&mut self, _: &Cx<'_>, _: &[u32]) -> bool {
        !self.sums.is_empty()
    }

    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        self.sums.each(cx, node).sum()
    }

    fn normalize(&self, _: &Cx<'_>, _: &[u32], scores: &mut [i64]) {
        let min = scores.iter().copied().min().unwrap_or(0);
        let max = scores.iter().copied().max().unwrap_or(0);
        for score in scores.iter_mut() {
            *score = match max - min {
                0 => 0,
                range => (SCORE_MAX as f64 * ((*score - min) as f64 / range as f64)) as i64,
            };
        }
    }

    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        if cx.row(node).node().is_some() {
            self.count(cx, pod, node, by);
        }
    }
}
