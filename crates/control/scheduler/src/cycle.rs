//! One scheduling decision: a pure function of pod, snapshot and profile.

use std::collections::BTreeMap;

use meta::Str;

use crate::node_set::NodeSet;
use crate::plugin::{Candidates, PreFilter, Rejection, Wanted};
use crate::profile::Profile;
use crate::snapshot::Snapshot;

/// How a decision ended.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// The pod goes to the node with this index. Of several best nodes one is drawn by `tie`.
    Node {
        /// Index in the snapshot.
        index: usize,
        /// Nodes that were feasible.
        feasible: usize,
    },
    /// No node will do.
    Unschedulable {
        /// The text of the event and of the condition.
        message: Str,
        /// Names of the plugins that refused, sorted.
        plugins: Vec<&'static str>,
    },
}

/// Decides where the pod goes. `tie` is a random number that settles ties.
pub fn decide(wanted: &Wanted<'_>, snapshot: &Snapshot, profile: &Profile, tie: u64) -> Decision {
    let total = snapshot.count();
    if total == 0 {
        return Decision::Unschedulable {
            message: "no nodes available to schedule pods".into(),
            plugins: vec![],
        };
    }
    let candidates = match filter(wanted, snapshot, profile) {
        Ok(candidates) => candidates,
        Err(rejection) => {
            let message = format!("0/{total} nodes are available: {}.", rejection.reasons.join(", "));
            return Decision::Unschedulable { message: message.into(), plugins: vec![rejection.plugin] };
        }
    };
    let nodes: Vec<usize> = candidates.feasible.iter().collect();
    match nodes[..] {
        [] => unschedulable(total, &candidates.rejected),
        [index] => Decision::Node { index, feasible: 1 },
        _ => {
            let scores = score(wanted, snapshot, profile, &nodes);
            let best = scores.iter().copied().max().unwrap_or(0);
            let tied: Vec<usize> = nodes
                .iter()
                .zip(&scores)
                .filter(|(_, score)| **score == best)
                .map(|(index, _)| *index)
                .collect();
            Decision::Node { index: tied[(tie % tied.len() as u64) as usize], feasible: nodes.len() }
        }
    }
}

/// Runs PreFilter and Filter.
///
/// # Errors
/// The rejection of a plugin that refused the pod for all nodes.
pub fn filter(wanted: &Wanted<'_>, snapshot: &Snapshot, profile: &Profile) -> Result<Candidates, Rejection> {
    let mut candidates = Candidates { feasible: snapshot.present().clone(), rejected: Vec::new() };
    let mut active = Vec::with_capacity(profile.plugins.len());
    for (plugin, _) in &profile.plugins {
        match plugin.pre_filter(wanted, snapshot) {
            PreFilter::Skip => {}
            PreFilter::Run => active.push(*plugin),
            PreFilter::Only(nodes) => {
                candidates.feasible.intersect(&nodes);
                active.push(*plugin);
            }
            PreFilter::Reject(rejection) => return Err(rejection),
        }
    }
    for plugin in active {
        if candidates.feasible.is_empty() {
            break;
        }
        plugin.filter(wanted, snapshot, &mut candidates);
    }
    Ok(candidates)
}

/// The weighted sums of all plugins' scores for `nodes`.
pub fn score(wanted: &Wanted<'_>, snapshot: &Snapshot, profile: &Profile, nodes: &[usize]) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    let mut scores = vec![0; nodes.len()];
    for (plugin, weight) in &profile.plugins {
        scores.fill(0);
        if !plugin.score(wanted, snapshot, nodes, &mut scores) {
            continue;
        }
        plugin.normalize(&mut scores);
        for (sum, score) in sums.iter_mut().zip(&scores) {
            *sum += score * weight;
        }
    }
    sums
}

/// Counts equal reasons over all nodes, as "0/5 nodes are available: 2 Too many pods, 3 Insufficient cpu."
fn unschedulable(total: usize, rejected: &[(usize, Rejection)]) -> Decision {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut plugins: Vec<&'static str> = rejected.iter().map(|(_, rejection)| rejection.plugin).collect();
    for reason in rejected.iter().flat_map(|(_, rejection)| &rejection.reasons) {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    plugins.sort_unstable();
    plugins.dedup();
    let message = format!("0/{total} nodes are available: {}.", parts.join(", "));
    Decision::Unschedulable { message: message.into(), plugins }
}

/// The nodes that a `metadata.name` or another PreFilter result leaves, for tests and explanations.
pub fn only(snapshot: &Snapshot, names: &[&str]) -> NodeSet {
    let mut set = NodeSet::none(snapshot.count());
    for index in names.iter().filter_map(|name| snapshot.index_of(name)) {
        set.insert(index);
    }
    set
}
