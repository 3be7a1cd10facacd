//! PodTopologySpread: pods that a constraint selects are spread evenly over the values of a node label.
//!
//! Per constraint the pods in each domain are counted once and then followed by increments, so that neither filtering
//! nor scoring looks at pods.

mod counts;
mod filter;
mod score;

use meta::selector::labels::{Operator, Requirement};
use meta::{List, Selector, Str};
use types::core::v1::{Node, Pod, TopologySpreadConstraint};

use self::counts::Counts;
use super::node_affinity;
use super::taint_toleration::untolerated;
use crate::cluster::{Cluster, key};
use crate::plugin::{About, ClusterEvent, Cx, Happening, Plugin, PreFilter, Score};
use crate::pod_info::PodInfo;
use crate::snapshot::NodeRow;

/// The plugin with the constraints of pods that have none.
pub struct PodTopologySpread {
    /// Constraints for pods without any.
    pub defaults: Vec<TopologySpreadConstraint>,
    /// Whether `defaults` are the built-in ones, which nodes without the labels are not left out for.
    pub system_defaults: bool,
}

/// Its name.
pub const NAME: &str = "PodTopologySpread";
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

impl Default for PodTopologySpread {
    fn default() -> Self {
        let constraint = |key: &str, max_skew: i32| TopologySpreadConstraint {
            topology_key: key.into(),
            max_skew,
            when_unsatisfiable: "ScheduleAnyway".into(),
            ..TopologySpreadConstraint::default()
        };
        PodTopologySpread {
            defaults: vec![constraint(HOSTNAME, 3), constraint(ZONE, 5)],
            system_defaults: true,
        }
    }
}

/// One constraint, ready to be counted.
#[derive(Clone, Debug)]
struct Constraint {
    key: Str,
    max_skew: i64,
    min_domains: Option<i64>,
    selector: Selector,
    honor_affinity: bool,
    honor_taints: bool,
}

impl Constraint {
    fn new(constraint: &TopologySpreadConstraint, selector: Selector) -> Self {
        let honors = |policy: &Option<Str>, default: bool| match policy.as_deref() {
            None => default,
            Some(policy) => policy == "Honor",
        };
        Constraint {
            key: constraint.topology_key.clone(),
            max_skew: constraint.max_skew.into(),
            min_domains: constraint.min_domains.map(i64::from),
            selector,
            honor_affinity: honors(&constraint.node_affinity_policy, true),
            honor_taints: honors(&constraint.node_taints_policy, false),
        }
    }

    /// Whether pods on the node count, by nodeAffinityPolicy and nodeTaintsPolicy.
    fn includes(&self, pod: &Pod, row: &NodeRow) -> bool {
        (!self.honor_affinity || node_affinity::selects(pod, row))
            && (!self.honor_taints || untolerated(row.taints(), &pod.spec.tolerations).is_none())
    }
}

/// The pod's own constraints of one kind.
fn own(pod: &Pod, action: &str) -> Vec<Constraint> {
    let wanted = pod.spec.topology_spread_constraints.iter().filter(|one| one.when_unsatisfiable == action);
    wanted
        .map(|one| {
            let mut selector = Selector::from_label_selector(one.label_selector.as_deref())
                .unwrap_or_else(|_| Selector::nothing());
            for key in &one.match_label_keys {
                if let Some(value) = pod.metadata.labels.get(key)
                    && let Ok(also) =
                        Requirement::new(key.clone(), Operator::In, List::from_iter([value.clone()]))
                {
                    selector = selector.with(also);
                }
            }
            Constraint::new(one, selector)
        })
        .collect()
}

/// The selector of the Services and the controller that the pod belongs to; `None` when it belongs to nothing.
fn owners_selector(pod: &Pod, cluster: &Cluster) -> Option<Selector> {
    let namespace = &pod.metadata.namespace;
    let mut labels = meta::Map::new();
    for service in cluster.services.values() {
        let selector = &service.spec.selector;
        let selects = service.metadata.namespace == *namespace
            && !selector.is_empty()
            && Selector::from_labels(selector).matches(&pod.metadata.labels);
        if selects {
            for (key, value) in selector {
                labels.insert(key.clone(), value.clone());
            }
        }
    }
    let mut more = None;
    if let Some(owner) = pod.metadata.controller() {
        let key = key(namespace, &owner.name);
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => {
                for (key, value) in
                    cluster.replication_controllers.get(&key).into_iter().flat_map(|rc| &rc.spec.selector)
                {
                    labels.insert(key.clone(), value.clone());
                }
            }
            ("apps/v1", "ReplicaSet") => {
                more = cluster.replica_sets.get(&key).map(|set| set.spec.selector.clone());
            }
            ("apps/v1", "StatefulSet") => {
                more = cluster.stateful_sets.get(&key).map(|set| set.spec.selector.clone());
            }
            _ => {}
        }
    }
    let mut selector = Selector::from_labels(&labels);
    if let Some(more) = more.and_then(|more| Selector::from_label_selector(more.as_deref()).ok()) {
        for requirement in more.requirements() {
            selector = selector.with(requirement.clone());
        }
    }
    (!selector.requirements().is_empty()).then_some(selector)
}

impl PodTopologySpread {
    fn constraints(&self, pod: &Pod, cluster: &Cluster, action: &str) -> Vec<Constraint> {
        if !pod.spec.topology_spread_constraints.is_empty() {
            return own(pod, action);
        }
        let defaults: Vec<_> =
            self.defaults.iter().filter(|constraint| constraint.when_unsatisfiable == action).collect();
        if defaults.is_empty() {
            return Vec::new();
        }
        let Some(selector) = owners_selector(pod, cluster) else { return Vec::new() };
        defaults.into_iter().map(|constraint| Constraint::new(constraint, selector.clone())).collect()
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }

    fn topology_keys(&self, pod: &PodInfo) -> Vec<Str> {
        let own = &pod.pod.spec.topology_spread_constraints;
        let all = if own.is_empty() { &self.defaults[..] } else { &own[..] };
        all.iter().map(|constraint| constraint.topology_key.clone()).collect()
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let constraints = self.constraints(cx.object(), cx.cluster(), "DoNotSchedule");
        if constraints.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Run(Box::new(filter::Spread::new(cx, Counts::new(cx, constraints, true))))
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        let constraints = self.constraints(cx.object(), cx.cluster(), "ScheduleAnyway");
        if constraints.is_empty() {
            return None;
        }
        let all_labels = !cx.object().spec.topology_spread_constraints.is_empty() || !self.system_defaults;
        Some(Box::new(score::Evenness::new(Counts::new(cx, constraints, all_labels))))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        let constraints = self.constraints(&pod.pod, happening.cluster, "DoNotSchedule");
        let complete = |node: &Node| {
            constraints.iter().all(|constraint| node.metadata.labels.contains_key(&constraint.key))
        };
        match happening.about {
            // Pods count only where all labels are.
            About::Node(old, new) => old.into_iter().chain(new).any(complete),
            About::Pod(old, new) => {
                let selected = |other: &Pod| {
                    other.metadata.namespace == pod.pod.metadata.namespace
                        && constraints.iter().any(|one| one.selector.matches(&other.metadata.labels))
                };
                happening.event == ClusterEvent::PodChanged || old.into_iter().chain(new).any(selected)
            }
            About::Other | About::Object(..) => true,
        }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeDeleted
                | ClusterEvent::NodeLabels
                | ClusterEvent::NodeTaints
                | ClusterEvent::PodPlaced
                | ClusterEvent::PodFreed
                | ClusterEvent::PodLabels
                | ClusterEvent::PodChanged
        )
    }
}
