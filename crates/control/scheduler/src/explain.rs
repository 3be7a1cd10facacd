//! Why a pod has no node, node by node, and the smallest change that would make it fit; and what would be if.
//!
//! Pure: [`live::load`](crate::live::load) fills a [`Core`] from a running cluster.

use std::sync::Arc;

use meta::Str;
use types::core::v1::{PodSpec, Taint};

use crate::core::{Core, Decision, check};
use crate::plugin::{Cx, Rejection};
use crate::plugins::dynamic_resources::extended::is_delegated;
use crate::plugins::fit::{self, Shortage, shortages};
use crate::plugins::{node_affinity, node_ports, node_unschedulable, taint_toleration};
use crate::pod_info::PodInfo;
use crate::resources::Resources;
use crate::snapshot::NodeRow;

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

/// A change of a pod or a node that ends a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pod asks for so much less of a resource: thousandths of a core, bytes or pieces.
    Less {
        /// Which one.
        resource: Str,
        /// How much less.
        amount: i64,
    },
    /// The pod tolerates this taint.
    Tolerate {
        /// Its key.
        key: Str,
        /// Its value, empty for none.
        value: Str,
        /// Its effect.
        effect: Str,
    },
    /// The node is uncordoned.
    Uncordon,
    /// The node is labelled so.
    Label(Vec<(Str, Str)>),
    /// Nobody has this port of the node.
    FreePort {
        /// Its number.
        port: i32,
        /// Its protocol.
        protocol: Str,
    },
    /// So many pods less run on the node.
    FewerPods(i64),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Less { resource, amount } => match resource.as_str() {
                "cpu" => write!(f, "{amount}m less cpu is asked"),
                "memory" | "ephemeral-storage" if amount % (1 << 20) == 0 => {
                    write!(f, "{}Mi less {resource} is asked", amount >> 20)
                }
                _ => write!(f, "{amount} less {resource} is asked"),
            },
            Change::Tolerate { key, value, effect } => {
                let equal = if value.is_empty() { "" } else { "=" };
                write!(f, "it tolerates {key}{equal}{value}:{effect}")
            }
            Change::Uncordon => f.write_str("the node is uncordoned"),
            Change::Label(labels) => {
                let each: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "the node is labelled {}", each.join(","))
            }
            Change::FreePort { port, protocol } => write!(f, "host port {port}/{protocol} is free"),
            Change::FewerPods(1) => f.write_str("one pod less runs there"),
            Change::FewerPods(pods) => write!(f, "{pods} pods less run there"),
        }
    }
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
        let (name, row) = (core.snapshot.name(node), core.snapshot.row(node));
        let mut refusals = class.refusals(&cx, node);
        let mut changes = Vec::new();
        if core.nominated.on(node, pod).is_empty() {
            let each: Option<Vec<Vec<Change>>> =
                refusals.iter().map(|refusal| self::changes(&cx, row, refusal)).collect();
            changes = each.unwrap_or_default().concat();
            changes.dedup();
        } else if refusals.is_empty() {
            // A pod that was promised the node may leave no room.
            let verdict = check(&mut class, pod, &core.snapshot, &core.nominated, node);
            refusals.extend(class.rejection(verdict).map(|refusal| (**refusal).clone()));
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

/// The smallest changes that end a refusal; `None` where none is known to.
fn changes(cx: &Cx<'_>, row: &NodeRow, refusal: &Rejection) -> Option<Vec<Change>> {
    let spec = &cx.object().spec;
    let changes: Vec<Change> = match refusal.plugin {
        fit::NAME => {
            let short = shortages(&cx.pod.requests, row, |name| !is_delegated(cx.cluster(), row, name));
            let overhead = Resources::from_list(&spec.overhead);
            let each: Option<Vec<Change>> = short.iter().map(|short| less(short, &overhead)).collect();
            each?
        }
        taint_toleration::NAME if !counts_domains_by_taints(spec) => {
            let uncordoned =
                |taint: &Taint| row.node().is_some_and(|node| node.spec.unschedulable) && taint.key == CORDON;
            taint_toleration::all_untolerated(row.taints(), &spec.tolerations)
                .map(|taint| match uncordoned(taint) {
                    true => Change::Uncordon,
                    false => Change::Tolerate {
                        key: taint.key.clone(),
                        value: taint.value.clone(),
                        effect: taint.effect.clone(),
                    },
                })
                .collect()
        }
        node_unschedulable::NAME => vec![Change::Uncordon],
        node_affinity::NAME => vec![Change::Label(labels(cx, row)?)],
        node_ports::NAME => {
            let taken =
                cx.pod.ports.iter().filter(|port| row.ports.iter().any(|other| other.conflicts(port)));
            let mut taken: Vec<Change> = taken
                .map(|port| Change::FreePort { port: port.port, protocol: port.protocol.clone() })
                .collect();
            taken.dedup();
            taken
        }
        _ => return None,
    };
    (!changes.is_empty()).then_some(changes)
}

/// The taint of cordoned nodes.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// Whether which taints the pod tolerates decides which nodes it is spread over: another toleration moves more than one
/// refusal then.
fn counts_domains_by_taints(spec: &PodSpec) -> bool {
    spec.topology_spread_constraints
        .iter()
        .any(|constraint| constraint.node_taints_policy.as_deref() == Some("Honor"))
}

/// The labels that `nodeSelector` misses on the node. Only where nothing else goes by them, or by which nodes the pod
/// selects, do they end this refusal without a new one.
fn labels(cx: &Cx<'_>, row: &NodeRow) -> Option<Vec<(Str, Str)>> {
    let spec = &cx.object().spec;
    let stores = cx.pod.claims > 0 || !spec.resource_claims.is_empty() || !spec.volumes.is_empty();
    if stores || !spec.topology_spread_constraints.is_empty() {
        return None;
    }
    let missing: Vec<(Str, Str)> = spec
        .node_selector
        .iter()
        .filter(|(key, value)| row.label(key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let decides = |key: &Str| cx.snapshot.topology.id(key).is_some();
    let mut labelled = row.node()?.clone();
    for (key, value) in &missing {
        labelled.metadata.labels.insert(key.clone(), value.clone());
    }
    let enough = node_affinity::selects_node(cx.object(), &labelled);
    (enough && !missing.iter().any(|(key, _)| decides(key))).then_some(missing)
}

/// How much less of a resource would do; `None` when not even what the pod itself asks for is enough.
fn less(short: &Shortage, overhead: &Resources) -> Option<Change> {
    if short.resource == "pods" {
        return (short.offered > 0).then(|| Change::FewerPods(short.used + 1 - short.offered));
    }
    let excess = short.asked - (short.offered - short.used).max(0);
    let resource = short.resource.clone();
    let (fixed, unit) = match resource.as_str() {
        "cpu" => (overhead.cpu_milli, 1),
        "memory" => (overhead.memory_bytes, 1 << 20),
        "ephemeral-storage" => (overhead.ephemeral_bytes, 1 << 20),
        name => (overhead.scalar(name), 1),
    };
    let own = short.asked - fixed;
    let rounded = excess.saturating_add(unit - 1) / unit * unit;
    let amount = if rounded <= own { rounded } else { excess };
    (amount <= own).then_some(Change::Less { resource, amount })
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
