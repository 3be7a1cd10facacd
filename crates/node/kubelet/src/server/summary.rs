//! `/stats/summary`: usage of the node, its pods and their containers.

use std::sync::Arc;

use runtime::{CgroupStats, ContainerStats, SandboxStats};
use serde_json::{Value, json};
use types::core::v1::Pod;

use super::Server;
use crate::mounted::{MountedVolume, Usage};
use crate::node::info::{file_system, memory};

/// One pod with its usage.
pub struct Measured {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its usage.
    pub stats: SandboxStats,
    /// Names and start times of its containers, by id.
    pub containers: Vec<(String, String, i64)>,
}

/// Measures all pods that run.
pub async fn measure(server: &Server) -> Vec<Measured> {
    let runtime = &server.shared.runtime;
    let containers = runtime.containers();
    let mut out = vec![];
    for sandbox in runtime.sandboxes().into_iter().filter(|s| s.ready) {
        let pods = server.pods.list();
        let Some(pod) = pods.into_iter().find(|p| p.metadata.uid == sandbox.config.uid.as_str()) else {
            continue;
        };
        let Ok(stats) = runtime.sandbox_stats(&sandbox.id).await else { continue };
        let mine = containers.iter().filter(|c| c.sandbox_id == sandbox.id);
        let names = mine.filter_map(|c| match c.state {
            runtime::ContainerState::Running { started_at_ns, .. } => {
                Some((c.id.clone(), c.config.name.clone(), started_at_ns))
            }
            _ => None,
        });
        out.push(Measured { pod, containers: names.collect(), stats });
    }
    out
}

/// Nanoseconds since 1970 in RFC 3339.
pub fn time(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map(|t| format!("{t:.0}")).unwrap_or_default()
}

fn cpu(stats: &CgroupStats) -> Value {
    json!({ "time": time(stats.at_ns), "usageCoreNanoSeconds": stats.cpu_usage_ns })
}

fn memory_stats(stats: &CgroupStats) -> Value {
    let available =
        stats.memory_limit_bytes.map(|limit| limit.saturating_sub(stats.memory_working_set_bytes));
    let mut out = json!({
        "time": time(stats.at_ns),
        "usageBytes": stats.memory_usage_bytes,
        "workingSetBytes": stats.memory_working_set_bytes,
        "rssBytes": stats.memory_rss_bytes,
        "pageFaults": stats.memory_page_faults,
        "majorPageFaults": stats.memory_major_page_faults,
    });
    if let Some(available) = available {
        out["availableBytes"] = available.into();
    }
    out
}

fn fs(at: &str, [size, free, inodes, inodes_free]: [u64; 4], used: Option<(u64, u64)>) -> Value {
    let (bytes, files) = used.unwrap_or((size.saturating_sub(free), inodes.saturating_sub(inodes_free)));
    json!({
        "time": at, "availableBytes": free, "capacityBytes": size, "usedBytes": bytes,
        "inodesFree": inodes_free, "inodes": inodes, "inodesUsed": files,
    })
}

/// The whole answer.
pub async fn summary(server: &Server) -> Value {
    let shared = &server.shared;
    let now = time(shared.env.unix_ms() * 1_000_000);
    let root = file_system(&shared.root_dir).unwrap_or_default();
    let images = file_system(&shared.runtime.image_root()).unwrap_or_default();
    let image_usage = shared.runtime.image_usage().await.ok();
    let usages = shared.mounted.usages(&*shared.env.clock).await;
    let mut pods = Vec::new();
    for measured in measure(server).await {
        let mut told = pod(&measured, &now, root);
        if let Some(usages) = usages.get(measured.pod.metadata.uid.as_str()) {
            told["volume"] = volumes(usages, &measured.pod, &now).into();
        }
        pods.push(told);
    }
    let (total, available) = memory();
    let mut node = json!({
        "nodeName": shared.node_name,
        "startTime": boot_time(),
        "memory": {
            "time": now, "availableBytes": available, "usageBytes": total - available, "workingSetBytes": total - available,
        },
        "fs": fs(&now, root, None),
        "runtime": { "imageFs": fs(&now, images, image_usage) },
    });
    if let Some(nanos) = node_cpu_ns() {
        node["cpu"] = json!({ "time": now, "usageCoreNanoSeconds": nanos });
    }
    if let Ok(stats) = shared.runtime.pods_stats().await {
        node["systemContainers"] = json!([{ "name": "pods", "startTime": boot_time(), "cpu": cpu(&stats), "memory": memory_stats(&stats) }]);
    }
    json!({ "node": node, "pods": pods })
}

fn pod(measured: &Measured, now: &str, root: [u64; 4]) -> Value {
    let meta = &measured.pod.metadata;
    let containers: Vec<Value> =
        measured.stats.containers.iter().filter_map(|stats| container(measured, stats, now, root)).collect();
    let mut out = json!({
        "podRef": { "name": meta.name.as_str(), "namespace": meta.namespace.as_str(), "uid": meta.uid.as_str() },
        "startTime": measured.pod.status.start_time.as_ref().map(|t| t.to_string()),
        "containers": containers,
    });
    if let Some(stats) = &measured.stats.cgroup {
        out["cpu"] = cpu(stats);
        out["memory"] = memory_stats(stats);
        out["process_stats"] = json!({ "process_count": stats.pids });
    }
    let interfaces: Vec<Value> = measured
        .stats
        .interfaces
        .iter()
        .map(|i| json!({ "name": i.name, "rxBytes": i.rx_bytes, "rxErrors": i.rx_errors, "txBytes": i.tx_bytes, "txErrors": i.tx_errors }))
        .collect();
    if let Some(Value::Object(first)) = interfaces.first() {
        let mut network = first.clone();
        network.insert("time".into(), now.into());
        network.insert("interfaces".into(), interfaces.clone().into());
        out["network"] = Value::Object(network);
    }
    let used: u64 = measured.stats.containers.iter().map(|c| c.disk_bytes()).sum();
    let inodes: u64 = measured.stats.containers.iter().map(|c| c.writable_inodes).sum();
    out["ephemeral-storage"] = fs(now, root, Some((used, inodes)));
    out
}

/// What the pod's volumes take.
fn volumes(usages: &[(MountedVolume, Usage)], pod: &Pod, now: &str) -> Vec<Value> {
    let told = |(volume, usage): &(MountedVolume, Usage)| {
        let mut out = json!({
            "time": now, "availableBytes": usage.available_bytes, "capacityBytes": usage.capacity_bytes,
            "usedBytes": usage.used_bytes, "inodesFree": usage.inodes_free, "inodes": usage.inodes,
            "inodesUsed": usage.inodes_used, "name": volume.name.as_str(),
        });
        if let Some(claim) = &volume.claim {
            let namespace = pod.metadata.namespace.as_str();
            out["pvcRef"] = json!({ "name": claim.as_str(), "namespace": namespace });
        }
        out
    };
    usages.iter().map(told).collect()
}

fn container(measured: &Measured, stats: &ContainerStats, now: &str, root: [u64; 4]) -> Option<Value> {
    let (_, name, started) = measured.containers.iter().find(|(id, _, _)| *id == stats.container_id)?;
    let mut out = json!({
        "name": name,
        "startTime": time(*started),
        "rootfs": fs(now, root, Some((stats.writable_bytes, stats.writable_inodes))),
        "logs": fs(now, root, Some((stats.log_bytes, 1))),
    });
    if let Some(cgroup) = &stats.cgroup {
        out["cpu"] = cpu(cgroup);
        out["memory"] = memory_stats(cgroup);
    }
    Some(out)
}

fn proc_stat() -> String {
    std::fs::read_to_string("/proc/stat").unwrap_or_default()
}

fn boot_time() -> String {
    let text = proc_stat();
    let seconds =
        text.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<i64>().ok()).unwrap_or(0);
    time(seconds * 1_000_000_000)
}

/// Busy time of all processors since boot.
pub fn node_cpu_ns() -> Option<u64> {
    let text = proc_stat();
    let fields: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal, in hundredths of a second.
    let busy: u64 =
        fields.iter().enumerate().filter(|(i, _)| !matches!(i, 3 | 4) && *i < 8).map(|(_, v)| v).sum();
    Some(busy * 10_000_000)
}
