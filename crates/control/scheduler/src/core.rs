//! The scheduler without its surroundings: a snapshot, profiles, and one decision after the other.
//!
//! Everything here computes; nothing waits, sleeps or talks. Given the same events and the same random numbers it decides
//! the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use meta::Str;

use crate::class::{Class, FITS, ObservePlugin};
use crate::failure::Failure;
use crate::nominated::Nominated;
use crate::plugin::{Cx, Rejection};
use crate::plugins::Point;
use crate::pod_info::PodInfo;
use crate::profile::Profile;
use crate::snapshot::{NodeRow, Snapshot};

/// Fewest nodes that a search looks for, whatever the percentage says.
const FEASIBLE_MIN: usize = 100;
/// Classes kept, at most and at least. The oldest go first.
const CLASSES_MAX: usize = 512;
const CLASSES_MIN: usize = 16;
/// What all classes together may know of nodes: with more nodes there are fewer classes.
const ANSWERS_MAX: usize = 4_000_000;

/// How a decision ended.
#[derive(Debug)]
pub enum Decision {
    /// The pod goes to the node with this index.
    Node {
        /// Index in the snapshot.
        index: usize,
        /// Nodes that were feasible.
        feasible: usize,
        /// Nodes that were looked at.
        evaluated: usize,
    },
    /// No node will do.
    Failed(Failure),
    /// Something is wrong that no node makes good; it is tried again after a back-off.
    Error(String),
}

/// Scores of one cycle, for those who want to see them.
#[derive(Debug, Default)]
pub struct Trace {
    /// Indices of the feasible nodes.
    pub feasible: Vec<u32>,
    /// Refused nodes that were looked at.
    pub rejected: Vec<(u32, Arc<Rejection>)>,
    /// Each plugin's raw scores and its weighted normalised ones, in the order of `feasible`.
    pub scores: Vec<(&'static str, Vec<i64>, Vec<i64>)>,
    /// Their sums.
    pub sums: Vec<i64>,
}

/// What filtering came to.
pub struct Filtered {
    /// The nodes that will do, by their place in the order, as they were found.
    pub feasible: Vec<u32>,
    /// The places that were looked at, in this order.
    looked_at: LookedAt,
    /// How many those were.
    pub evaluated: usize,
}

/// The places that a search looked at.
enum LookedAt {
    /// From a place to another one, round the end.
    Stretch { start: usize, total: usize },
    /// Those of a list.
    List(Vec<u32>),
}

impl Filtered {
    /// The places that were looked at, one after the other.
    fn places(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.evaluated).map(|at| match &self.looked_at {
            LookedAt::Stretch { start, total } => ((start + at) % total) as u32,
            LookedAt::List(list) => list[at],
        })
    }
}

/// Profile and class of a pod.
type ClassKey = (usize, Arc<[u8]>);

/// Snapshot, profiles, and what is remembered between cycles.
pub struct Core {
    /// The cluster.
    pub snapshot: Snapshot,
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// Pods that preempted others and wait for their node to become free.
    pub nominated: Nominated,
    /// By profile and class key, with the cycle of the last use.
    classes: HashMap<ClassKey, (u64, Box<Class>)>,
    /// Hears how long the extension points took that the core runs; without it no clock is read.
    pub observe: Option<Observe>,
    /// Hears how long plugins took, of one attempt in ten.
    pub observe_plugin: Option<ObservePlugin>,
    evaluations: Vec<Evaluations>,
    cycles: u64,
    next_start: usize,
    sums: Vec<i64>,
}

/// How many attempts each plugin of a profile took part in, by its place.
#[derive(Clone, Default)]
struct Evaluations {
    attempts: u64,
    filters: Vec<u64>,
    rankings: u64,
    scorers: Vec<u64>,
}

/// One attempt in so many is looked at plugin by plugin.
const SAMPLED: u64 = 10;

/// Takes note of an extension point that was run: the profile's name, the point, whether it let the pod go on, and how
/// long it took.
pub type Observe = fn(&str, Point, bool, Duration);

/// How many feasible nodes are enough, of `nodes`. A percentage of 0 means: half of them, and less the more there are, but
/// at least 5 %.
pub fn enough_feasible(nodes: usize, percentage: Option<i64>) -> usize {
    if nodes < FEASIBLE_MIN {
        return nodes;
    }
    let percentage = match percentage {
        Some(percentage) if percentage > 0 => percentage as usize,
        _ => 50usize.saturating_sub(nodes / 125).max(5),
    };
    (nodes * percentage / 100).max(FEASIBLE_MIN).min(nodes)
}

impl Core {
    /// An empty cluster.
    pub fn new(profiles: Vec<Profile>) -> Self {
        Core {
            snapshot: Snapshot::default(),
            profiles,
            nominated: Nominated::default(),
            classes: HashMap::new(),
            observe: None,
            observe_plugin: None,
            evaluations: Vec::new(),
            cycles: 0,
            next_start: 0,
            sums: Vec::new(),
        }
    }

    /// The profile that pods with this `schedulerName` use.
    pub fn profile(&self, scheduler_name: &str) -> Option<usize> {
        self.profiles.iter().position(|profile| profile.scheduler_name == *scheduler_name)
    }

    /// Takes the pod's class, up to date; [`Core::give_back`] returns it.
    pub fn class(&mut self, pod: &PodInfo, profile: usize) -> Box<Class> {
        if let Some(key) = pod.class()
            && let Some((_, mut class)) = self.classes.remove(&(profile, key.clone()))
            && class.catch_up(pod, &self.snapshot, &self.profiles[profile])
        {
            return class;
        }
        Box::new(Class::new(pod, &mut self.snapshot, &self.profiles[profile]))
    }

    /// Forgets what pods share, so that the next decision asks every plugin anew. It changes no answer.
    pub fn forget(&mut self) {
        self.classes.clear();
        self.snapshot.cluster.answers.get_mut().clear();
    }

    /// Keeps a class for the next pod like this one.
    pub fn give_back(&mut self, pod: &PodInfo, profile: usize, class: Box<Class>) {
        let Some(key) = pod.class() else { return };
        let most = (ANSWERS_MAX / self.snapshot.rows().max(1)).clamp(CLASSES_MIN, CLASSES_MAX);
        if self.classes.len() >= most {
            // The older half goes, so that this is rare.
            let mut ages: Vec<u64> = self.classes.values().map(|(used, _)| *used).collect();
            let middle = ages.len() / 2;
            let median = *ages.select_nth_unstable(middle).1;
            self.classes.retain(|_, (used, _)| *used > median);
        }
        self.classes.insert((profile, key.clone()), (self.cycles, class));
    }

    /// Decides where the pod goes. `tie` is a random number that settles ties. The caller places the pod.
    pub fn decide(
        &mut self,
        pod: &Arc<PodInfo>,
        profile: usize,
        tie: u64,
        trace: Option<&mut Trace>,
    ) -> Decision {
        self.cycles += 1;
        let total = self.snapshot.count();
        if total == 0 {
            return Decision::Failed(Failure::no_nodes());
        }
        let begun = self.begin();
        let mut class = self.class(pod, profile);
        self.end(profile, Point::PreFilter, class.refused.is_none(), begun);
        class.observe = self.observe_plugin.filter(|_| self.cycles.is_multiple_of(SAMPLED));
        let decision = match &class.refused {
            Some(rejection) => Decision::Failed(Failure::pre_filter(total, rejection.clone())),
            None => self.search(pod, profile, &mut class, tie, trace),
        };
        class.observe = None;
        self.count(profile, &class, &decision);
        self.give_back(pod, profile, class);
        decision
    }

    fn search(
        &mut self,
        pod: &Arc<PodInfo>,
        profile: usize,
        class: &mut Class,
        tie: u64,
        trace: Option<&mut Trace>,
    ) -> Decision {
        let begun = self.begin();
        let filtered = self.filter(pod, profile, class);
        self.end(profile, Point::Filter, !filtered.feasible.is_empty(), begun);
        if let Some(error) = self.fatal(profile, class) {
            return Decision::Error(error);
        }
        if let Some(trace) = trace {
            self.tell(pod, class, &filtered, trace);
        }
        let place = match filtered.feasible[..] {
            [] => {
                let failure = self.failure(pod, class, &filtered);
                return match self.fatal(profile, class) {
                    Some(error) => Decision::Error(error),
                    None => Decision::Failed(failure),
                };
            }
            [only] => only,
            _ => {
                let begun = self.begin();
                let mut sums = std::mem::take(&mut self.sums);
                class.rank(&Cx::new(pod, &self.snapshot), &filtered.feasible, &mut sums);
                let place = best(&filtered.feasible, &sums, tie);
                self.sums = sums;
                self.end(profile, Point::Score, true, begun);
                place
            }
        };
        let index = self.snapshot.order_now()[place as usize] as usize;
        Decision::Node { index, feasible: filtered.feasible.len(), evaluated: filtered.evaluated }
    }

    /// Counts the plugins that took part in an attempt.
    fn count(&mut self, profile: usize, class: &Class, decision: &Decision) {
        let Profile { filters, scorers, .. } = &self.profiles[profile];
        if self.evaluations.len() <= profile {
            self.evaluations.resize(self.profiles.len(), Evaluations::default());
        }
        let counts = &mut self.evaluations[profile];
        counts.filters.resize(filters.len(), 0);
        counts.scorers.resize(scorers.len(), 0);
        counts.attempts += 1;
        if class.refused.is_some() {
            return;
        }
        let (filtering, scoring) = class.places();
        filtering.for_each(|place| counts.filters[place] += 1);
        if matches!(decision, Decision::Node { feasible, .. } if *feasible > 1) {
            counts.rankings += 1;
            scoring.for_each(|place| counts.scorers[place] += 1);
        }
    }

    /// How many attempts each plugin took part in: plugin, extension point, profile, attempts.
    pub fn evaluations(&self) -> Vec<(&'static str, Point, &Str, u64)> {
        let mut all = Vec::new();
        for (profile, counts) in self.profiles.iter().zip(&self.evaluations) {
            let name = &profile.scheduler_name;
            let mut add = |plugin: &'static str, point: Point, count: u64| {
                let has = crate::plugins::find(plugin).is_none_or(|entry| entry.points.contains(&point));
                if has && count > 0 {
                    all.push((plugin, point, name, count));
                }
            };
            for (plugin, count) in profile.filters.iter().zip(&counts.filters) {
                add(plugin.name(), Point::PreFilter, counts.attempts);
                add(plugin.name(), Point::Filter, *count);
            }
            for ((plugin, _), count) in profile.scorers.iter().zip(&counts.scorers) {
                add(plugin.name(), Point::PreScore, counts.rankings);
                add(plugin.name(), Point::Score, *count);
            }
        }
        all
    }

    /// What a filter found to be wrong, in upstream's words.
    fn fatal(&self, profile: usize, class: &Class) -> Option<String> {
        let (place, error) = class.fatal()?;
        let plugin = self.profiles[profile].filters.get(place)?.name();
        Some(format!("running {plugin:?} filter plugin: {error}"))
    }

    fn begin(&self) -> Option<Instant> {
        self.observe.map(|_| Instant::now())
    }

    fn end(&self, profile: usize, point: Point, good: bool, begun: Option<Instant>) {
        if let (Some(observe), Some(begun)) = (self.observe, begun) {
            observe(&self.profiles[profile].scheduler_name, point, good, begun.elapsed());
        }
    }

    /// Fills a trace in with scores that are asked anew.
    fn tell(&self, pod: &PodInfo, class: &mut Class, filtered: &Filtered, trace: &mut Trace) {
        trace.feasible = self.nodes(&filtered.feasible);
        let refused = self.refused(pod, class, filtered);
        let refusal = |(node, verdict): (u32, u32)| Some((node, class.rejection(verdict)?.clone()));
        trace.rejected = refused.into_iter().filter_map(refusal).collect();
        if trace.feasible.len() > 1 {
            let (nodes, cx) = (trace.feasible.clone(), Cx::new(pod, &self.snapshot));
            let (scores, sums) = (&mut trace.scores, &mut trace.sums);
            class.score(&cx, &nodes, sums, |plugin, raw, weighted| {
                scores.push((plugin, raw.to_vec(), weighted.to_vec()));
            });
        }
    }

    fn nodes(&self, places: &[u32]) -> Vec<u32> {
        let order = self.snapshot.order_now();
        places.iter().map(|place| order[*place as usize]).collect()
    }

    /// The nodes that were looked at and will not do, with the numbers of their rejections.
    fn refused(&self, pod: &PodInfo, class: &mut Class, filtered: &Filtered) -> Vec<(u32, u32)> {
        let (order, cx) = (self.snapshot.order_now(), Cx::new(pod, &self.snapshot));
        let mut feasible = filtered.feasible.iter().peekable();
        let mut refused = Vec::with_capacity(filtered.evaluated - filtered.feasible.len());
        for place in filtered.places() {
            if feasible.next_if(|found| **found == place).is_some() {
                continue;
            }
            let node = order[place as usize];
            let verdict = match self.nominated.has(node as usize) {
                true => check(class, pod, &self.snapshot, &self.nominated, node as usize),
                false => class.check_at(&cx, place as usize, node as usize),
            };
            refused.push((node, verdict));
        }
        refused
    }

    fn failure(&self, pod: &PodInfo, class: &mut Class, filtered: &Filtered) -> Failure {
        let refused = self.refused(pod, class, filtered);
        Failure::filters(self.snapshot.count(), refused, class)
    }

    /// The nodes that pass the filters, and why the others do not: the first half of [`Core::decide`], for when others have
    /// a say.
    ///
    /// # Errors
    /// Why there is none.
    pub fn feasible(
        &mut self,
        pod: &Arc<PodInfo>,
        profile: usize,
    ) -> Result<(Vec<u32>, Failure), Box<Failure>> {
        self.cycles += 1;
        let total = self.snapshot.count();
        if total == 0 {
            return Err(Box::new(Failure::no_nodes()));
        }
        let mut class = self.class(pod, profile);
        let outcome = match &class.refused {
            Some(rejection) => Err(Box::new(Failure::pre_filter(total, rejection.clone()))),
            None => {
                let filtered = self.filter(pod, profile, &mut class);
                let failure = self.failure(pod, &mut class, &filtered);
                let nodes = self.nodes(&filtered.feasible);
                if nodes.is_empty() { Err(Box::new(failure)) } else { Ok((nodes, failure)) }
            }
        };
        self.give_back(pod, profile, class);
        outcome
    }

    /// The sums of the scores of nodes that may have the pod: the second half of [`Core::decide`].
    pub fn sums(&mut self, pod: &Arc<PodInfo>, profile: usize, nodes: &[u32]) -> Vec<i64> {
        let mut class = self.class(pod, profile);
        let mut sums = Vec::new();
        class.score(&Cx::new(pod, &self.snapshot), nodes, &mut sums, |_, _, _| {});
        self.give_back(pod, profile, class);
        sums
    }

    /// Runs Filter over the nodes, from where the last search ended, until enough are found.
    pub fn filter(&mut self, pod: &Arc<PodInfo>, profile: usize, class: &mut Class) -> Filtered {
        // Cheap: the list is made anew only when nodes come or go.
        self.snapshot.ordered();
        let nominated = self.nominated.node_of(pod).and_then(|name| self.snapshot.index_of(&name));
        if let Some(node) = nominated
            && let Some(place) = self.snapshot.position(node)
            && check(class, pod, &self.snapshot, &self.nominated, node) == FITS
        {
            let looked_at = LookedAt::List(vec![place as u32]);
            return Filtered { feasible: vec![place as u32], looked_at, evaluated: 1 };
        }
        if class.only.is_some() {
            return self.filter_narrowed(pod, profile, class);
        }
        let total = self.snapshot.order_now().len();
        let enough = self.enough(profile, total);
        let start = self.next_start.checked_rem(total).unwrap_or(0);
        let mut feasible = Vec::with_capacity(enough);
        let (snapshot, nominated) = (&self.snapshot, &self.nominated);
        let cx = Cx::new(pod, snapshot);
        let also = |class: &mut Class, node: usize| {
            !nominated.has(node) || check(class, pod, snapshot, nominated, node) == FITS
        };
        let end = class.scan(&cx, (start, total), enough, &mut feasible, also);
        let mut evaluated = end - start;
        if end == total && feasible.len() < enough {
            evaluated += class.scan(&cx, (0, start), enough, &mut feasible, also);
        }
        self.next_start = (start + evaluated).checked_rem(total).unwrap_or(0);
        Filtered { feasible, looked_at: LookedAt::Stretch { start, total }, evaluated }
    }

    /// The same over the nodes that some plugin narrowed the search to.
    fn filter_narrowed(&mut self, pod: &Arc<PodInfo>, profile: usize, class: &mut Class) -> Filtered {
        let names = class.only.as_ref().map_or(&[][..], |(names, _)| names);
        let mut nodes: Vec<usize> = names.iter().filter_map(|name| self.snapshot.index_of(name)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let enough = self.enough(profile, nodes.len());
        let start = self.next_start.checked_rem(nodes.len()).unwrap_or(0);
        nodes.rotate_left(start);
        let (mut feasible, mut list) = (Vec::new(), Vec::new());
        for node in &nodes {
            let Some(place) = self.snapshot.position(*node) else { continue };
            list.push(place as u32);
            if check(class, pod, &self.snapshot, &self.nominated, *node) == FITS {
                feasible.push(place as u32);
                if feasible.len() >= enough {
                    break;
                }
            }
        }
        let evaluated = list.len();
        if !nodes.is_empty() {
            self.next_start = (start + evaluated) % nodes.len();
        }
        Filtered { feasible, looked_at: LookedAt::List(list), evaluated }
    }

    /// How many feasible nodes of `nodes` end a search.
    fn enough(&self, profile: usize, nodes: usize) -> usize {
        match self.profiles[profile].scorers.is_empty() {
            true => 1,
            false => enough_feasible(nodes, self.profiles[profile].percentage_of_nodes_to_score),
        }
    }

    /// The pod waits for the node to become free.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: Str) {
        self.snapshot.want_terms(&pod);
        self.nominated.set(pod, node, &mut self.snapshot);
    }

    /// The pod waits for no node any more.
    pub fn release(&mut self, uid: &str) {
        self.nominated.remove(uid, &mut self.snapshot);
    }

    /// The pod goes to the node: counts at once.
    pub fn place(&mut self, pod: &Arc<PodInfo>, node: usize) -> Str {
        let name = self.snapshot.name(node);
        self.nominated.remove(pod.uid(), &mut self.snapshot);
        self.snapshot.place(pod.clone(), &name);
        name
    }
}

/// Whether the pod fits, with pods of at least its priority that are nominated for the node supposed to be there; and
/// without them, since they may never come.
pub(crate) fn check(
    class: &mut Class,
    pod: &PodInfo,
    snapshot: &Snapshot,
    nominated: &Nominated,
    node: usize,
) -> u32 {
    let cx = Cx::new(pod, snapshot);
    let guests = nominated.on(node, pod);
    if !guests.is_empty() {
        let mut row: NodeRow = snapshot.row(node).clone();
        for guest in &guests {
            row.add_pod(guest.clone());
        }
        let supposed = Cx { instead: Some((node, &row)), ..cx };
        for guest in &guests {
            class.filter_moved(&supposed, guest, node, 1);
        }
        let refusal = class.check_supposed(&supposed, node);
        for guest in &guests {
            class.filter_moved(&supposed, guest, node, -1);
        }
        if let Some(rejection) = refusal {
            return class.remember(rejection);
        }
    }
    class.check(&cx, node)
}

/// One of those with the highest sum.
pub fn best(of: &[u32], sums: &[i64], tie: u64) -> u32 {
    let best = sums.iter().copied().max().unwrap_or(0);
    let ties = sums.iter().filter(|sum| **sum == best).count() as u64;
    let mut tied = of.iter().zip(sums).filter(|(_, sum)| **sum == best).map(|(one, _)| *one);
    tied.nth((tie % ties.max(1)) as usize).unwrap_or(0)
}
