//! The kubelet's metrics, under upstream's names.

use std::future::Future;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use telemetry::{CounterFamily, GaugeFamily, HistogramFamily};

use crate::probe::Kind;

/// Results of probes, served at `/metrics/probes`.
pub static PROBES: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "prober_probe_total",
        "Results of probes.",
        &["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
    )
});

/// Pods that have a sandbox that is up; measured when asked.
pub static RUNNING_PODS: LazyLock<GaugeFamily> =
    LazyLock::new(|| telemetry::gauge("kubelet_running_pods", "Pods whose sandbox is up.", &[]));

/// Containers by state; measured when asked.
pub static RUNNING_CONTAINERS: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge("kubelet_running_containers", "Containers by state.", &["container_state"])
});

/// Name of the node.
pub static NODE_NAME: LazyLock<GaugeFamily> =
    LazyLock::new(|| telemetry::gauge("kubelet_node_name", "The node by name.", &["node"]));

/// From first sight of a pod to its first Running.
pub static POD_START: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "kubelet_pod_start_duration_seconds",
        "Seconds from a pod's first sight until it runs.",
        &[],
        &[0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0],
    )
});

/// Requests to the kubelet's own API.
pub static HTTP_REQUESTS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "kubelet_http_requests_total",
        "Requests to the kubelet's own API.",
        &["method", "path", "server_type"],
    )
});

/// Pods ended for want of resources.
pub static EVICTIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter("kubelet_evictions", "Pods evicted, by signal.", &["eviction_signal"])
});

/// Prometheus' own limits of times, in seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Limits of the time that pods take to start, in seconds.
const START: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];
/// Limits of the time that pulls take, in seconds.
const PULL: [f64; 18] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0,
    2700.0, 3600.0,
];
/// Limits of the time that resizes take, in milliseconds.
const RESIZE_MS: [f64; 14] =
    [10.0, 50.0, 100.0, 500.0, 1e3, 2e3, 5e3, 10e3, 20e3, 30e3, 60e3, 120e3, 300e3, 600e3];

type Counters = LazyLock<CounterFamily>;
type Gauges = LazyLock<GaugeFamily>;
type Histograms = LazyLock<HistogramFamily>;

/// From a pod's creation to its first Running, with everything.
pub static POD_START_TOTAL: Histograms = LazyLock::new(|| {
    let help = "Seconds from a pod's creation until it runs, pulls and init containers included.";
    telemetry::histogram("kubelet_pod_start_total_duration_seconds", help, &[], &START)
});

/// The same without what the node is not to blame for.
pub static POD_START_SLI: Histograms = LazyLock::new(|| {
    let help = "Seconds from a pod's creation until it runs, without pulls and init containers.";
    telemetry::histogram("kubelet_pod_start_sli_duration_seconds", help, &[], &START)
});

/// Rounds of pods' workers.
pub static WORKER_ROUNDS: Histograms = LazyLock::new(|| {
    let help = "Seconds that one round of a pod's worker takes: create, sync or kill.";
    telemetry::histogram("kubelet_pod_worker_duration_seconds", help, &["operation_type"], &SECONDS)
});

/// From a change of a status until the API has it.
pub static STATUS_SYNC: Histograms = LazyLock::new(|| {
    let limits = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];
    let help = "Seconds from a change of a pod's status until the API has it.";
    telemetry::histogram("kubelet_pod_status_sync_duration_seconds", help, &[], &limits)
});

/// Pods that got a sandbox.
pub static STARTED_PODS: Counters =
    LazyLock::new(|| telemetry::counter("kubelet_started_pods_total", "Pods started.", &[]));
/// Pods that got none.
pub static STARTED_PODS_FAILED: Counters = LazyLock::new(|| {
    telemetry::counter("kubelet_started_pods_errors_total", "Pods that did not start.", &[])
});
/// Time to make a sandbox.
pub static SANDBOX: Histograms = LazyLock::new(|| {
    let help = "Seconds to make a pod's sandbox.";
    telemetry::histogram("kubelet_run_podsandbox_duration_seconds", help, &["runtime_handler"], &SECONDS)
});
/// Sandboxes that were not made.
pub static SANDBOX_FAILED: Counters = LazyLock::new(|| {
    let help = "Sandboxes that could not be made.";
    telemetry::counter("kubelet_run_podsandbox_errors_total", help, &["runtime_handler"])
});

/// Containers that were started, by [`crate::pod::Role::counted`].
pub static STARTED_CONTAINERS: Counters = LazyLock::new(|| {
    telemetry::counter("kubelet_started_containers_total", "Containers started.", &["container_type"])
});
/// Containers that were not, by why the API says.
pub static STARTED_CONTAINERS_FAILED: Counters = LazyLock::new(|| {
    let help = "Containers that did not start.";
    telemetry::counter("kubelet_started_containers_errors_total", help, &["container_type", "code"])
});
/// Containers that ended.
pub static TERMINATED_CONTAINERS: Counters = LazyLock::new(|| {
    let labels = ["container_type", "exit_code", "reason"];
    telemetry::counter("kubelet_terminated_containers_total", "Containers that ended.", &labels)
});

/// Ephemeral containers of the node's pods; measured when asked.
pub static EPHEMERAL_CONTAINERS: Gauges = LazyLock::new(|| {
    let help = "Ephemeral containers of this node's pods.";
    telemetry::gauge("kubelet_managed_ephemeral_containers", help, &[])
});
/// Pods that the node is told to run; measured when asked.
pub static DESIRED_PODS: Gauges = LazyLock::new(|| {
    let help = "Pods that this node is to run, by whether they come from a file.";
    telemetry::gauge("kubelet_desired_pods", help, &["static"])
});
/// Pods that count when another is taken; measured when asked.
pub static ACTIVE_PODS: Gauges = LazyLock::new(|| {
    let help = "Pods that take room on this node, by whether they come from a file.";
    telemetry::gauge("kubelet_active_pods", help, &["static"])
});
/// Pods from files, which have a mirror each; measured when asked.
pub static MIRROR_PODS: Gauges = LazyLock::new(|| {
    telemetry::gauge("kubelet_mirror_pods", "Pods of the API that stand for one from a file.", &[])
});
/// Version of cgroups; measured when asked.
pub static CGROUP_VERSION: Gauges =
    LazyLock::new(|| telemetry::gauge("kubelet_cgroup_version", "The machine's version of cgroups.", &[]));

/// Pods that the node refused.
pub static REJECTIONS: Counters = LazyLock::new(|| {
    telemetry::counter("kubelet_admission_rejections_total", "Pods that this node refused.", &["reason"])
});

/// Pulls by size of the image.
pub static IMAGE_PULLS: Histograms = LazyLock::new(|| {
    let help = "Seconds that pulls of images take.";
    telemetry::histogram("kubelet_image_pull_duration_seconds", help, &["image_size_in_bytes"], &PULL)
});
/// Images that were removed.
pub static IMAGES_COLLECTED: Counters = LazyLock::new(|| {
    let help = "Images that were removed since nobody used them.";
    telemetry::counter("kubelet_image_garbage_collected_total", help, &["reason"])
});

/// Resizes that were asked for.
pub static RESIZES_REQUESTED: Counters = LazyLock::new(|| {
    let help = "Changes of containers' resources that were asked for.";
    let labels = ["resource", "requirement", "operation"];
    telemetry::counter("kubelet_container_requested_resizes_total", help, &labels)
});
/// Time that resizes take.
pub static RESIZES: Histograms = LazyLock::new(|| {
    let help = "Milliseconds from a resize's beginning to its end.";
    telemetry::histogram("kubelet_pod_resize_duration_milliseconds", help, &["success"], &RESIZE_MS)
});
/// Resizes that wait.
pub static RESIZES_PENDING: Gauges = LazyLock::new(|| {
    telemetry::gauge("kubelet_pod_pending_resizes", "Resizes that are not granted.", &["reason"])
});
/// Resizes that no room would help.
pub static RESIZES_INFEASIBLE: Counters = LazyLock::new(|| {
    let help = "Resizes that this node cannot do.";
    telemetry::counter("kubelet_pod_infeasible_resizes_total", help, &["reason_detail"])
});
/// Resizes under way.
pub static RESIZES_RUNNING: Gauges =
    LazyLock::new(|| telemetry::gauge("kubelet_pod_in_progress_resizes", "Resizes under way.", &[]));
/// Time that probes take, served at `/metrics/probes`.
pub static PROBES_TOOK: Histograms = LazyLock::new(|| {
    let labels = ["probe_type", "container", "pod", "namespace"];
    telemetry::histogram("prober_probe_duration_seconds", "Seconds that probes take.", &labels, &SECONDS)
});

/// Time that the kubelet's own API takes.
pub static HTTP_TOOK: Histograms = LazyLock::new(|| {
    let help = "Seconds that requests to this API take, until the answer begins.";
    let labels = ["method", "path", "server_type", "long_running"];
    telemetry::histogram("kubelet_http_requests_duration_seconds", help, &labels, &SECONDS)
});
/// Requests under way.
pub static HTTP_INFLIGHT: Gauges = LazyLock::new(|| {
    let help = "Requests to this API that have no answer yet.";
    let labels = ["method", "path", "server_type", "long_running"];
    telemetry::gauge("kubelet_http_inflight_requests", help, &labels)
});

/// Volumes that are mounted or unmounted.
static STORAGE: Histograms = LazyLock::new(|| {
    let limits = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];
    let labels = ["volume_plugin", "operation_name", "status", "migrated"];
    let help = "Seconds that operations on volumes take.";
    telemetry::histogram("storage_operation_duration_seconds", help, &labels, &limits)
});

static OPERATIONS: Counters = LazyLock::new(|| {
    let help = "Operations of the container runtime.";
    telemetry::counter("kubelet_runtime_operations_total", help, &["operation_type"])
});
static OPERATIONS_TOOK: Histograms = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.005, 2.5, 14);
    let help = "Seconds that operations of the container runtime take.";
    telemetry::histogram("kubelet_runtime_operations_duration_seconds", help, &["operation_type"], &limits)
});
static OPERATIONS_FAILED: Counters = LazyLock::new(|| {
    let help = "Operations of the container runtime that failed.";
    telemetry::counter("kubelet_runtime_operations_errors_total", help, &["operation_type"])
});

/// Measures one operation of the runtime; `name` is that of CRI, as upstream's metric has it.
pub async fn operation<T, E>(
    name: &'static str,
    operation: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let began = Instant::now();
    let result = operation.await;
    OPERATIONS.with(&[name]).inc();
    OPERATIONS_TOOK.with(&[name]).observe_duration(began.elapsed());
    if result.is_err() {
        OPERATIONS_FAILED.with(&[name]).inc();
    }
    result
}

/// Measures the mount of a volume of a plugin such as `kubernetes.io/secret`.
pub fn mounted(plugin: &str, took: Duration, good: bool) {
    let status = if good { "success" } else { "fail-unknown" };
    STORAGE.with(&[plugin, "volume_mount", status, "false"]).observe_duration(took);
}

/// Measures a pull.
pub fn pulled(size_bytes: u64, took: Duration) {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let size = match size_bytes {
        0..10_485_760 => "0-10MB",
        size if size < 100 * MIB => "10MB-100MB",
        size if size < 500 * MIB => "100MB-500MB",
        size if size < GIB => "500MB-1GB",
        size if size < 5 * GIB => "1GB-5GB",
        size if size < 10 * GIB => "5GB-10GB",
        size if size < 20 * GIB => "10GB-20GB",
        size if size < 30 * GIB => "20GB-30GB",
        size if size < 40 * GIB => "30GB-40GB",
        size if size < 60 * GIB => "40GB-60GB",
        size if size < 100 * GIB => "60GB-100GB",
        _ => "GT100GB",
    };
    IMAGE_PULLS.with(&[size]).observe_duration(took);
}

/// Forgets the counts of a pod's probes: the pod is gone, and its name is in them.
pub fn forget_probes(pod: &types::core::v1::Pod) {
    let meta = &pod.metadata;
    let (name, namespace, uid) = (meta.name.as_str(), meta.namespace.as_str(), meta.uid.as_str());
    for (_, container) in crate::pod::containers(pod) {
        for kind in [Kind::Startup, Kind::Liveness, Kind::Readiness] {
            if kind.of(&container).is_none() {
                continue;
            }
            let (title, container) = (kind.title(), container.name.as_str());
            for result in ["successful", "failed", "unknown"] {
                PROBES.remove(&[title, result, container, name, namespace, uid]);
            }
            PROBES_TOOK.remove(&[title, container, name, namespace]);
        }
    }
}
