//! The kubelet's metrics, under upstream's names.

use std::sync::LazyLock;

use telemetry::{CounterFamily, GaugeFamily, HistogramFamily};

/// Results of probes, served at `/metrics/probes`.
pub static PROBES: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "prober_probe_total",
        "Cumulative number of a liveness, readiness or startup probe for a container by result.",
        &["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
    )
});

/// Pods that have a sandbox that is up; measured when asked.
pub static RUNNING_PODS: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox", &[])
});

/// Containers by state; measured when asked.
pub static RUNNING_CONTAINERS: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge(
        "kubelet_running_containers",
        "Number of containers currently running",
        &["container_state"],
    )
});

/// Name of the node.
pub static NODE_NAME: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge("kubelet_node_name", "The node's name. The count is always 1.", &["node"])
});

/// From first sight of a pod to its first Running.
pub static POD_START: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "kubelet_pod_start_duration_seconds",
        "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
        &[],
        &[0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0],
    )
});

/// Requests to the kubelet's own API.
pub static HTTP_REQUESTS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "kubelet_http_requests_total",
        "Number of the http requests received since the server started",
        &["method", "path", "server_type"],
    )
});

/// Pods ended for want of resources.
pub static EVICTIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "kubelet_evictions",
        "Cumulative number of pod evictions by eviction signal",
        &["eviction_signal"],
    )
});
