//! What is taken of addresses and ports, under upstream's names.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use ipnet::IpNet;
use telemetry::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily};

/// Limits of the times, in seconds: the usual ones of Prometheus' clients.
const TIME_S: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Whether somebody asked for a certain number (`static`), or for any (`dynamic`).
const SCOPES: [&str; 2] = ["static", "dynamic"];

static IPS_TAKEN: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Cluster IPs that Services have, by range.";
    telemetry::gauge("kube_apiserver_clusterip_allocator_allocated_ips", help, &["cidr"])
});
static IPS_FREE: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Cluster IPs that are free, by range.";
    telemetry::gauge("kube_apiserver_clusterip_allocator_available_ips", help, &["cidr"])
});
static IPS_GIVEN: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Cluster IPs that were given, by range and by whether they were asked for.";
    telemetry::counter("kube_apiserver_clusterip_allocator_allocation_total", help, &["cidr", "scope"])
});
static IPS_REFUSED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Cluster IPs that could not be given, by range and by whether they were asked for.";
    telemetry::counter("kube_apiserver_clusterip_allocator_allocation_errors_total", help, &["cidr", "scope"])
});
static IPS_TIME: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "Seconds until a cluster IP was given, by range.";
    let name = "kube_apiserver_clusterip_allocator_allocation_duration_seconds";
    telemetry::histogram(name, help, &["cidr"], &TIME_S)
});
static PORTS_GIVEN: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Node ports that were given, by whether they were asked for.";
    telemetry::counter("kube_apiserver_nodeport_allocator_allocation_total", help, &["scope"])
});
static PORTS_REFUSED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Node ports that could not be given, by whether they were asked for.";
    telemetry::counter("kube_apiserver_nodeport_allocator_allocation_errors_total", help, &["scope"])
});

/// How many numbers of a set are taken and free. Sets of the same range, which hold the same, show the same.
#[derive(Debug, Default)]
pub struct Stock {
    count: AtomicI64,
    size: AtomicI64,
    taken: Gauge,
    free: Gauge,
}

impl Stock {
    /// Of the addresses of a range.
    pub(super) fn of_range(range: IpNet) -> Stock {
        let label = range.to_string();
        Stock { taken: IPS_TAKEN.with(&[&label]), free: IPS_FREE.with(&[&label]), ..Stock::default() }
    }

    /// Of the node ports.
    pub(super) fn of_ports() -> Stock {
        let gauge = |name, help| telemetry::gauge(name, help, &[]).with(&[]);
        Stock {
            taken: gauge(
                "kube_apiserver_nodeport_allocator_allocated_ports",
                "Node ports that Services have.",
            ),
            free: gauge("kube_apiserver_nodeport_allocator_available_ports", "Node ports that are free."),
            ..Stock::default()
        }
    }

    /// The set as it begins.
    pub(super) fn begin(&self, size: u32) {
        self.size.store(i64::from(size), Ordering::Relaxed);
        self.take(0);
    }

    /// So many more are taken.
    pub(super) fn take(&self, more: i64) {
        let taken = self.count.fetch_add(more, Ordering::Relaxed) + more;
        self.taken.set(taken as f64);
        self.free.set((self.size.load(Ordering::Relaxed) - taken) as f64);
    }
}

/// A range is no more: nothing is shown of it.
pub(crate) fn forget_range(range: IpNet) {
    let label = range.to_string();
    IPS_TAKEN.remove(&[&label]);
    IPS_FREE.remove(&[&label]);
}

/// What was asked of a set.
#[derive(Debug)]
pub(super) struct Asked {
    given: [Counter; 2],
    /// Made when something is refused.
    cidr: Option<Box<str>>,
    time: Option<Histogram>,
}

impl Asked {
    pub(super) fn of_range(range: IpNet) -> Asked {
        let label = range.to_string();
        Asked {
            given: SCOPES.map(|scope| IPS_GIVEN.with(&[&label, scope])),
            time: Some(IPS_TIME.with(&[&label])),
            cidr: Some(label.into()),
        }
    }

    pub(super) fn of_ports() -> Asked {
        Asked { given: SCOPES.map(|scope| PORTS_GIVEN.with(&[scope])), cidr: None, time: None }
    }

    /// Performs and counts `take`; `any` where no certain number is asked for.
    pub(super) fn count<T, E>(&self, any: bool, take: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let begun = Instant::now();
        let taken = take();
        if let Some(time) = &self.time {
            time.observe_since(begun);
        }
        let scope = usize::from(any);
        match (&taken, &self.cidr) {
            (Ok(_), _) => self.given[scope].inc(),
            (Err(_), Some(cidr)) => IPS_REFUSED.with(&[cidr, SCOPES[scope]]).inc(),
            (Err(_), None) => PORTS_REFUSED.with(&[SCOPES[scope]]).inc(),
        }
        taken
    }
}
