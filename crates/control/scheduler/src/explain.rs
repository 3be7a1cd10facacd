//! Why a pod has no node, node by node, and the smallest change that would make it fit; and what would be if.
//!
//! Pure: [`live::load`](crate::live::load) fills a [`Core`] from a running cluster.

mod change;
mod remedy;

use std::sync::Arc;

use meta::Str;

pub use self::change::Change;
use crate::core::{Core, Decision, check};
use crate::plugin::{Cx, Rejection};
use crate::pod_info::PodInfo;

/// What one node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub node: Str,
    /// Every refusal; empty when the pod fits.
    pub refusals: Vec<Rejection>,
    /// What would have to change for the pod to fit, all of it; empty where no such change is known to help.
    pub changes: Vec<Change>,
}

impl Verdict {
    /// One line for people.
    pub fn line(&self) -> String {
        if self.refusals.is_empty() {
            return format!("{}: fits", self.node);
        }
        let each = |refusal: &Rejection| format!("{}: {}", refusal.plugin, refusal.reasons.join(", "));
        let why: Vec<String> = self.refusals.iter().map(each).collect();
        let changes: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        match changes.is_empty() {
            false => format!("{}: {}; fits if {}", self.node, why.join("; "), changes.join(" and ")),
            true => format!("{}: {}", self.node, why.join("; ")),
        }
    }
}

/// Asks every node about the pod.
pub fn why(core: &mut Core, pod: &Arc<PodInfo>, profile: usize) -> Result<Vec<Verdict>, Rejection> {
    let mut class = core.class(pod, profile);
    if let Some(rejection) = class.refused.clone() {
        return Err(rejection);
    }
    let cx = Cx::new(pod, &core.snapshot);
    let mut verdict = |node: usize| {
        let name = core.snapshot.name(node);
        let refused = class.refusals(&cx, node);
        let changes: Option<Vec<Vec<Change>>> =
            refused.iter().map(|(refusal, filter)| remedy::of(&cx, node, refusal, *filter)).collect();
        let mut changes = changes.unwrap_or_default().concat();
        changes.dedup();
        let mut refusals: Vec<Rejection> = refused.into_iter().map(|(refusal, _)| refusal).collect();
        if !core.nominated.on(node, pod).is_empty() {
            // A pod that was promised the node may leave no room, nor do changes help for sure.
            changes.clear();
            if refusals.is_empty() {
                let verdict = check(&mut class, pod, &core.snapshot, &core.nominated, node);
                refusals.extend(class.rejection(verdict).map(|refusal| (**refusal).clone()));
            }
        }
        Verdict { node: name, refusals, changes }
    };
    let mut verdicts: Vec<Verdict> = core.snapshot.present().iter().map(&mut verdict).collect();
    verdicts.sort_by(|one, other| {
        let rank =
            |verdict: &Verdict| (verdict.refusals.len(), verdict.changes.is_empty(), verdict.changes.len());
        rank(one).cmp(&rank(other)).then_with(|| one.node.cmp(&other.node))
    });
    core.give_back(pod, profile, class);
    Ok(verdicts)
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
