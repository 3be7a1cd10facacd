//! ScheduleAnyway: nodes in domains with fewer selected pods score higher; a constraint with more domains counts more.

use super::counts::Counts;
use crate::plugin::{Cx, SCORE_MAX, Score};
use crate::pod_info::PodInfo;
use crate::topology::NO_DOMAIN;

/// The scorer.
pub(super) struct Evenness {
    counts: Counts,
    /// Per constraint, from the number of domains among feasible nodes.
    weights: Vec<f64>,
    /// Marks domains seen in this cycle, per constraint.
    seen: Vec<Vec<u64>>,
    cycle: u64,
}

impl Evenness {
    pub(super) fn new(counts: Counts) -> Self {
        let constraints = counts.all.len();
        let seen = counts.all.iter().map(|domains| vec![0; domains.pods.len()]).collect();
        Evenness { counts, weights: vec![0.0; constraints], seen, cycle: 0 }
    }
}

impl Score for Evenness {
    fn begin(&mut self, cx: &Cx<'_>, feasible: &[u32]) -> bool {
        self.cycle += 1;
        let mut complete = 0;
        let mut sizes = vec![0usize; self.weights.len()];
        for node in feasible {
            let node = *node as usize;
            if !self.counts.is_complete(cx, node) {
                continue;
            }
            complete += 1;
            for (at, domains) in self.counts.all.iter().enumerate() {
                if domains.by_node {
                    continue;
                }
                let slot = domains.of(cx, node) as usize;
                if self.seen[at][slot] != self.cycle {
                    self.seen[at][slot] = self.cycle;
                    sizes[at] += 1;
                }
            }
        }
        for (at, domains) in self.counts.all.iter().enumerate() {
            let size = if domains.by_node { complete } else { sizes[at] };
            self.weights[at] = ((size + 2) as f64).ln();
        }
        true
    }

    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        if !self.counts.is_complete(cx, node) {
            return 0;
        }
        let mut score = 0.0;
        for (domains, weight) in self.counts.all.iter().zip(&self.weights) {
            let at = domains.of(cx, node);
            if at == NO_DOMAIN {
                continue;
            }
            let pods = match domains.by_node {
                true => domains.on_node.get(node).copied().unwrap_or(0),
                false => domains.pods[at as usize],
            };
            score += pods as f64 * weight + (domains.constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, cx: &Cx<'_>, nodes: &[u32], scores: &mut [i64]) {
        let complete: Vec<bool> =
            nodes.iter().map(|node| self.counts.is_complete(cx, *node as usize)).collect();
        let counted =
            || scores.iter().zip(&complete).filter(|(_, complete)| **complete).map(|(score, _)| *score);
        let min = counted().min().unwrap_or(0);
        let max = counted().max().unwrap_or(0);
        for (score, complete) in scores.iter_mut().zip(complete) {
            *score = match (complete, max) {
                (false, _) => 0,
                (true, 0) => SCORE_MAX,
                (true, max) => SCORE_MAX * (max + min - *score) / max,
            };
        }
    }

    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        self.counts.pod_moved(cx, pod, node, by);
    }
}
