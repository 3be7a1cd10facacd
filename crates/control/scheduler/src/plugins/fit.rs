//! NodeResourcesFit: a node must have room for the pod's requests, and scores by how much of it is in use
//! (LeastAllocated, MostAllocated or RequestedToCapacityRatio).

use crate::cluster::Cluster;
use crate::plugin::{
    About, ClusterEvent, Code, Cx, Happening, Plugin, PreFilter, Rejection, SCORE_MAX, Scope, Score, What,
    local_filter,
};
use crate::plugins::dynamic_resources::extended::{is_delegated, may_be_devices};
use crate::pod_info::PodInfo;
use crate::resources::{Resources, pod_requests};
use crate::snapshot::NodeRow;
use meta::Str;
use types::core::v1::Node;

/// How a node's use becomes a score.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// Emptier nodes score higher.
    LeastAllocated,
    /// Fuller nodes score higher.
    MostAllocated,
    /// A broken line through points of utilization (0..=100) and score (0..=100).
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// The plugin with its arguments.
#[derive(Clone, Debug)]
pub struct NodeResourcesFit {
    /// Extended resources that others account for.
    pub ignored: Vec<Str>,
    /// Groups of extended resources that others account for: `example.com` for `example.com/gpu`.
    pub ignored_groups: Vec<Str>,
    /// How to score.
    pub strategy: Strategy,
    /// What counts how much in the score.
    pub resources: Vec<(Str, i64)>,
}

/// Its name.
pub const NAME: &str = "NodeResourcesFit";

impl Default for NodeResourcesFit {
    fn default() -> Self {
        NodeResourcesFit {
            ignored: Vec::new(),
            ignored_groups: Vec::new(),
            strategy: Strategy::LeastAllocated,
            resources: vec![("cpu".into(), 1), ("memory".into(), 1)],
        }
    }
}

/// Whether a resource belongs to somebody's domain rather than to Kubernetes.
pub fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native && !name.starts_with("requests.")
}

/// One resource that is short on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Its name; `pods` for the number of pods.
    pub resource: Str,
    /// What is asked.
    pub asked: i64,
    /// What the node has in all.
    pub offered: i64,
    /// What is taken.
    pub used: i64,
}

/// The resources that do not fit, in upstream's order.
pub fn shortages(requests: &Resources, row: &NodeRow, counts: impl Fn(&str) -> bool) -> Vec<Shortage> {
    let mut short = Vec::new();
    let pods = row.pods.len() as i64;
    if pods + 1 > row.pods_max {
        short.push(Shortage { resource: "pods".into(), asked: 1, offered: row.pods_max, used: pods });
    }
    let mut check = |name: &str, asked: i64, offered: i64, used: i64| {
        if asked > 0 && asked > offered - used {
            short.push(Shortage { resource: name.into(), asked, offered, used });
        }
    };
    let (offered, used) = (&row.allocatable, &row.requested);
    check("cpu", requests.cpu_milli, offered.cpu_milli, used.cpu_milli);
    check("memory", requests.memory_bytes, offered.memory_bytes, used.memory_bytes);
    check("ephemeral-storage", requests.ephemeral_bytes, offered.ephemeral_bytes, used.ephemeral_bytes);
    for (name, asked) in requests.scalars.iter().filter(|(name, _)| counts(name)) {
        check(name, *asked, offered.scalar(name), used.scalar(name));
    }
    short
}

/// What a node has, and for how many pods.
fn offer(node: &Node) -> (Resources, i64) {
    let list = &node.status.allocatable;
    (Resources::from_list(list), list.get("pods").map_or(0, |pods| pods.value()))
}

/// Whether there is more than before of something that is asked for.
fn gained(asked: &Resources, before: &Resources, after: &Resources) -> bool {
    asked.cpu_milli > 0 && after.cpu_milli > before.cpu_milli
        || asked.memory_bytes > 0 && after.memory_bytes > before.memory_bytes
        || asked.ephemeral_bytes > 0 && after.ephemeral_bytes > before.ephemeral_bytes
        || asked.scalars.iter().any(|(name, asked)| *asked > 0 && after.scalar(name) > before.scalar(name))
}

impl NodeResourcesFit {
    /// Whether an empty node with this offer has enough; what devices may stand behind is left to them.
    fn fits(&self, asked: &Resources, offered: &Resources, cluster: &Cluster) -> bool {
        let counts = |name: &str| !self.ignores(name) && !may_be_devices(cluster, offered.scalar(name), name);
        asked.cpu_milli <= offered.cpu_milli.max(0)
            && asked.memory_bytes <= offered.memory_bytes.max(0)
            && asked.ephemeral_bytes <= offered.ephemeral_bytes.max(0)
            && asked
                .scalars
                .iter()
                .all(|(name, asked)| *asked == 0 || !counts(name) || *asked <= offered.scalar(name))
    }

    fn ignores(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        is_extended(name)
            && (self.ignored.iter().any(|ignored| ignored == name)
                || self.ignored_groups.iter().any(|ignored| ignored == group))
    }
}

/// What a node offers and what is taken of it with the pod, for one resource of a score. An extended resource that the
/// pod does not ask for does not count (0 of 0).
pub fn offered_and_used(
    cx: &Cx<'_>,
    row: &NodeRow,
    resource: &str,
    nonzero: bool,
    with_pod: bool,
) -> (i64, i64) {
    let (pod, used) = match nonzero {
        true => (&cx.pod.scored, &row.requested_nonzero),
        false => (&cx.pod.requests, &row.requested),
    };
    let own = |amount: i64| if with_pod { amount } else { 0 };
    let offered = &row.allocatable;
    match resource {
        "cpu" => (offered.cpu_milli, used.cpu_milli + own(pod.cpu_milli)),
        "memory" => (offered.memory_bytes, used.memory_bytes + own(pod.memory_bytes)),
        "ephemeral-storage" => {
            (offered.ephemeral_bytes, row.requested.ephemeral_bytes + own(pod.ephemeral_bytes))
        }
        name => match pod.scalar(name) {
            0 => (0, 0),
            asked => (offered.scalar(name), row.requested.scalar(name) + own(asked)),
        },
    }
}

/// Scores by use.
struct Usage {
    strategy: Strategy,
    resources: Vec<(Str, i64)>,
}

fn on_line(points: &[(i64, i64)], at: i64) -> i64 {
    let Some(next) = points.iter().position(|(utilization, _)| at <= *utilization) else {
        return points.last().map_or(0, |(_, score)| *score);
    };
    let (to, to_score) = points[next];
    let Some((from, from_score)) = next.checked_sub(1).map(|before| points[before]) else { return to_score };
    from_score + (to_score - from_score) * (at - from) / (to - from).max(1)
}

impl Usage {
    fn one(&self, offered: i64, used: i64) -> i64 {
        // Amounts of memory times 100 stay far below 2^63 for any real node; 128 bits keep absurd ones honest.
        let percent = |amount: i64| (i128::from(amount) * i128::from(SCORE_MAX) / i128::from(offered)) as i64;
        match &self.strategy {
            Strategy::LeastAllocated if used > offered => 0,
            Strategy::LeastAllocated => percent(offered - used),
            Strategy::MostAllocated => percent(used.min(offered)),
            Strategy::RequestedToCapacityRatio(points) if used > offered => on_line(points, 100),
            Strategy::RequestedToCapacityRatio(points) => on_line(points, percent(used)),
        }
    }
}

impl Score for Usage {
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        let row = cx.row(node);
        let ratio = matches!(self.strategy, Strategy::RequestedToCapacityRatio(_));
        let (mut sum, mut weights) = (0, 0);
        for (resource, weight) in &self.resources {
            let (offered, used) = offered_and_used(cx, row, resource, true, true);
            if offered == 0 {
                continue;
            }
            let score = self.one(offered, used);
            if ratio && score <= 0 {
                continue;
            }
            sum += score * weight;
            weights += weight;
        }
        match weights {
            0 => 0,
            weights if ratio => (sum as f64 / weights as f64).round() as i64,
            weights => sum / weights,
        }
    }

    fn scope(&self) -> Scope {
        Scope::RowFinal
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, _: &Cx<'_>) -> PreFilter {
        let this = self.clone();
        PreFilter::Run(local_filter(move |cx, row| {
            let counts = |name: &str| !this.ignores(name) && !is_delegated(cx.cluster(), row, name);
            let short = shortages(&cx.pod.requests, row, counts);
            if short.is_empty() {
                return None;
            }
            let hopeless = short.iter().any(|one| one.resource != "pods" && one.asked > one.offered);
            let reason = |one: &Shortage| match one.resource.as_str() {
                "pods" => Str::from("Too many pods"),
                name => Str::from(format!("Insufficient {name}")),
            };
            Some(Rejection {
                code: if hopeless { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable },
                plugin: NAME,
                reasons: short.iter().map(reason).collect(),
            })
        }))
    }

    fn scorer(&self, _: &Cx<'_>) -> Option<Box<dyn Score>> {
        Some(Box::new(Usage { strategy: self.strategy.clone(), resources: self.resources.clone() }))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        match happening.about {
            About::Node(old, Some(new)) => {
                let (offered, room) = offer(new);
                let fits = room > 0 && self.fits(&pod.requests, &offered, happening.cluster);
                fits && old.is_none_or(|old| {
                    let (before, room_before) = offer(old);
                    room > room_before || gained(&pod.requests, &before, &offered)
                })
            }
            // A pod that shrank, be it another one or this one itself.
            About::Pod(Some(old), Some(new)) => gained(&pod.requests, &pod_requests(new), &pod_requests(old)),
            _ => true,
        }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeAllocatable
                | ClusterEvent::PodFreed
                | ClusterEvent::PodChanged
                | ClusterEvent::Added(What::DeviceClass)
                | ClusterEvent::Updated(What::DeviceClass)
        )
    }
}
