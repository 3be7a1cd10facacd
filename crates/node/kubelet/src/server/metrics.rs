//! `/metrics/resource`, `/metrics/cadvisor` and `/metrics/probes` in the Prometheus text format.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Response, StatusCode};
use telemetry::Exposition;
use types::core::v1::Pod;

use super::summary::{Measured, measure, node_cpu_ns};
use super::{Body, Server, answer};
use crate::metrics::{
    ACTIVE_PODS, CGROUP_VERSION, DESIRED_PODS, EPHEMERAL_CONTAINERS, MIRROR_PODS, RUNNING_CONTAINERS,
    RUNNING_PODS,
};
use crate::mounted::Usage;
use crate::node::info::memory;
use crate::pod::is_static;

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
pub async fn own(server: &Server) -> Response<Body> {
    let backend = &server.shared.runtime;
    RUNNING_PODS.with(&[]).set(backend.sandboxes().iter().filter(|s| s.ready).count() as f64);
    let containers = backend.containers();
    for state in ["created", "running", "exited"] {
        let count = containers.iter().filter(|c| c.state.name() == state).count();
        RUNNING_CONTAINERS.with(&[state]).set(count as f64);
    }
    count_pods(&server.pods.list(), &server.pods.active());
    if let Ok(version) = runtime::cgroup_version() {
        CGROUP_VERSION.with(&[]).set(f64::from(version));
    }
    let mut page = telemetry::render();
    page.push_str(&claims(server).await);
    answer(StatusCode::OK, telemetry::CONTENT_TYPE, page.into_bytes())
}

/// Counts the node's pods.
fn count_pods(all: &[Arc<Pod>], active: &[Arc<Pod>]) {
    for (label, from_file) in [("true", true), ("", false)] {
        let count = |pods: &[Arc<Pod>]| pods.iter().filter(|pod| is_static(pod) == from_file).count() as f64;
        DESIRED_PODS.with(&[label]).set(count(all));
        ACTIVE_PODS.with(&[label]).set(count(active));
    }
    MIRROR_PODS.with(&[]).set(all.iter().filter(|pod| is_static(pod)).count() as f64);
    let ephemeral: usize = all.iter().map(|pod| pod.spec.ephemeral_containers.len()).sum();
    EPHEMERAL_CONTAINERS.with(&[]).set(ephemeral as f64);
}

/// What claims of pods take (`kubelet_volume_stats_*`); a claim of several pods is told once.
async fn claims(server: &Server) -> String {
    let usages = server.shared.mounted.usages(&*server.shared.env.clock).await;
    let mut measured = BTreeMap::new();
    for pod in server.pods.list() {
        for (volume, usage) in usages.get(pod.metadata.uid.as_str()).into_iter().flatten() {
            if let Some(claim) = volume.claim.clone() {
                measured.insert((pod.metadata.namespace.clone(), claim), *usage);
            }
        }
    }
    let series: [(&str, &str, OfVolume); 6] = [
        ("capacity_bytes", "Bytes of the volume", |usage| usage.capacity_bytes),
        ("available_bytes", "Bytes that are left", |usage| usage.available_bytes),
        ("used_bytes", "Bytes in use", |usage| usage.used_bytes),
        ("inodes", "Inodes of the volume", |usage| usage.inodes),
        ("inodes_free", "Inodes that are left", |usage| usage.inodes_free),
        ("inodes_used", "Inodes in use", |usage| usage.inodes_used),
    ];
    let mut page = telemetry::registry().page();
    for (name, help, value) in series.iter().filter(|_| !measured.is_empty()) {
        let name = format!("kubelet_volume_stats_{name}");
        page.header(&name, help, "gauge");
        for ((namespace, claim), usage) in &measured {
            let of =
                [("namespace", namespace.as_str().into()), ("persistentvolumeclaim", claim.as_str().into())];
            page.sample(&name, &of, value(usage) as f64);
        }
    }
    page.into_text()
}

/// A series over volumes.
type OfVolume = fn(&Usage) -> u64;

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
        "Seconds of CPU that the container took.",
        "counter",
        cpu,
    );
    containers(
        &mut out,
        &all,
        "container_memory_working_set_bytes",
        "Bytes of the container's working set.",
        "gauge",
        working,
    );
    out.header("container_start_time_seconds", "When the container started, in seconds since 1970.", "gauge");
    for measured in &all {
        for (_, name, started) in &measured.containers {
            out.sample("container_start_time_seconds", &labels(measured, name), *started as f64 / NS);
        }
    }
    let (total, available) = memory();
    if let Some(nanos) = node_cpu_ns() {
        out.header("node_cpu_usage_seconds_total", "Seconds of CPU that the node took.", "counter");
        out.sample("node_cpu_usage_seconds_total", &[], nanos as f64 / NS);
    }
    out.header("node_memory_working_set_bytes", "Bytes of the node's working set.", "gauge");
    out.sample("node_memory_working_set_bytes", &[], (total - available) as f64);
    of_pods(
        &mut out,
        &all,
        "pod_cpu_usage_seconds_total",
        "Seconds of CPU that the pod took.",
        "counter",
        cpu,
    );
    of_pods(
        &mut out,
        &all,
        "pod_memory_working_set_bytes",
        "Bytes of the pod's working set.",
        "gauge",
        working,
    );
    out.header("resource_scrape_error", "1 if something could not be measured, else 0.", "gauge");
    out.sample("resource_scrape_error", &[], 0.0);
    serve(out)
}

/// The names that dashboards know from cAdvisor.
pub async fn cadvisor(server: &Server) -> Response<Body> {
    let all = measure(server).await;
    let mut out = Exposition::default();
    let series: [(&str, &str, &str, OfContainer); 9] = [
        ("container_cpu_usage_seconds_total", "Seconds of CPU.", "counter", |c| c.cpu_usage_ns as f64 / NS),
        ("container_cpu_cfs_periods_total", "Periods of the CPU limit.", "counter", |c| c.cpu_periods as f64),
        (
            "container_cpu_cfs_throttled_periods_total",
            "Periods in which the CPU limit was reached.",
            "counter",
            |c| c.cpu_throttled_periods as f64,
        ),
        (
            "container_cpu_cfs_throttled_seconds_total",
            "Seconds that the CPU limit held back.",
            "counter",
            |c| c.cpu_throttled_ns as f64 / NS,
        ),
        ("container_memory_usage_bytes", "Bytes of memory in use, caches included.", "gauge", |c| {
            c.memory_usage_bytes as f64
        }),
        ("container_memory_working_set_bytes", "Bytes of the working set.", "gauge", |c| {
            c.memory_working_set_bytes as f64
        }),
        ("container_memory_rss", "Size of RSS in bytes.", "gauge", |c| c.memory_rss_bytes as f64),
        ("container_oom_events_total", "Kills for want of memory.", "counter", |c| c.oom_kills as f64),
        ("container_threads", "Threads.", "gauge", |c| c.pids as f64),
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
