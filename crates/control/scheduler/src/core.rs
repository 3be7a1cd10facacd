//! The scheduler without its surroundings: a snapshot, profiles, and one decision after the other.
//!
//! Everything here computes; nothing waits, sleeps or talks. Given the same events and the same random numbers it decides
//! the same.

use std::sync::Arc;

use hashbrown::HashMap;
use meta::Str;

use crate::class::{Class, FITS};
use crate::failure::Failure;
use crate::nominated::Nominated;
use crate::plugin::{Cx, Rejection};
use crate::pod_info::PodInfo;
use crate::profile::Profile;
use crate::snapshot::{NodeRow, Snapshot};

/// Fewest nodes that a search looks for, whatever the percentage says.
const FEASIBLE_MIN: usize = 100;
/// Classes kept. The oldest go first.
const CLASSES_MAX: usize = 512;

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
    /// Nodes that will do, in the order in which they were found.
    pub feasible: Vec<u32>,
    /// Nodes that will not, with the number of the rejection in the class.
    pub rejected: Vec<(u32, u32)>,
}

/// Snapshot, profiles, and what is remembered between cycles.
pub struct Core {
    /// The cluster.
    pub snapshot: Snapshot,
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// Pods that preempted others and wait for their node to become free.
    pub nominated: Nominated,
    classes: HashMap<(usize, Arc<[u8]>), (u64, Class)>,
    cycles: u64,
    next_start: usize,
    sums: Vec<i64>,
}

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
    pub fn class(&mut self, pod: &PodInfo, profile: usize) -> Class {
        if let Some(key) = &pod.class
            && let Some((_, mut class)) = self.classes.remove(&(profile, key.clone()))
            && class.catch_up(pod, &self.snapshot)
        {
            return class;
        }
        Class::new(pod, &mut self.snapshot, &self.profiles[profile])
    }

    /// Keeps a class for the next pod like this one.
    pub fn give_back(&mut self, pod: &PodInfo, profile: usize, class: Class) {
        let Some(key) = &pod.class else { return };
        if self.classes.len() >= CLASSES_MAX {
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
        mut trace: Option<&mut Trace>,
    ) -> Decision {
        self.cycles += 1;
        let total = self.snapshot.count();
        if total == 0 {
            return Decision::Failed(Failure::no_nodes());
        }
        let mut class = self.class(pod, profile);
        if let Some(rejection) = &class.refused {
            let failure = Failure::pre_filter(total, rejection.clone());
            self.give_back(pod, profile, class);
            return Decision::Failed(failure);
        }
        let filtered = self.filter(pod, profile, &mut class);
        let cx = Cx::new(pod, &self.snapshot);
        let mut sums = std::mem::take(&mut self.sums);
        let evaluated = filtered.feasible.len() + filtered.rejected.len();
        let chosen = match filtered.feasible[..] {
            [] => None,
            [only] => Some(only as usize),
            _ => {
                class.score(&cx, &filtered.feasible, &mut sums, |plugin, raw, scores| {
                    if let Some(trace) = trace.as_deref_mut() {
                        trace.scores.push((plugin, raw.to_vec(), scores.to_vec()));
                    }
                });
                Some(best(&filtered.feasible, &sums, tie))
            }
        };
        if let Some(trace) = trace {
            trace.feasible = filtered.feasible.clone();
            let refusal = |(node, verdict): &(u32, u32)| Some((*node, class.rejection(*verdict)?.clone()));
            trace.rejected = filtered.rejected.iter().filter_map(refusal).collect();
            trace.sums = if filtered.feasible.len() > 1 { sums.clone() } else { Vec::new() };
        }
        self.sums = sums;
        let decision = match chosen {
            Some(index) => Decision::Node { index, feasible: filtered.feasible.len(), evaluated },
            None => Decision::Failed(Failure::filters(total, filtered.rejected, &class)),
        };
        self.give_back(pod, profile, class);
        decision
    }

    /// The nodes that pass the filters, and why the others do not: the first half of [`Core::decide`], for when others have
    /// a say.
    ///
    /// # Errors
    /// Why there is none.
    pub fn feasible(&mut self, pod: &Arc<PodInfo>, profile: usize) -> Result<(Vec<u32>, Failure), Failure> {
        self.cycles += 1;
        let total = self.snapshot.count();
        if total == 0 {
            return Err(Failure::no_nodes());
        }
        let mut class = self.class(pod, profile);
        let outcome = match &class.refused {
            Some(rejection) => Err(Failure::pre_filter(total, rejection.clone())),
            None => {
                let filtered = self.filter(pod, profile, &mut class);
                let failure = Failure::filters(total, filtered.rejected, &class);
                if filtered.feasible.is_empty() { Err(failure) } else { Ok((filtered.feasible, failure)) }
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
        let mut filtered = Filtered { feasible: Vec::new(), rejected: Vec::new() };
        let nominated = self.nominated.node_of(pod).and_then(|name| self.snapshot.index_of(&name));
        if let Some(node) = nominated {
            let verdict = check(class, pod, &self.snapshot, &self.nominated, node);
            if verdict == FITS {
                filtered.feasible.push(node as u32);
                return filtered;
            }
        }
        let narrowed: Option<Vec<u32>> = class.only.as_ref().map(|(names, _)| {
            let mut nodes: Vec<u32> = names
                .iter()
                .filter_map(|name| self.snapshot.index_of(name))
                .map(|node| node as u32)
                .collect();
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        });
        // Cheap: the list is made anew only when nodes come or go.
        self.snapshot.ordered();
        let nodes: &[u32] = narrowed.as_deref().unwrap_or_else(|| self.snapshot.order_now());
        let enough = match self.profiles[profile].scorers.is_empty() {
            true => 1,
            false => enough_feasible(nodes.len(), self.profiles[profile].percentage_of_nodes_to_score),
        };
        let start = if nodes.is_empty() { 0 } else { self.next_start % nodes.len() };
        for node in nodes[start..].iter().chain(&nodes[..start]) {
            match check(class, pod, &self.snapshot, &self.nominated, *node as usize) {
                FITS => {
                    filtered.feasible.push(*node);
                    if filtered.feasible.len() >= enough {
                        break;
                    }
                }
                verdict => filtered.rejected.push((*node, verdict)),
            }
        }
        let processed = filtered.feasible.len() + filtered.rejected.len();
        if !nodes.is_empty() {
            self.next_start = (start + processed) % nodes.len();
        }
        filtered
    }

    /// The pod goes to the node: counts at once.
    pub fn place(&mut self, pod: &Arc<PodInfo>, node: usize) -> Str {
        let name = self.snapshot.name(node);
        self.nominated.remove(pod.uid());
        self.snapshot.place(pod.clone(), &name);
        name
    }
}

/// Whether the pod fits, with pods of at least its priority that are nominated for the node supposed to be there; and
/// without them, since they may never come.
fn check(class: &mut Class, pod: &PodInfo, snapshot: &Snapshot, nominated: &Nominated, node: usize) -> u32 {
    let cx = Cx::new(pod, snapshot);
    let guests = nominated.on(snapshot, node, pod);
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

/// One of the nodes with the highest sum.
pub fn best(nodes: &[u32], sums: &[i64], tie: u64) -> usize {
    let best = sums.iter().copied().max().unwrap_or(0);
    let ties = sums.iter().filter(|sum| **sum == best).count() as u64;
    let tied = nodes.iter().zip(sums).filter(|(_, sum)| **sum == best).map(|(node, _)| *node as usize);
    tied.into_iter().nth((tie % ties.max(1)) as usize).unwrap_or(0)
}
