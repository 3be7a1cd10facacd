//! `/metrics/resource`, `/metrics/cadvisor` and `/metrics/probes` in the Prometheus text format.

use http::{Response, StatusCode};
use telemetry::Exposition;

use super::summary::{Measured, measure, node_cpu_ns};
use super::{Body, Server, answer};
use crate::node::info::memory;
use crate::telemetry_names::{RUNNING_CONTAINERS, RUNNING_PODS};

fn labels(measured: &Measured, container: &str) -> Vec<(&'static str, Box<str>)> {
    let meta = &measured.pod.metadata;
    vec![
        ("container", container.into()),
        ("namespace", meta.namespace.as_str().into()),
        ("pod", meta.name.as_str().into()),
    ]
}

fn serve(exposition: Exposition) -> Response<Body> {
    answer(StatusCode::OK, telemetry::CONTENT_TYPE, exposition.into_text().into_bytes())
}

/// The process's own metrics, with what is counted only when asked.
pub fn own(server: &Server) -> Response<Body> {
    let runtime = &server.shared.runtime;
    RUNNING_PODS.with(&[]).set(runtime.sandboxes().iter().filter(|s| s.ready).count() as f64);
    let containers = runtime.containers();
    for state in ["created", "running", "exited"] {
        let count = containers.iter().filter(|c| c.state.name() == state).count();
        RUNNING_CONTAINERS.with(&[state]).set(count as f64);
    }
    answer(StatusCode::OK, telemetry::CONTENT_TYPE, telemetry::render().into_bytes())
}

/// Results of probes, out of all of the kubelet's metrics.
pub fn probes() -> Response<Body> {
    let all = telemetry::render();
    let lines = all.lines().filter(|l| {
        l.starts_with("prober_") || l.starts_with("# HELP prober_") || l.starts_with("# TYPE prober_")
    });
    let text: String = lines.flat_map(|l| [l, "\n"]).collect();
    answer(StatusCode::OK, telemetry::CONTENT_TYPE, text.into_bytes())
}

/// A series over containers: which value of which container.
type OfContainer = fn(&runtime::CgroupStats) -> f64;

fn containers(
    out: &mut Exposition,
    all: &[Measured],
    name: &str,
    help: &str,
    kind: &str,
    value: OfContainer,
) {
    out.header(name, help, kind);
    for measured in all {
        for stats in &measured.stats.containers {
            let name_of = measured.containers.iter().find(|(id, _, _)| *id == stats.container_id);
            if let (Some((_, container, _)), Some(cgroup)) = (name_of, &stats.cgroup) {
                out.sample(name, &labels(measured, container), value(cgroup));
            }
        }
    }
}

fn of_pods(out: &mut Exposition, all: &[Measured], name: &str, help: &str, kind: &str, value: OfContainer) {
    out.header(name, help, kind);
    for measured in all {
        if let Some(cgroup) = &measured.stats.cgroup {
            out.sample(name, &labels(measured, "")[1..], value(cgroup));
        }
    }
}

/// A series over network interfaces.
type OfInterface = fn(&runtime::InterfaceStats) -> u64;

const NS: f64 = 1e9;

/// What metrics-server reads.
pub async fn resource(server: &Server) -> Response<Body> {
    let all = measure(server).await;
    let mut out = Exposition::default();
    let cpu: OfContainer = |c| c.cpu_usage_ns as f64 / NS;
    let working: OfContainer = |c| c.memory_working_set_bytes as f64;
    containers(
        &mut out,
        &all,
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        "counter",
        cpu,
    );
    containers(
        &mut out,
        &all,
        "container_memory_working_set_bytes",
        "[STABLE] Current working set of the container in bytes",
        "gauge",
        working,
    );
    out.header(
        "container_start_time_seconds",
        "[STABLE] Start time of the container since unix epoch in seconds",
        "gauge",
    );
    for measured in &all {
        for (_, name, started) in &measured.containers {
            out.sample("container_start_time_seconds", &labels(measured, name), *started as f64 / NS);
        }
    }
    let (total, available) = memory();
    if let Some(nanos) = node_cpu_ns() {
        out.header(
            "node_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            "counter",
        );
        out.sample("node_cpu_usage_seconds_total", &[], nanos as f64 / NS);
    }
    out.header("node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", "gauge");
    out.sample("node_memory_working_set_bytes", &[], (total - available) as f64);
    of_pods(
        &mut out,
        &all,
        "pod_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
        cpu,
    );
    of_pods(
        &mut out,
        &all,
        "pod_memory_working_set_bytes",
        "[STABLE] Current working set of the pod in bytes",
        "gauge",
        working,
    );
    out.header(
        "resource_scrape_error",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    );
    out.sample("resource_scrape_error", &[], 0.0);
    serve(out)
}

/// The names that dashboards know from cAdvisor.
pub async fn cadvisor(server: &Server) -> Response<Body> {
    let all = measure(server).await;
    let mut out = Exposition::default();
    let series: [(&str, &str, &str, OfContainer); 9] = [
        ("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", "counter", |c| {
            c.cpu_usage_ns as f64 / NS
        }),
        (
            "container_cpu_cfs_periods_total",
            "Number of elapsed enforcement period intervals.",
            "counter",
            |c| c.cpu_periods as f64,
        ),
        (
            "container_cpu_cfs_throttled_periods_total",
            "Number of throttled period intervals.",
            "counter",
            |c| c.cpu_throttled_periods as f64,
        ),
        (
            "container_cpu_cfs_throttled_seconds_total",
            "Total time duration the container has been throttled.",
            "counter",
            |c| c.cpu_throttled_ns as f64 / NS,
        ),
        (
            "container_memory_usage_bytes",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            "gauge",
            |c| c.memory_usage_bytes as f64,
        ),
        ("container_memory_working_set_bytes", "Current working set in bytes.", "gauge", |c| {
            c.memory_working_set_bytes as f64
        }),
        ("container_memory_rss", "Size of RSS in bytes.", "gauge", |c| c.memory_rss_bytes as f64),
        (
            "container_oom_events_total",
            "Count of out of memory events observed for the container",
            "counter",
            |c| c.oom_kills as f64,
        ),
        ("container_threads", "Number of threads running inside the container", "gauge", |c| c.pids as f64),
    ];
    for (name, help, kind, value) in series {
        containers(&mut out, &all, name, help, kind, value);
    }
    let counters: [(&str, OfInterface); 4] = [
        ("container_network_receive_bytes_total", |i| i.rx_bytes),
        ("container_network_receive_errors_total", |i| i.rx_errors),
        ("container_network_transmit_bytes_total", |i| i.tx_bytes),
        ("container_network_transmit_errors_total", |i| i.tx_errors),
    ];
    for (name, value) in counters {
        out.header(name, "Cumulative count of the pod's network interface.", "counter");
        for measured in &all {
            for interface in &measured.stats.interfaces {
                let mut of = labels(measured, "");
                of.push(("interface", interface.name.as_str().into()));
                out.sample(name, &of, value(interface) as f64);
            }
        }
    }
    serve(out)
}
