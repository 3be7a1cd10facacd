//! What watches send.

use std::sync::LazyLock;
use std::time::Instant;

use registry::Served;
use telemetry::{Counter, CounterFamily, Histogram, HistogramFamily};

const RESOURCE: &[&str] = &["group", "resource", "version"];

/// Limits of the time until all that was there has been sent, in seconds (upstream's).
const LIST_S: [f64; 17] =
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];

static EVENTS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Events that were sent to those who watch.";
    telemetry::counter("apiserver_watch_events_total", help, RESOURCE)
});

static SIZES: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "Sizes of events that were sent to those who watch, in bytes.";
    let limits = telemetry::exponential_buckets(1024.0, 2.0, 8);
    telemetry::histogram("apiserver_watch_events_sizes", help, RESOURCE, &limits)
});

static LISTS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "Time until a watch that began with what was there had sent it, in seconds.";
    let labels = &["group", "resource", "scope", "version"];
    telemetry::histogram("apiserver_watch_list_duration_seconds", help, labels, &LIST_S)
});

/// The cells of one watch, and since when it is waited for.
#[derive(Clone, Debug)]
pub(crate) struct WatchMetrics {
    events: Counter,
    sizes: Histogram,
    begun: Instant,
    scope: &'static str,
}

impl WatchMetrics {
    /// Of a watch of `served` that was asked for at `begun`.
    pub(crate) fn new(served: &Served, scope: &'static str, begun: Instant) -> WatchMetrics {
        let resource = served.resource();
        let labels = [&*resource.group, &*resource.plural, &*resource.version];
        WatchMetrics { events: EVENTS.with(&labels), sizes: SIZES.with(&labels), begun, scope }
    }

    /// An event of this many bytes is on its way.
    pub(crate) fn sent(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }

    /// All that was there when the watch began is on its way.
    pub(crate) fn listed(&self, served: &Served) {
        let resource = served.resource();
        let labels = [&*resource.group, &*resource.plural, self.scope, &*resource.version];
        LISTS.with(&labels).observe_since(self.begun);
    }
}
