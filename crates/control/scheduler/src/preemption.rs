//! DefaultPreemption: whether the removal of less important pods would make room, and which removal hurts least.
//!
//! A dry run takes all lesser pods of a node away, sees whether the pod fits, and gives back as many as it can, those
//! first whose loss would violate a disruption budget.

use std::cmp::Reverse;
use std::sync::Arc;

use meta::{Selector, Str, Time};
use types::core::v1::Pod;

use crate::class::Class;
use crate::cluster::Cluster;
use crate::core::Core;
use crate::failure::{Failure, histogram};
use crate::plugin::{Code, Cx, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::NodeRow;

/// The plugin's name.
pub const NAME: &str = "DefaultPreemption";

const WAITS_FOR_VICTIMS: &str = "not eligible due to a terminating pod on the nominated node.";
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// A node that would have room, and at what price.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Index of the node.
    pub node: usize,
    /// Pods that have to go, the most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them violate a disruption budget.
    pub pdb_violations: usize,
    price: Price,
}

/// What preemption came to.
#[derive(Debug)]
pub enum Preemption {
    /// These candidates; never empty.
    Candidates(Vec<Arc<Candidate>>),
    /// It does not help, for this reason.
    No(String),
}

impl Preemption {
    /// Whether it does not help because it did already.
    pub fn waits_for_victims(&self) -> bool {
        matches!(self, Preemption::No(reason) if reason == WAITS_FOR_VICTIMS)
    }
}

/// Whether the pod is on its way out because a scheduler preempted it.
fn terminating_by_preemption(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && pod.status.conditions.iter().any(|condition| {
            condition.type_ == "DisruptionTarget"
                && condition.status == "True"
                && condition.reason == "PreemptionByScheduler"
        })
}

/// Why the pod may not preempt now.
fn not_eligible(core: &Core, pod: &PodInfo, failure: &Failure) -> Option<&'static str> {
    if pod.pod.spec.preemption_policy.as_deref() == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let node = core.nominated.node_of(pod)?;
    let index = core.snapshot.index_of(&node)?;
    let refusal = failure.rejected().find(|(other, _)| *other as usize == index);
    if refusal.is_some_and(|(_, rejection)| rejection.code == Code::UnschedulableAndUnresolvable) {
        return None;
    }
    let waiting = core
        .snapshot
        .row(index)
        .pods
        .iter()
        .any(|other| other.priority < pod.priority && terminating_by_preemption(&other.pod));
    waiting.then_some(WAITS_FOR_VICTIMS)
}

/// When a pod started; one that did not start counts as the latest.
fn started(pod: &PodInfo) -> (bool, Option<&Time>) {
    let time = pod.pod.status.start_time.as_ref();
    (time.is_none(), time)
}

/// Orders pods by importance, the most important first: by priority, then the longer running.
fn by_importance(one: &PodInfo, other: &PodInfo) -> std::cmp::Ordering {
    other.priority.cmp(&one.priority).then_with(|| started(one).cmp(&started(other)))
}

/// Looks for nodes where preemption makes room. `random` says where the search starts.
pub fn preempt(
    core: &mut Core,
    pod: &Arc<PodInfo>,
    profile: usize,
    failure: &Failure,
    random: u64,
) -> Preemption {
    if let Some(reason) = not_eligible(core, pod, failure) {
        return Preemption::No(reason.to_owned());
    }
    let total = core.snapshot.count();
    let potential: Vec<u32> = failure.resolvable().collect();
    if potential.is_empty() {
        return Preemption::No(histogram(total, std::iter::once((NOT_HELPFUL, total))));
    }
    let args = core.profiles[profile].preemption;
    let enough = (potential.len() as i64 * args.candidates_percent_min / 100)
        .max(args.candidates_min)
        .min(potential.len() as i64) as usize;
    let mut class = core.class(pod, profile);
    let mut candidates = Vec::new();
    let mut refused = Vec::new();
    let mut unharmed = false;
    let mut budgets = None;
    let start = (random % potential.len() as u64) as usize;
    let local = class.is_local();
    for node in potential[start..].iter().chain(&potential[..start]) {
        let node = *node as usize;
        // Where nobody else is nominated and nothing beyond the row counts, the last dry run still holds.
        let alone = local && core.nominated.on(node, pod).is_empty();
        let known = if alone { class.rehearsed(&core.snapshot, node).cloned() } else { None };
        let rehearsal = known.unwrap_or_else(|| {
            let budgets = budgets.get_or_insert_with(|| Budgets::new(&core.snapshot.cluster));
            let rehearsal = dry_run(core, pod, &mut class, budgets, node).map(Arc::new).map_err(Arc::new);
            if alone {
                class.rehearse(&core.snapshot, node, &rehearsal);
            }
            rehearsal
        });
        match rehearsal {
            Ok(candidate) => {
                unharmed |= candidate.pdb_violations == 0;
                candidates.push(candidate);
                if unharmed && candidates.len() >= enough {
                    break;
                }
            }
            Err(rejection) => refused.push(rejection),
        }
    }
    core.give_back(pod, profile, class);
    if candidates.is_empty() {
        let reasons = refused.iter().flat_map(|rejection| rejection.reasons.iter());
        let reasons = reasons.map(|reason| (reason.as_str(), 1));
        let rest = (NOT_HELPFUL, total.saturating_sub(refused.len()));
        return Preemption::No(histogram(total, reasons.chain(std::iter::once(rest))));
    }
    Preemption::Candidates(candidates)
}

/// Who would have to go from the node.
fn dry_run(
    core: &Core,
    pod: &Arc<PodInfo>,
    class: &mut Class,
    budgets: &Budgets,
    node: usize,
) -> Result<Candidate, Rejection> {
    let mut row: NodeRow = core.snapshot.row(node).clone();
    let mut lesser: Vec<Arc<PodInfo>> =
        row.pods.iter().filter(|other| other.priority < pod.priority).cloned().collect();
    if lesser.is_empty() {
        return Err(Rejection::unresolvable(NAME, NO_VICTIMS));
    }
    let base = Cx::new(pod, &core.snapshot);
    let guests = core.nominated.on(node, pod);
    for guest in &guests {
        suppose(class, &base, &mut row, guest, node, 1);
    }
    for victim in &lesser {
        suppose(class, &base, &mut row, victim, node, -1);
    }
    let fits =
        |class: &Class, row: &NodeRow| class.check_supposed(&Cx { instead: Some((node, row)), ..base }, node);
    let outcome = match fits(class, &row) {
        Some(rejection) => Err(rejection),
        None => {
            lesser.sort_by(|one, other| by_importance(one, other));
            let (violating, others) = budgets.split(&lesser);
            let (violating_any, others_any) = (!violating.is_empty(), !others.is_empty());
            let mut victims = Vec::new();
            let mut pdb_violations = 0;
            for (victim, violates) in violating
                .into_iter()
                .map(|victim| (victim, true))
                .chain(others.into_iter().map(|victim| (victim, false)))
            {
                suppose(class, &base, &mut row, &victim, node, 1);
                if fits(class, &row).is_some() {
                    suppose(class, &base, &mut row, &victim, node, -1);
                    victims.push(victim);
                    pdb_violations += usize::from(violates);
                }
            }
            if violating_any && others_any {
                victims.sort_by(|one, other| by_importance(one, other));
            }
            Ok(Candidate::new(node, victims, pdb_violations))
        }
    };
    // The class goes back to what is.
    let kept: Vec<Str> = row.pods.iter().map(|other| other.uid().clone()).collect();
    for victim in lesser.iter().filter(|victim| !kept.contains(victim.uid())) {
        suppose(class, &base, &mut row, victim, node, 1);
    }
    for guest in &guests {
        suppose(class, &base, &mut row, guest, node, -1);
    }
    outcome
}

/// Takes a pod off a row or puts it there, and tells the filters.
fn suppose(class: &mut Class, cx: &Cx<'_>, row: &mut NodeRow, pod: &Arc<PodInfo>, node: usize, by: i64) {
    if by > 0 {
        row.add_pod(pod.clone());
    } else {
        row.remove_pod(pod.uid());
    }
    class.filter_moved(&Cx { instead: Some((node, row)), ..*cx }, pod, node, by);
}

/// Disruption budgets with how many more disruptions each allows.
struct Budgets(Vec<Budget>);

struct Budget {
    namespace: Str,
    selector: Selector,
    allowed: i32,
    disrupted: Vec<Str>,
}

impl Budgets {
    fn new(cluster: &Cluster) -> Self {
        let budgets = cluster.budgets.values().filter_map(|budget| {
            let selector = Selector::from_label_selector(budget.spec.selector.as_deref()).ok()?;
            Some(Budget {
                namespace: budget.metadata.namespace.clone(),
                selector,
                allowed: budget.status.disruptions_allowed,
                disrupted: budget.status.disrupted_pods.keys().cloned().collect(),
            })
        });
        Budgets(budgets.filter(|budget| !budget.selector.requirements().is_empty()).collect())
    }

    /// Those whose loss, in this order, violates a budget, and the others.
    fn split(&self, pods: &[Arc<PodInfo>]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
        let mut allowed: Vec<i32> = self.0.iter().map(|budget| budget.allowed).collect();
        let violates = |pod: &Arc<PodInfo>| {
            let metadata = &pod.pod.metadata;
            let mut violated = false;
            if metadata.labels.is_empty() {
                return false;
            }
            for (budget, allowed) in self.0.iter().zip(&mut allowed) {
                let concerned = budget.namespace == metadata.namespace
                    && budget.selector.matches(&metadata.labels)
                    && !budget.disrupted.contains(&metadata.name);
                if concerned {
                    *allowed -= 1;
                    violated |= *allowed < 0;
                }
            }
            violated
        };
        pods.iter().cloned().partition(violates)
    }
}

/// Number added to each priority so that sums of negative ones grow with their number.
const PRIORITY_OFFSET: i64 = i32::MAX as i64 + 1;

/// The price of a candidate: less is better, compared in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Price {
    pdb_violations: usize,
    highest: i32,
    sum: i64,
    victims: usize,
    /// When the most important victims started; the later, the better.
    latest_start: Reverse<Option<(bool, Option<Time>)>>,
}

impl Candidate {
    /// The same node with the victims that an extender chose.
    pub fn with_victims(&self, mut victims: Vec<Arc<PodInfo>>, pdb_violations: usize) -> Self {
        victims.sort_by(|one, other| by_importance(one, other));
        Candidate::new(self.node, victims, pdb_violations)
    }

    /// `victims` are in order, the most important first.
    fn new(node: usize, victims: Vec<Arc<PodInfo>>, pdb_violations: usize) -> Self {
        let highest = victims.first().map_or(i32::MIN, |victim| victim.priority);
        let sum = victims.iter().map(|victim| i64::from(victim.priority) + PRIORITY_OFFSET).sum();
        let most_important = victims.iter().filter(|victim| victim.priority == highest);
        let earliest = most_important.map(|victim| started(victim)).min();
        let latest_start = Reverse(earliest.map(|(never, time)| (never, time.cloned())));
        let price = Price { pdb_violations, highest, sum, victims: victims.len(), latest_start };
        Candidate { node, victims, pdb_violations, price }
    }
}

/// The candidates that hurt least; several when nothing tells them apart.
pub fn least_harm(candidates: &[Arc<Candidate>]) -> Vec<&Arc<Candidate>> {
    let best = candidates.iter().map(|candidate| &candidate.price).min();
    candidates.iter().filter(|candidate| Some(&candidate.price) == best).collect()
}
