//! Why a pod found no node, as data and as the text of its event and condition.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::class::Class;
use crate::plugin::{Code, Rejection};
use crate::plugins::dynamic_resources::Remedy;

/// Why a pod found no node.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// Nodes in the cluster.
    pub total: usize,
    /// The refusal of a plugin that did not even look at nodes.
    pub pre_filter: Option<Rejection>,
    /// Refused nodes, with the place of the rejection in `rejections`.
    refused: Vec<(u32, u32)>,
    /// The different rejections.
    rejections: Vec<Arc<Rejection>>,
    /// Why the other nodes were not looked at.
    pub absent: Option<String>,
    /// Plugins that narrowed the nodes to be looked at.
    pub narrowed_by: Vec<&'static str>,
    /// Victims of an earlier preemption are still going: the nominated node stays the pod's.
    pub waits_for_victims: bool,
    /// What PostFilter came to; empty when it helped.
    pub post_filter: String,
    /// What becomes of a claim that is in the way.
    pub remedy: Option<Remedy>,
}

impl Failure {
    /// There is no node at all.
    pub fn no_nodes() -> Self {
        Failure::default()
    }

    /// A plugin refused the pod for all nodes.
    pub fn pre_filter(total: usize, rejection: Rejection) -> Self {
        Failure { total, pre_filter: Some(rejection), ..Failure::default() }
    }

    /// The one node that the pod had was refused, after all.
    pub fn of_one(rejection: Rejection) -> Self {
        let mut failure = Failure { total: 1, ..Failure::default() };
        failure.refuse(0, rejection);
        failure
    }

    /// Every node was refused.
    pub fn filters(total: usize, rejected: Vec<(u32, u32)>, class: &Class) -> Self {
        let narrowed_by = class.only.as_ref().map_or(Vec::new(), |(_, plugins)| plugins.clone());
        let absent = (!narrowed_by.is_empty())
            .then(|| format!("node(s) didn't satisfy plugin(s) [{}]", narrowed_by.join(" ")));
        let rejections = class.rejections().to_vec();
        let refused = rejected.into_iter().map(|(node, verdict)| (node, verdict.saturating_sub(1))).collect();
        Failure { total, refused, rejections, absent, narrowed_by, ..Failure::default() }
    }

    /// One more refused node.
    pub fn refuse(&mut self, node: u32, rejection: Rejection) {
        self.rejections.push(Arc::new(rejection));
        self.refused.push((node, self.rejections.len() as u32 - 1));
    }

    /// Refused nodes.
    pub fn rejected(&self) -> impl ExactSizeIterator<Item = (u32, &Arc<Rejection>)> {
        self.refused.iter().map(|(node, at)| (*node, &self.rejections[*at as usize]))
    }

    /// Each rejection with the number of nodes that it is for.
    fn counts(&self) -> Vec<(&Rejection, usize)> {
        let mut counts = vec![0; self.rejections.len()];
        for (_, at) in &self.refused {
            counts[*at as usize] += 1;
        }
        let each = self.rejections.iter().zip(counts).map(|(rejection, count)| (&**rejection, count));
        each.filter(|(_, count)| *count > 0).collect()
    }

    /// Indices of the nodes where the removal of other pods may help.
    pub fn resolvable(&self) -> impl Iterator<Item = u32> + '_ {
        let resolvable: Vec<bool> =
            self.rejections.iter().map(|rejection| rejection.code == Code::Unschedulable).collect();
        self.refused.iter().filter(move |(_, at)| resolvable[*at as usize]).map(|(node, _)| *node)
    }

    /// Names of the plugins that refused, sorted.
    pub fn plugins(&self) -> Vec<&'static str> {
        let mut plugins: Vec<&'static str> = self
            .counts()
            .into_iter()
            .map(|(rejection, _)| rejection.plugin)
            .chain(self.pre_filter.iter().map(|rejection| rejection.plugin))
            .chain(self.narrowed_by.iter().copied())
            .collect();
        plugins.sort_unstable();
        plugins.dedup();
        plugins
    }

    /// The whole text, such as "0/5 nodes are available: 2 Too many pods, 3 Insufficient cpu."
    pub fn message(&self) -> String {
        let mut message = self.reasons();
        if !self.post_filter.is_empty() {
            message.push(' ');
            message.push_str(&self.post_filter);
        }
        message
    }

    fn reasons(&self) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".into();
        }
        if let Some(rejection) = &self.pre_filter {
            return format!("0/{} nodes are available: {}.", self.total, rejection.reasons.join(", "));
        }
        let counts = self.counts();
        let reasons = counts
            .iter()
            .flat_map(|(rejection, count)| rejection.reasons.iter().map(|reason| (reason.as_str(), *count)));
        let absent =
            self.absent.as_deref().map(|reason| (reason, self.total.saturating_sub(self.refused.len())));
        histogram(self.total, reasons.chain(absent))
    }
}

/// Counts equal reasons, each given with the number of nodes that it is for.
pub fn histogram<'a>(total: usize, reasons: impl Iterator<Item = (&'a str, usize)>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (reason, nodes) in reasons.filter(|(_, nodes)| *nodes > 0) {
        *counts.entry(reason).or_default() += nodes;
    }
    let mut parts: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    match parts.is_empty() {
        true => format!("0/{total} nodes are available."),
        false => format!("0/{total} nodes are available: {}.", parts.join(", ")),
    }
}
