//! What is done about nodes and their pods, under upstream's names.

use std::sync::LazyLock;
use std::time::Instant;

use informer::Change;
use ipnet::Ipv4Net;
use telemetry::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily};
use types::core::v1::Node;

static ZONE_SIZE: LazyLock<GaugeFamily> =
    LazyLock::new(|| telemetry::gauge("node_collector_zone_size", "Nodes, by zone.", &["zone"]));
static ZONE_HEALTH: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge(
        "node_collector_zone_health",
        "Share of the nodes that are ready, in percent.",
        &["zone"],
    )
});
static ZONE_UNHEALTHY: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Nodes that are not ready, by zone.";
    telemetry::gauge("node_collector_unhealthy_nodes_in_zone", help, &["zone"])
});
static EVICTIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Nodes whose pods were told to go, since they do not answer.";
    telemetry::counter("node_collector_evictions_total", help, &["zone"])
});
static HEALTH_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.001, 4.0, 8);
    let help = "Seconds that it takes to judge how one node is.";
    telemetry::histogram("node_collector_update_node_health_duration_seconds", help, &[], &limits).with(&[])
});
static FORCED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Pods that were deleted by force, and why.";
    telemetry::counter("pod_gc_collector_force_delete_pods_total", help, &["namespace", "reason"])
});
static NOT_FORCED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Pods that could not be deleted by force.";
    telemetry::counter("pod_gc_collector_force_delete_pod_errors_total", help, &["namespace", "reason"])
});
static EVICTED: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Pods that were deleted because of taints.";
    telemetry::counter("taint_eviction_controller_pod_deletions_total", help, &[]).with(&[])
});
static EVICTED_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0];
    let help = "Seconds from the moment in which a pod has to go because of a taint until it was deleted.";
    telemetry::histogram("taint_eviction_controller_pod_deletion_duration_seconds", help, &[], &limits)
        .with(&[])
});
static RANGES_GIVEN: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Ranges of pod addresses that were given to nodes.";
    telemetry::counter("node_ipam_controller_cidrset_cidrs_allocations_total", help, &["clusterCIDR"])
});
static RANGES_BACK: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Ranges of pod addresses that came back with their nodes' end.";
    telemetry::counter("node_ipam_controller_cidrset_cidrs_releases_total", help, &["clusterCIDR"])
});
static RANGES_USED: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Share of the ranges that nodes have.";
    telemetry::gauge("node_ipam_controller_cidrset_usage_cidrs", help, &["clusterCIDR"])
});
// Upstream's spelling, which is what dashboards ask for.
static RANGES_MAX: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Ranges that there are.";
    telemetry::gauge("node_ipam_controller_cirdset_max_cidrs", help, &["clusterCIDR"])
});
static RANGE_TRIES: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(1.0, 5.0, 5);
    let help = "Ranges that were looked at until one was free.";
    let name = "node_ipam_controller_cidrset_allocation_tries_per_request";
    telemetry::histogram(name, help, &["clusterCIDR"], &limits)
});

/// A zone has so many nodes, of which so many are ready.
pub(super) fn zone(name: &str, nodes: usize, ready: usize) {
    let labels = [name];
    ZONE_SIZE.with(&labels).set(nodes as f64);
    ZONE_UNHEALTHY.with(&labels).set((nodes - ready) as f64);
    ZONE_HEALTH.with(&labels).set(100.0 * ready as f64 / nodes.max(1) as f64);
    // Shown from the start, so that no eviction and no zone are told apart.
    EVICTIONS.with(&labels);
}

/// A zone has no node any more.
pub(super) fn zone_gone(name: &str) {
    [&ZONE_SIZE, &ZONE_UNHEALTHY, &ZONE_HEALTH].iter().for_each(|family| family.remove(&[name]));
}

/// A node of this zone got the taint by which its pods go.
pub(super) fn evicts(zone: &str) {
    EVICTIONS.with(&[zone]).inc();
}

/// Measures the judgement of one node until it is dropped.
pub(super) struct Judging(Instant);

impl Judging {
    pub(super) fn begin() -> Judging {
        Judging(Instant::now())
    }
}

impl Drop for Judging {
    fn drop(&mut self) {
        HEALTH_SECONDS.observe_since(self.0);
    }
}

/// A pod was deleted by force, or could not be.
pub(super) fn forced(namespace: &str, reason: &str, good: bool) {
    let family = if good { &FORCED } else { &NOT_FORCED };
    family.with(&[namespace, reason]).inc();
}

/// A pod was deleted because of a taint, so long after it had to go.
pub(super) fn evicted(seconds: f64) {
    EVICTED.inc();
    EVICTED_SECONDS.observe(seconds);
}

/// The ranges of one cluster.
pub(super) struct Ranges {
    given: Counter,
    back: Counter,
    used: Gauge,
    tries: Histogram,
    /// How many there are.
    all: f64,
}

impl Ranges {
    /// Of a cluster whose range is divided into `all`.
    pub(super) fn new(cluster: Ipv4Net, all: usize) -> Ranges {
        let label = cluster.to_string();
        let labels = [label.as_str()];
        RANGES_MAX.with(&labels).set(all as f64);
        let used = RANGES_USED.with(&labels);
        used.set(0.0);
        Ranges {
            given: RANGES_GIVEN.with(&labels),
            back: RANGES_BACK.with(&labels),
            used,
            tries: RANGE_TRIES.with(&labels),
            all: all.max(1) as f64,
        }
    }

    /// How to count that a range was given, which so many tries led to.
    pub(super) fn gives(&self, tries: usize) -> impl FnOnce() + Send + 'static {
        let (given, sizes) = (self.given.clone(), self.tries.clone());
        move || {
            given.inc();
            sizes.observe(tries as f64);
        }
    }

    /// A node came, changed or went.
    pub(super) fn follow(&self, change: &Change<Node>) {
        let has = |node: &Node| !node.spec.pod_cidr.is_empty();
        let (before, now) = match change {
            Change::Added(node) => (false, has(node)),
            Change::Updated { old, new } => (has(old), has(new)),
            Change::Deleted(node) => (has(node), false),
        };
        match (before, now) {
            (false, true) => self.used.add(1.0 / self.all),
            (true, false) => {
                self.used.add(-1.0 / self.all);
                self.back.inc();
            }
            _ => {}
        }
    }
}
