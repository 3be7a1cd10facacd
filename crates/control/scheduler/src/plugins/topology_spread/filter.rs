//! DoNotSchedule: no domain may have more than `maxSkew` selected pods more than the emptiest one.

use super::NAME;
use super::counts::{Counts, Domains};
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

/// Whether one pod more in this domain is too many.
fn too_many(domains: &Domains, own: i64, domain: u32) -> bool {
    let too_few = domains.constraint.min_domains.is_some_and(|least| (domains.existing as i64) < least);
    let fewest = if too_few { Some(0) } else { domains.fewest() };
    let here = domains.pods[domain as usize];
    // Without any counted domain there is nothing to be uneven against.
    fewest.is_some_and(|fewest| here + own - fewest > domains.constraint.max_skew)
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

    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, node: usize, by: i64) {
        self.counts.pod_moved(cx, pod, node, by);
    }
}
