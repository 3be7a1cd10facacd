//! What would end a refusal. Here is what follows from the pod and the node alone; filters that count pods of other nodes
//! answer themselves ([`Filter::remedy`]).

use meta::Str;
use types::core::v1::{PodSpec, Taint};

use super::Change;
use crate::plugin::{Cx, Filter, Rejection};
use crate::plugins::dynamic_resources::extended::is_delegated;
use crate::plugins::fit::{self, Shortage, shortages};
use crate::plugins::{node_affinity, node_ports, node_unschedulable, taint_toleration};
use crate::resources::Resources;
use crate::snapshot::NodeRow;

/// The smallest changes that end a refusal of the node; `None` where none is known to.
pub(super) fn of(cx: &Cx<'_>, node: usize, refusal: &Rejection, filter: &dyn Filter) -> Option<Vec<Change>> {
    let row = cx.row(node);
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
        _ => filter.remedy(cx, node)?,
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
    let stores = cx.pod.has_volumes() || !spec.resource_claims.is_empty();
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
