//! Upstream's work queue metrics.

use std::sync::LazyLock;

use telemetry::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily};

fn durations() -> Vec<f64> {
    telemetry::exponential_buckets(10e-9, 10.0, 10)
}

static ADDS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter("workqueue_adds_total", "Adds handled by the work queue.", &["name"])
});
static DEPTH: LazyLock<GaugeFamily> =
    LazyLock::new(|| telemetry::gauge("workqueue_depth", "Items that wait in the work queue.", &["name"]));
static QUEUED: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "workqueue_queue_duration_seconds",
        "Seconds that items wait.",
        &["name"],
        &durations(),
    )
});
static WORKED: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "workqueue_work_duration_seconds",
        "Seconds that processing takes.",
        &["name"],
        &durations(),
    )
});
static RETRIES: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter("workqueue_retries_total", "Items added again after a failure.", &["name"])
});
static UNFINISHED: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge(
        "workqueue_unfinished_work_seconds",
        "Seconds spent so far on items in progress.",
        &["name"],
    )
});
static LONGEST: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge(
        "workqueue_longest_running_processor_seconds",
        "Seconds that the longest item in progress has taken so far.",
        &["name"],
    )
});

/// The metrics of one queue.
pub(crate) struct QueueMetrics {
    pub(crate) adds: Counter,
    pub(crate) depth: Gauge,
    pub(crate) queued: Histogram,
    pub(crate) worked: Histogram,
    pub(crate) retries: Counter,
    pub(crate) unfinished: Gauge,
    pub(crate) longest: Gauge,
}

impl QueueMetrics {
    pub(crate) fn new(name: &str) -> Self {
        QueueMetrics {
            adds: ADDS.with(&[name]),
            depth: DEPTH.with(&[name]),
            queued: QUEUED.with(&[name]),
            worked: WORKED.with(&[name]),
            retries: RETRIES.with(&[name]),
            unfinished: UNFINISHED.with(&[name]),
            longest: LONGEST.with(&[name]),
        }
    }
}
