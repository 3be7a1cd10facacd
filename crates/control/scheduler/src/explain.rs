//! Why a pod has no node, node by node, and the smallest change that would make it fit; and what would be if.
//!
//! Pure: [`live::load`](crate::live::load) fills a [`Core`] from a running cluster.

use std::sync::Arc;

use meta::Str;

use crate::core::{Core, Decision};
use crate::plugin::{Cx, Rejection};
use crate::plugins::dynamic_resources::extended::is_delegated;
use crate::plugins::fit::{self, Shortage, shortages};
use crate::plugins::{node_affinity, node_ports, node_unschedulable, taint_toleration};
use crate::pod_info::PodInfo;
use crate::snapshot::NodeRow;

/// What one node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub node: Str,
    /// Every refusal; empty when the pod fits.
    pub refusals: Vec<Rejection>,
    /// What would have to change for the pod to fit, one a refusal; empty where no change of this pod or node helps.
    pub changes: Vec<String>,
}

impl Verdict {
    /// One line for people.
    pub fn line(&self) -> String {
        if self.refusals.is_empty() {
            return format!("{}: fits", self.node);
        }
        let each = |refusal: &Rejection| format!("{}: {}", refusal.plugin, refusal.reasons.join(", "));
        let why: Vec<String> = self.refusals.iter().map(each).collect();
        match self.changes.len() == self.refusals.len() {
            true => format!("{}: {}; fits if {}", self.node, why.join("; "), self.changes.join(" and ")),
            false => format!("{}: {}", self.node, why.join("; ")),
        }
    }
}

/// Asks every node about the pod.
pub fn why(core: &mut Core, pod: &Arc<PodInfo>, profile: usize) -> Result<Vec<Verdict>, Rejection> {
    let class = core.class(pod, profile);
    if let Some(rejection) = class.refused.clone() {
        return Err(rejection);
    }
    let cx = Cx::new(pod, &core.snapshot);
    let mut verdicts: Vec<Verdict> = core
        .snapshot
        .present()
        .iter()
        .map(|node| {
            let refusals = class.refusals(&cx, node);
            let changes =
                refusals.iter().filter_map(|refusal| change(&cx, core.snapshot.row(node), refusal)).collect();
            Verdict { node: core.snapshot.name(node), refusals, changes }
        })
        .collect();
    verdicts.sort_by(|one, other| {
        let rank =
            |verdict: &Verdict| (verdict.refusals.len(), verdict.refusals.len() - verdict.changes.len());
        rank(one).cmp(&rank(other)).then_with(|| one.node.cmp(&other.node))
    });
    core.give_back(pod, profile, class);
    Ok(verdicts)
}

/// The smallest change that ends a refusal.
fn change(cx: &Cx<'_>, row: &NodeRow, refusal: &Rejection) -> Option<String> {
    let spec = &cx.object().spec;
    match refusal.plugin {
        fit::NAME => {
            let short = shortages(&cx.pod.requests, row, |name| !is_delegated(cx.cluster(), row, name));
            let each: Option<Vec<String>> = short.iter().map(less).collect();
            each.filter(|each| !each.is_empty()).map(|each| each.join(" and "))
        }
        taint_toleration::NAME => {
            let taint = taint_toleration::untolerated(row.taints(), &spec.tolerations)?;
            let value = if taint.value.is_empty() { String::new() } else { format!("={}", taint.value) };
            Some(format!("it tolerates {}{value}:{}", taint.key, taint.effect))
        }
        node_unschedulable::NAME => Some("the node is uncordoned".into()),
        node_affinity::NAME => {
            let missing: Vec<String> = spec
                .node_selector
                .iter()
                .filter(|(key, value)| row.label(key) != Some(value))
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            (!missing.is_empty()).then(|| format!("the node is labelled {}", missing.join(",")))
        }
        node_ports::NAME => {
            let taken =
                cx.pod.ports.iter().find(|port| row.ports.iter().any(|other| other.conflicts(port)))?;
            Some(format!("host port {}/{} is free", taken.port, taken.protocol))
        }
        _ => None,
    }
}

/// How much less of a resource would do; `None` when not even nothing would.
fn less(short: &Shortage) -> Option<String> {
    if short.resource == "pods" {
        return Some("one pod less runs there".into());
    }
    let excess = short.asked - (short.offered - short.used).max(0);
    let amount = match short.resource.as_str() {
        "cpu" => format!("{excess}m"),
        "memory" | "ephemeral-storage" => format!("{}Mi", (excess as u64).div_ceil(1 << 20)),
        _ => excess.to_string(),
    };
    (short.used <= short.offered).then(|| format!("{amount} less {} is asked", short.resource))
}

/// Places the pods one after the other as the scheduler would: each pod with its node, or with why it has none.
pub fn what_if(
    core: &mut Core,
    pods: Vec<Arc<PodInfo>>,
    tie: u64,
) -> Vec<(Arc<PodInfo>, Result<Str, String>)> {
    let mut outcome = Vec::new();
    for pod in pods {
        let Some(profile) =
            core.profile(&pod.pod.spec.scheduler_name).or_else(|| core.profile("default-scheduler"))
        else {
            outcome.push((pod, Err("no profile has its schedulerName".into())));
            continue;
        };
        let result = match core.decide(&pod, profile, tie, None) {
            Decision::Node { index, .. } => Ok(core.place(&pod, index)),
            Decision::Failed(failure) => Err(failure.message()),
            Decision::Error(error) => Err(error),
        };
        outcome.push((pod, result));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use meta::Codec;
    use types::core::v1::{Node, Pod};

    use super::*;
    use crate::profile::Profile;

    fn node(core: &mut Core, name: &str, cpu: &str, spec: &str) {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{{spec}}},"status":{{"allocatable":{{"cpu":"{cpu}","memory":"1Gi","pods":"9"}}}}}}"#
        );
        core.snapshot.set_node(Arc::new(Node::from_json(text.as_bytes()).unwrap()));
    }

    fn pod(name: &str, cpu: &str) -> Arc<PodInfo> {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","uid":"{name}"}},"spec":{{"schedulerName":"default-scheduler","containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
        );
        Arc::new(PodInfo::new(Arc::new(Pod::from_json(text.as_bytes()).unwrap())))
    }

    #[test]
    fn says_what_would_help() {
        let mut core = Core::new(vec![Profile::default()]);
        node(&mut core, "n1", "1", "");
        node(
            &mut core,
            "n2",
            "2",
            r#""taints":[{"key":"k","value":"v","effect":"NoSchedule"}],"unschedulable":true"#,
        );
        core.snapshot.place(pod("old", "500m"), "n1");
        let lines: Vec<String> =
            why(&mut core, &pod("new", "800m"), 0).unwrap().iter().map(Verdict::line).collect();
        assert_eq!(
            lines,
            [
                "n1: NodeResourcesFit: Insufficient cpu; fits if 300m less cpu is asked",
                "n2: NodeUnschedulable: node(s) were unschedulable; TaintToleration: node(s) had untolerated taint(s); fits if the node is uncordoned and it tolerates k=v:NoSchedule",
            ]
        );
    }

    #[test]
    fn supposes_pods_one_after_the_other() {
        let mut core = Core::new(vec![Profile::default()]);
        node(&mut core, "n1", "1", "");
        let outcome = what_if(&mut core, vec![pod("a", "600m"), pod("b", "600m")], 0);
        assert_eq!(outcome[0].1, Ok("n1".into()));
        assert_eq!(outcome[1].1, Err("0/1 nodes are available: 1 Insufficient cpu.".into()));
    }
}
