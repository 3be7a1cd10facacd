//! What pods of one class share: the answers of their plugins, kept exact.
//!
//! Filters and scorers that look at a node's row alone are asked once for every change of the row and their answers stand
//! on a [`Board`]; the others hold counts that follow the snapshot's journal. So the second of a thousand equal pods costs
//! the nodes that changed since the first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use meta::Str;

use crate::board::{Answer, Board};
use crate::plugin::{Cx, Filter, PreFilter, Rejection, Scope, Score};
use crate::plugins::Point;
use crate::pod_info::PodInfo;
use crate::preemption::Candidate;
use crate::profile::Profile;
use crate::snapshot::Snapshot;

pub use crate::board::FITS;

/// A scorer with its weight.
pub struct Scorer {
    /// The plugin's name.
    pub plugin: &'static str,
    /// Factor of its normalised score.
    pub weight: i64,
    /// What scores.
    pub score: Box<dyn Score>,
    scope: Scope,
    /// The plugin's place among the profile's, and whether it scores for one pod alone.
    place: usize,
    own: bool,
}

/// Takes note of a plugin that was run: its name, the extension point, whether the pod may go on, and how long it took.
pub type ObservePlugin = fn(&'static str, Point, bool, Duration);

/// Asks a filter, with an eye on the clock where somebody wants to know.
fn check(observe: Option<ObservePlugin>, slot: &Slot, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
    let Some(observe) = observe else { return slot.filter.check(cx, node) };
    let begun = Instant::now();
    let refusal = slot.filter.check(cx, node);
    observe(slot.plugin, Point::Filter, refusal.is_none(), begun.elapsed());
    refusal
}

/// A filter with its plugin's place among the profile's; `own` ones are for one pod alone.
struct Slot {
    plugin: &'static str,
    place: usize,
    own: bool,
    filter: Box<dyn Filter>,
}

/// What a dry run of preemption came to.
pub type Rehearsal = Result<Arc<Candidate>, Arc<Rejection>>;

/// What pods of one class share.
pub struct Class {
    /// PreFilter's refusal for all nodes.
    pub refused: Option<Rejection>,
    /// Names of the nodes that are worth a look, and the plugins that say so.
    pub only: Option<(Vec<Str>, Vec<&'static str>)>,
    /// What PreFilter of the plugins that all pods of the class share refused, with the plugin's place.
    refused_all: Option<(usize, Rejection)>,
    filters: Vec<Slot>,
    /// How many of the first filters are local.
    local: usize,
    /// The scorers that have a preference for this class.
    pub scorers: Vec<Scorer>,
    board: Board,
    rejections: Vec<Arc<Rejection>>,
    known: HashMap<Arc<Rejection>, u32>,
    /// Dry runs of preemption by node, with the generation of the row and of the budgets that they hold for.
    dry_runs: Vec<Option<(u64, u64, Rehearsal)>>,
    epoch: u64,
    images: u64,
    journal: u64,
    touches: u64,
    /// Hears how long each plugin took, while it is set.
    pub observe: Option<ObservePlugin>,
    /// Buffers that are used again.
    raws: Vec<i64>,
    nodes: Vec<u32>,
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
        let nodes = snapshot.ordered().len();
        let cx = Cx::new(pod, snapshot);
        let mut class = Class {
            refused: None,
            only: None,
            refused_all: None,
            filters: Vec::new(),
            local: 0,
            scorers: Vec::new(),
            board: Board::default(),
            rejections: Vec::new(),
            dry_runs: Vec::new(),
            known: HashMap::new(),
            epoch: snapshot.epoch(),
            images: snapshot.images(),
            journal: snapshot.journal.end(),
            touches: snapshot.touches.end(),
            observe: None,
            raws: Vec::new(),
            nodes: Vec::new(),
        };
        for (place, plugin) in profile.filters.iter().enumerate().filter(|(_, plugin)| !plugin.is_own(&cx)) {
            let name = plugin.name();
            let mut keep = |filter| class.filters.push(Slot { plugin: name, place, own: false, filter });
            let refused = match plugin.pre_filter(&cx) {
                PreFilter::Skip => None,
                PreFilter::Run(filter) => {
                    keep(filter);
                    None
                }
                PreFilter::Only(names, filter) => {
                    keep(filter);
                    class.narrow(names, name);
                    None
                }
                PreFilter::Reject(rejection) => Some(rejection),
            };
            if let Some(rejection) = refused.or_else(|| class.nothing_left(name)) {
                class.refused_all = Some((place, rejection));
                break;
            }
        }
        for (place, (plugin, weight)) in profile.scorers.iter().enumerate() {
            if class.refused_all.is_none()
                && !plugin.is_own(&cx)
                && let Some(score) = plugin.scorer(&cx)
            {
                let (scope, plugin) = (score.scope(), plugin.name());
                class.scorers.push(Scorer { plugin, weight: *weight, score, scope, place, own: false });
            }
        }
        let columns = class.scorers.iter().filter(|scorer| scorer.scope == Scope::Row).count();
        // A handful of nodes is asked anew each time: that is cheaper than a board for all.
        class.board = Board::new(if class.only.is_some() { 0 } else { nodes }, columns);
        class.renew(pod, snapshot, profile);
        class
    }

    /// Asks the plugins anew whose answers are for one pod alone.
    fn renew(&mut self, pod: &PodInfo, snapshot: &Snapshot, profile: &Profile) {
        let cx = Cx::new(pod, snapshot);
        self.filters.retain(|slot| !slot.own);
        self.scorers.retain(|scorer| !scorer.own);
        let before = self.refused_all.as_ref().map_or(usize::MAX, |(place, _)| *place);
        self.refused = self.refused_all.as_ref().map(|(_, rejection)| rejection.clone());
        for (place, plugin) in profile.filters.iter().enumerate().take_while(|(place, _)| *place < before) {
            if !plugin.is_own(&cx) {
                continue;
            }
            match plugin.pre_filter(&cx) {
                PreFilter::Skip => {}
                PreFilter::Run(filter) | PreFilter::Only(_, filter) => {
                    let at = self.filters.partition_point(|slot| slot.place < place);
                    self.filters.insert(at, Slot { plugin: plugin.name(), place, own: true, filter });
                }
                PreFilter::Reject(rejection) => {
                    self.refused = Some(rejection);
                    break;
                }
            }
        }
        self.local = self.filters.iter().take_while(|slot| slot.filter.local() && !slot.own).count();
        if self.refused.is_some() {
            return;
        }
        for (place, (plugin, weight)) in profile.scorers.iter().enumerate() {
            if plugin.is_own(&cx)
                && let Some(score) = plugin.scorer(&cx)
            {
                let at = self.scorers.partition_point(|scorer| scorer.place < place);
                // Nothing of it may stand on the board, which all pods of the class read.
                let (scope, plugin) = (Scope::Cluster, plugin.name());
                self.scorers.insert(at, Scorer { plugin, weight: *weight, score, scope, place, own: true });
            }
        }
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

    /// Brings counts and the board up to date. `false` when that is not possible and a new class is to be made.
    pub fn catch_up(&mut self, pod: &PodInfo, snapshot: &Snapshot, profile: &Profile) -> bool {
        if self.epoch != snapshot.epoch() || !self.follow(pod, snapshot) {
            return false;
        }
        if pod.has_own_answers() || self.filters.iter().any(|slot| slot.own) {
            self.renew(pod, snapshot, profile);
        }
        true
    }

    fn follow(&mut self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        self.forget_touched(snapshot);
        if self.journal == snapshot.journal.end() {
            return true;
        }
        let Some(moves) = snapshot.journal.since(self.journal) else { return false };
        // Where everything looks at rows alone, there is nobody to tell.
        if self.local < self.filters.len() || self.scorers.iter().any(|one| one.scope == Scope::Cluster) {
            let cx = Cx::new(pod, snapshot);
            for moved in moves {
                self.pod_moved(&cx, &moved.pod, moved.node, moved.by);
            }
        }
        self.journal = snapshot.journal.end();
        true
    }

    fn forget_touched(&mut self, snapshot: &Snapshot) {
        let touched = snapshot.touches.since(self.touches);
        match touched {
            Some(touched) if self.images == snapshot.images() => {
                for position in touched.filter_map(|node| snapshot.position(*node as usize)) {
                    self.board.forget(position);
                }
            }
            _ => self.board.forget_all(),
        }
        self.touches = snapshot.touches.end();
        self.images = snapshot.images();
    }

    /// Tells all filters and scorers that a pod came or went.
    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        self.filter_moved(cx, pod, node, by);
        for scorer in self.scorers.iter_mut().filter(|scorer| scorer.scope == Scope::Cluster) {
            scorer.score.pod_moved(cx, pod, node, by);
        }
    }

    /// Tells the filters only: what preemption and nominated pods suppose. It must be taken back.
    pub fn filter_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        for slot in &mut self.filters[self.local..] {
            slot.filter.pod_moved(cx, pod, node, by);
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
    pub fn rehearsed(&self, snapshot: &Snapshot, node: usize) -> Option<&Rehearsal> {
        let (generation, budgets, rehearsal) = self.dry_runs.get(node)?.as_ref()?;
        let holds = *generation == snapshot.generation(node) && *budgets == snapshot.budgets();
        holds.then_some(rehearsal)
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
        match cx.snapshot.position(node) {
            Some(position) => self.check_at(cx, position, node),
            None => match self.local_verdict(cx, node) {
                FITS => self.check_rest(cx, node),
                verdict => verdict,
            },
        }
    }

    /// The same for the node at this place of the order.
    pub fn check_at(&mut self, cx: &Cx<'_>, position: usize, node: usize) -> u32 {
        if position >= self.board.len() {
            return match self.local_verdict(cx, node) {
                FITS => self.check_rest(cx, node),
                verdict => verdict,
            };
        }
        if !self.board.knows(position) {
            self.ask(cx, position, node);
        }
        match self.board.verdict(position) {
            FITS => self.check_rest(cx, node),
            verdict => verdict,
        }
    }

    /// What the filters that are not local say.
    fn check_rest(&mut self, cx: &Cx<'_>, node: usize) -> u32 {
        let refusal = self.filters[self.local..]
            .iter()
            .filter(|slot| !slot.filter.idle())
            .find_map(|slot| check(self.observe, slot, cx, node));
        refusal.map_or(FITS, |rejection| self.remember(rejection))
    }

    fn local_verdict(&mut self, cx: &Cx<'_>, node: usize) -> u32 {
        let refusal = self.filters[..self.local].iter().find_map(|slot| check(self.observe, slot, cx, node));
        refusal.map_or(FITS, |rejection| self.remember(rejection))
    }

    /// Puts the answers about a node on the board.
    fn ask(&mut self, cx: &Cx<'_>, position: usize, node: usize) {
        let verdict = self.local_verdict(cx, node);
        let mut sum = 0i64;
        self.raws.clear();
        // Nobody asks for the scores of a node that does not fit.
        for scorer in self.scorers.iter().filter(|_| verdict == FITS) {
            match scorer.scope {
                Scope::Cluster => {}
                Scope::Row => self.raws.push(scorer.score.score(cx, node)),
                Scope::RowFinal => {
                    sum = sum.wrapping_add(scorer.score.score(cx, node).wrapping_mul(scorer.weight));
                }
            }
        }
        self.board.put(position, &Answer { verdict, sum, raws: &self.raws });
    }

    /// Looks at the places `from..to` of the order one after the other until `enough` nodes fit, and adds their places to
    /// `feasible`. `also` has a say about nodes that fit as far as the class knows. Answers where it stopped.
    pub fn scan(
        &mut self,
        cx: &Cx<'_>,
        (from, to): (usize, usize),
        enough: usize,
        feasible: &mut Vec<u32>,
        mut also: impl FnMut(&mut Class, usize) -> bool,
    ) -> usize {
        let order = cx.snapshot.order_now();
        let to = to.min(order.len()).min(self.board.len());
        let all_local = self.is_local();
        let mut at = from;
        while at < to && feasible.len() < enough {
            let word = at / 64;
            let end = (word * 64 + 64).min(to);
            let mut mask = u64::MAX << (at % 64);
            if end % 64 != 0 {
                mask &= (1 << (end % 64)) - 1;
            }
            let mut unknown = self.board.unknown(word) & mask;
            while unknown != 0 {
                let position = word * 64 + unknown.trailing_zeros() as usize;
                unknown &= unknown - 1;
                self.ask(cx, position, order[position] as usize);
            }
            let mut hits = self.board.fitting(word) & mask;
            while hits != 0 {
                let position = word * 64 + hits.trailing_zeros() as usize;
                hits &= hits - 1;
                let node = order[position] as usize;
                if (all_local || self.passes(cx, node)) && also(self, node) {
                    feasible.push(position as u32);
                    if feasible.len() >= enough {
                        return position + 1;
                    }
                }
            }
            at = end;
        }
        at
    }

    /// Whether the filters that are not local let the node pass.
    fn passes(&self, cx: &Cx<'_>, node: usize) -> bool {
        self.filters[self.local..].iter().all(|slot| slot.filter.idle() || slot.filter.passes(cx, node))
    }

    /// The same as [`Class::check`] without any memory, for a node that is supposed to be different (`cx.instead`).
    pub fn check_supposed(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        self.filters.iter().find_map(|slot| slot.filter.check(cx, node))
    }

    /// The places of the plugins that filter, and of those that score.
    pub fn places(&self) -> (impl Iterator<Item = usize> + '_, impl Iterator<Item = usize> + '_) {
        (self.filters.iter().map(|slot| slot.place), self.scorers.iter().map(|scorer| scorer.place))
    }

    /// An error that some filter met, which ends the attempt; with the plugin's place.
    pub fn fatal(&self) -> Option<(usize, &str)> {
        self.filters.iter().find_map(|slot| Some((slot.place, slot.filter.fatal()?)))
    }

    /// Whether all filters look at the node's row alone (or refuse nothing).
    pub fn is_local(&self) -> bool {
        self.filters[self.local..].iter().all(|slot| slot.filter.idle())
    }

    /// Every refusal of the node, not only the first, with who refused.
    pub fn refusals(&self, cx: &Cx<'_>, node: usize) -> Vec<(Rejection, &dyn Filter)> {
        let check = |slot: &'_ Slot| slot.filter.check(cx, node);
        self.filters.iter().filter_map(|slot| Some((check(slot)?, &*slot.filter))).collect()
    }

    /// Sums the weighted, normalised scores of the nodes at these places into `sums`, up to a number that is the same for
    /// all. They must have been found by [`Class::scan`] or [`Class::check`].
    pub fn rank(&mut self, cx: &Cx<'_>, positions: &[u32], sums: &mut Vec<i64>) {
        if self.only.is_some() {
            let order = cx.snapshot.order_now();
            let nodes: Vec<u32> = positions.iter().map(|position| order[*position as usize]).collect();
            return self.score(cx, &nodes, sums, |_, _, _| {});
        }
        let finals = self.board.sums();
        sums.clear();
        sums.extend(positions.iter().map(|position| finals[*position as usize]));
        let order = cx.snapshot.order_now();
        let (nodes, scores) = (&mut self.nodes, &mut self.raws);
        nodes.clear();
        let mut column = 0;
        for scorer in &mut self.scorers {
            scores.clear();
            match scorer.scope {
                Scope::RowFinal => continue,
                Scope::Row => {
                    let raws = self.board.raws(column);
                    column += 1;
                    // Equal scores stay equal when they are normalised.
                    let Some(raws) = raws else { continue };
                    scores.extend(positions.iter().map(|position| raws[*position as usize]));
                    fill(nodes, positions, order);
                }
                Scope::Cluster => {
                    fill(nodes, positions, order);
                    if !scorer.score.begin(cx, nodes) {
                        continue;
                    }
                    scores.resize(nodes.len(), 0);
                    let begun = self.observe.map(|_| Instant::now());
                    scorer.score.score_all(cx, nodes, scores);
                    if let (Some(observe), Some(begun)) = (self.observe, begun) {
                        // A plugin's time is that for one node.
                        observe(
                            scorer.plugin,
                            Point::Score,
                            true,
                            begun.elapsed() / nodes.len().max(1) as u32,
                        );
                    }
                }
            }
            scorer.score.normalize(cx, nodes, scores);
            for (sum, score) in sums.iter_mut().zip(scores.iter()) {
                *sum = sum.wrapping_add(score.wrapping_mul(scorer.weight));
            }
        }
    }

    /// The whole scores of `nodes`, asked anew: sums into `sums`; `report` hears of every plugin's raw and final ones.
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
        for scorer in &mut self.scorers {
            if !scorer.score.begin(cx, nodes) {
                continue;
            }
            scorer.score.score_all(cx, nodes, &mut scores);
            raw.clone_from(&scores);
            scorer.score.normalize(cx, nodes, &mut scores);
            for (sum, score) in sums.iter_mut().zip(&mut scores) {
                *score = score.wrapping_mul(scorer.weight);
                *sum = sum.wrapping_add(*score);
            }
            report(scorer.plugin, &raw, &scores);
        }
    }
}

/// The nodes at these places, unless they are filled in already.
fn fill(nodes: &mut Vec<u32>, positions: &[u32], order: &[u32]) {
    if nodes.is_empty() {
        nodes.extend(positions.iter().map(|position| order[*position as usize]));
    }
}
