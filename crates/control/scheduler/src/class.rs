//! What pods of one class share: the answers of their plugins, kept exact.
//!
//! Filters and scorers that look at a node's row alone are asked once for every change of the row; the others hold counts
//! that follow the snapshot's journal. So the second of a thousand equal pods costs the nodes that changed since the first.

use std::sync::Arc;

use hashbrown::HashMap;
use meta::Str;

use crate::plugin::{Cx, Filter, PreFilter, Rejection, Score};
use crate::pod_info::PodInfo;
use crate::preemption::Candidate;
use crate::profile::Profile;
use crate::snapshot::Snapshot;

/// A scorer with its weight.
pub struct Scorer {
    /// The plugin's name.
    pub plugin: &'static str,
    /// Factor of its normalised score.
    pub weight: i64,
    /// What scores.
    pub score: Box<dyn Score>,
    /// Raw scores that depend on the row alone, by node.
    memo: Option<Vec<i64>>,
}

/// What a dry run of preemption came to.
pub type Rehearsal = Result<Arc<Candidate>, Arc<Rejection>>;

/// Verdict that a node fits.
pub const FITS: u32 = 0;

/// What pods of one class share.
pub struct Class {
    /// PreFilter's refusal for all nodes.
    pub refused: Option<Rejection>,
    /// Names of the nodes that are worth a look, and the plugins that say so.
    pub only: Option<(Vec<Str>, Vec<&'static str>)>,
    filters: Vec<(&'static str, Box<dyn Filter>)>,
    /// How many of the first filters are local.
    local: usize,
    /// The scorers that have a preference for this class.
    pub scorers: Vec<Scorer>,
    /// Verdicts of the local filters by node: generation of the row, and index in `rejections` + 1, or [`FITS`].
    verdicts: Vec<(u64, u32)>,
    /// Generation of the row when the local scores were taken, by node.
    scored: Vec<u64>,
    rejections: Vec<Arc<Rejection>>,
    /// Dry runs of preemption by node, with the generation of the row and of the budgets that they hold for.
    dry_runs: Vec<Option<(u64, u64, Rehearsal)>>,
    known: HashMap<Arc<Rejection>, u32>,
    epoch: u64,
    journal: u64,
}

impl Class {
    /// Asks every plugin of the profile about the pod.
    pub fn new(pod: &PodInfo, snapshot: &mut Snapshot, profile: &Profile) -> Self {
        let scorers = profile.scorers.iter().map(|(plugin, _)| plugin);
        for plugin in profile.filters.iter().chain(scorers) {
            for key in plugin.topology_keys(pod) {
                snapshot.want_topology(&key);
            }
        }
        let cx = Cx::new(pod, snapshot);
        let mut class = Class {
            refused: None,
            only: None,
            filters: Vec::new(),
            local: 0,
            scorers: Vec::new(),
            verdicts: Vec::new(),
            scored: Vec::new(),
            rejections: Vec::new(),
            dry_runs: Vec::new(),
            known: HashMap::new(),
            epoch: snapshot.epoch(),
            journal: snapshot.journal.end(),
        };
        for plugin in &profile.filters {
            let name = plugin.name();
            match plugin.pre_filter(&cx) {
                PreFilter::Skip => {}
                PreFilter::Run(filter) => class.filters.push((name, filter)),
                PreFilter::Only(names, filter) => {
                    class.filters.push((name, filter));
                    class.narrow(names, name);
                }
                PreFilter::Reject(rejection) => {
                    class.refused = Some(rejection);
                    break;
                }
            }
            if class.refused.is_none() {
                class.refused = class.nothing_left(name);
            }
        }
        class.local = class.filters.iter().take_while(|(_, filter)| filter.local()).count();
        if class.refused.is_some() {
            return class;
        }
        for (plugin, weight) in &profile.scorers {
            if let Some(score) = plugin.scorer(&cx) {
                let memo = score.local().then(Vec::new);
                class.scorers.push(Scorer { plugin: plugin.name(), weight: *weight, score, memo });
            }
        }
        class
    }

    fn narrow(&mut self, names: Vec<Str>, plugin: &'static str) {
        self.only = Some(match self.only.take() {
            None => (names, vec![plugin]),
            Some((before, mut plugins)) => {
                plugins.push(plugin);
                (before.into_iter().filter(|name| names.contains(name)).collect(), plugins)
            }
        });
    }

    /// Plugins that exclude each other's nodes leave none.
    fn nothing_left(&self, plugin: &'static str) -> Option<Rejection> {
        let (names, plugins) = self.only.as_ref()?;
        if !names.is_empty() {
            return None;
        }
        let reason = match plugins[..] {
            [one] => format!("node(s) didn't satisfy plugin {one}"),
            _ => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", plugins.join(" ")),
        };
        Some(Rejection::unresolvable(plugin, reason))
    }

    /// Brings counts up to date. `false` when that is not possible and a new class is to be made.
    pub fn catch_up(&mut self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        if self.epoch != snapshot.epoch() {
            return false;
        }
        if self.journal == snapshot.journal.end() {
            return true;
        }
        let Some(moves) = snapshot.journal.since(self.journal) else { return false };
        let cx = Cx::new(pod, snapshot);
        for moved in moves {
            self.pod_moved(&cx, &moved.pod, moved.node, moved.by);
        }
        self.journal = snapshot.journal.end();
        true
    }

    /// Tells all filters and scorers that a pod came or went.
    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        self.filter_moved(cx, pod, node, by);
        for scorer in self.scorers.iter_mut().filter(|scorer| scorer.memo.is_none()) {
            scorer.score.pod_moved(cx, pod, node, by);
        }
    }

    /// Tells the filters only: what preemption and nominated pods suppose. It must be taken back.
    pub fn filter_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        for (_, filter) in &mut self.filters[self.local..] {
            filter.pod_moved(cx, pod, node, by);
        }
    }

    /// The number of a rejection.
    pub fn remember(&mut self, rejection: Rejection) -> u32 {
        if let Some(id) = self.known.get(&rejection) {
            return *id;
        }
        let rejection = Arc::new(rejection);
        self.rejections.push(rejection.clone());
        let id = self.rejections.len() as u32;
        self.known.insert(rejection, id);
        id
    }

    /// The dry run that was made for the node as it is, if there was one.
    pub fn rehearsed(&self, snapshot: &Snapshot, node: usize) -> Option<Rehearsal> {
        let (generation, budgets, rehearsal) = self.dry_runs.get(node)?.as_ref()?;
        let holds = *generation == snapshot.generation(node) && *budgets == snapshot.budgets();
        holds.then(|| rehearsal.clone())
    }

    /// Remembers a dry run. Only where all filters look at the node's row alone does it hold for the next pod.
    pub fn rehearse(&mut self, snapshot: &Snapshot, node: usize, rehearsal: &Rehearsal) {
        if self.dry_runs.len() <= node {
            self.dry_runs.resize(snapshot.rows().max(node + 1), None);
        }
        self.dry_runs[node] = Some((snapshot.generation(node), snapshot.budgets(), rehearsal.clone()));
    }

    /// All rejections, by number less one.
    pub fn rejections(&self) -> &[Arc<Rejection>] {
        &self.rejections
    }

    /// The rejection behind a verdict.
    pub fn rejection(&self, verdict: u32) -> Option<&Arc<Rejection>> {
        self.rejections.get((verdict as usize).checked_sub(1)?)
    }

    /// Whether the pod fits on the node: [`FITS`] or the number of a rejection.
    pub fn check(&mut self, cx: &Cx<'_>, node: usize) -> u32 {
        let generation = cx.snapshot.generation(node);
        if self.verdicts.len() <= node {
            self.verdicts.resize(cx.snapshot.rows().max(node + 1), (0, FITS));
        }
        let (seen, mut verdict) = self.verdicts[node];
        if seen != generation {
            let refusal = self.filters[..self.local].iter().find_map(|(_, filter)| filter.check(cx, node));
            verdict = refusal.map_or(FITS, |rejection| self.remember(rejection));
            self.verdicts[node] = (generation, verdict);
        }
        if verdict != FITS || self.local == self.filters.len() {
            return verdict;
        }
        let refusal = self.filters[self.local..]
            .iter()
            .filter(|(_, filter)| !filter.idle())
            .find_map(|(_, filter)| filter.check(cx, node));
        refusal.map_or(FITS, |rejection| self.remember(rejection))
    }

    /// The same without any memory, for a node that is supposed to be different (`cx.instead`).
    pub fn check_supposed(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        self.filters.iter().find_map(|(_, filter)| filter.check(cx, node))
    }

    /// Whether all filters look at the node's row alone (or refuse nothing).
    pub fn is_local(&self) -> bool {
        self.filters[self.local..].iter().all(|(_, filter)| filter.idle())
    }

    /// Every refusal of the node, not only the first.
    pub fn refusals(&self, cx: &Cx<'_>, node: usize) -> Vec<Rejection> {
        self.filters.iter().filter_map(|(_, filter)| filter.check(cx, node)).collect()
    }

    /// Sums the weighted, normalised scores of `nodes` into `sums`. `report` hears of every plugin's raw and final scores.
    pub fn score(
        &mut self,
        cx: &Cx<'_>,
        nodes: &[u32],
        sums: &mut Vec<i64>,
        mut report: impl FnMut(&'static str, &[i64], &[i64]),
    ) {
        sums.clear();
        sums.resize(nodes.len(), 0);
        let mut scores = vec![0; nodes.len()];
        let mut raw = Vec::new();
        let rows = cx.snapshot.rows();
        self.scored.resize(rows.max(self.scored.len()), 0);
        self.refresh_local(cx, nodes, rows);
        for scorer in &mut self.scorers {
            if !scorer.score.begin(cx, nodes) {
                continue;
            }
            match &scorer.memo {
                Some(memo) => {
                    for (score, node) in scores.iter_mut().zip(nodes) {
                        *score = memo[*node as usize];
                    }
                }
                None => {
                    for (score, node) in scores.iter_mut().zip(nodes) {
                        *score = scorer.score.score(cx, *node as usize);
                    }
                }
            }
            raw.clone_from(&scores);
            scorer.score.normalize(cx, nodes, &mut scores);
            for (sum, score) in sums.iter_mut().zip(&mut scores) {
                *score *= scorer.weight;
                *sum += *score;
            }
            report(scorer.plugin, &raw, &scores);
        }
    }

    /// Takes local scores anew where the row changed.
    fn refresh_local(&mut self, cx: &Cx<'_>, nodes: &[u32], rows: usize) {
        for scorer in &mut self.scorers {
            if let Some(memo) = &mut scorer.memo {
                memo.resize(rows.max(memo.len()), 0);
            }
        }
        for node in nodes.iter().map(|node| *node as usize) {
            let generation = cx.snapshot.generation(node);
            if self.scored[node] == generation {
                continue;
            }
            self.scored[node] = generation;
            for scorer in &mut self.scorers {
                if let Some(memo) = &mut scorer.memo {
                    memo[node] = scorer.score.score(cx, node);
                }
            }
        }
    }
}
