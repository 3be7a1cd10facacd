//! DoNotSchedule: no domain may have more than `maxSkew` selected pods more than the emptiest one.

use super::NAME;
use super::counts::{Counts, Domains};
use crate::explain::Change;
use crate::plugin::{Cx, Filter, Rejection};
use crate::pod_info::PodInfo;
use crate::topology::NO_DOMAIN;

const REASON: &str = "node(s) didn't match pod topology spread constraints";
const REASON_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// The filter.
pub(super) struct Spread {
    counts: Counts,
    /// Per constraint whether the pod itself is selected.
    selects_self: Vec<i64>,
}

impl Spread {
    pub(super) fn new(cx: &Cx<'_>, counts: Counts) -> Self {
        let labels = &cx.object().metadata.labels;
        let selects_self =
            counts.all.iter().map(|domains| domains.constraint.selector.matches(labels).into()).collect();
        Spread { counts, selects_self }
    }
}

/// How uneven one pod more in this domain makes the spread; `None` without any counted domain, when there is nothing to be
/// uneven against.
fn skew(domains: &Domains, own: i64, domain: u32) -> Option<i64> {
    let too_few = domains.constraint.min_domains.is_some_and(|least| (domains.existing as i64) < least);
    let fewest = if too_few { Some(0) } else { domains.fewest() };
    fewest.map(|fewest| domains.pods[domain as usize] + own - fewest)
}

/// Whether one pod more in this domain is too many.
fn too_many(domains: &Domains, own: i64, domain: u32) -> bool {
    skew(domains, own, domain).is_some_and(|skew| skew > domains.constraint.max_skew)
}

/// Whether the node may get a label without anybody else minding: nobody there or here goes by labels but this constraint.
fn may_be_labelled(cx: &Cx<'_>, node: usize) -> bool {
    let spec = &cx.object().spec;
    let free = |pod: &std::sync::Arc<PodInfo>| pod.anti_affinity.is_empty();
    spec.affinity.is_none()
        && spec.node_selector.is_empty()
        && spec.resource_claims.is_empty()
        && !cx.pod.has_volumes()
        && cx.row(node).pods.iter().all(free)
}

impl Filter for Spread {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        for (domains, own) in self.counts.all.iter().zip(&self.selects_self) {
            match domains.of(cx, node) {
                NO_DOMAIN => return Some(Rejection::unresolvable(NAME, REASON_LABEL)),
                domain if too_many(domains, *own, domain) => {
                    return Some(Rejection::unschedulable(NAME, REASON));
                }
                _ => {}
            }
        }
        None
    }

    fn passes(&self, cx: &Cx<'_>, node: usize) -> bool {
        self.counts.all.iter().zip(&self.selects_self).all(|(domains, own)| {
            let domain = domains.of(cx, node);
            domain != NO_DOMAIN && !too_many(domains, *own, domain)
        })
    }

    fn remedy(&self, cx: &Cx<'_>, node: usize) -> Option<Vec<Change>> {
        // Constraints of the configuration are not the pod's to change.
        if cx.object().spec.topology_spread_constraints.is_empty() {
            return None;
        }
        let mut changes = Vec::new();
        for (domains, own) in self.counts.all.iter().zip(&self.selects_self) {
            let (key, domain) = (&domains.constraint.key, domains.of(cx, node));
            if domain == NO_DOMAIN {
                let alone = self.counts.all.len() == 1 && domains.on_node[node] == 0;
                if !alone || !may_be_labelled(cx, node) {
                    return None;
                }
                changes.push(Change::OwnDomain(key.clone()));
            } else if let Some(skew) = skew(domains, *own, domain)
                && skew > domains.constraint.max_skew
            {
                changes.push(Change::MaxSkew { key: key.clone(), skew });
            }
        }
        Some(changes)
    }

    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        self.counts.pod_moved(cx, pod, node, by);
    }
}
