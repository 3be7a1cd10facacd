//! Pods: the status column sums up phase, conditions and container states.

use meta::{Object, Time};
use serde_json::{Value, json};
use types::core::v1::{Container, ContainerStatus, Pod};

use crate::human::{age_cell, name, or_none, since};
use crate::{Column, Printer, named, printer, text, wide};

pub const TABLE: &[Printer] = &[printer!(Pod, COLUMNS, cells).with_conditions(ended)];

const COLUMNS: &[Column] = &[
    named("Name"),
    text("Ready"),
    text("Status"),
    text("Restarts"),
    text("Age"),
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

/// What the columns Ready, Status and Restarts are made of.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i32,
    last_restart: Option<Time>,
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What the row of a pod that has come to its end says.
fn ended(object: &dyn Object) -> Option<Value> {
    let pod = meta::downcast_ref::<Pod>(object)?;
    let message = match pod.status.phase.as_str() {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    let reason = pod.status.phase.as_str();
    Some(json!([{ "type": "Completed", "status": "True", "reason": reason, "message": message }]))
}

/// When a container last ended before its present run.
fn last_end(status: &ContainerStatus) -> Option<Time> {
    status.last_state.terminated.as_ref()?.finished_at
}

fn ended_as(status: &ContainerStatus) -> Option<String> {
    let ended = status.state.terminated.as_ref()?;
    Some(match (ended.reason.as_str(), ended.signal) {
        ("", 0) => format!("ExitCode:{}", ended.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}

fn summarize(pod: &Pod) -> Summary {
    let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container)).count();
    let mut sum = Summary {
        reason: if pod.status.reason.is_empty() {
            pod.status.phase.to_string()
        } else {
            pod.status.reason.to_string()
        },
        ready: 0,
        total: pod.spec.containers.len() + sidecars,
        restarts: 0,
        last_restart: None,
    };
    let gated = |condition: &&types::core::v1::PodCondition| {
        condition.type_ == "PodScheduled" && condition.reason == "SchedulingGated"
    };
    if pod.status.conditions.iter().any(|condition| gated(&condition)) {
        sum.reason = "SchedulingGated".to_owned();
    }
    let (initializing, sidecar_restarts) = init_containers(pod, &mut sum);
    if !initializing || is_initialized(pod) {
        containers(pod, &mut sum, sidecar_restarts);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if pod.status.reason == "NodeLost" {
            sum.reason = "Unknown".to_owned();
        } else if !matches!(pod.status.phase.as_str(), "Failed" | "Succeeded") {
            sum.reason = "Terminating".to_owned();
        }
    }
    sum
}

fn is_initialized(pod: &Pod) -> bool {
    pod.status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Initialized" && condition.status == "True")
}

/// Looks at the init containers in order. Answers whether one of them still holds the pod up, and the restarts of
/// sidecars with their last time.
fn init_containers(pod: &Pod, sum: &mut Summary) -> (bool, (i32, Option<Time>)) {
    let mut sidecar_restarts = (0, None);
    for (at, status) in pod.status.init_container_statuses.iter().enumerate() {
        sum.restarts += status.restart_count;
        sum.last_restart = sum.last_restart.max(last_end(status));
        let spec = pod.spec.init_containers.iter().find(|container| container.name == status.name);
        let sidecar = spec.is_some_and(is_sidecar);
        if sidecar {
            sidecar_restarts.0 += status.restart_count;
            sidecar_restarts.1 = sidecar_restarts.1.max(last_end(status));
        }
        if status.state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0) {
            continue;
        }
        if sidecar && status.started == Some(true) {
            sum.ready += usize::from(status.ready);
            continue;
        }
        let waiting =
            status.state.waiting.as_ref().map(|waiting| waiting.reason.as_str()).unwrap_or_default();
        sum.reason = match (ended_as(status), waiting) {
            (Some(ended), _) => format!("Init:{ended}"),
            (None, "" | "PodInitializing") => format!("Init:{at}/{}", pod.spec.init_containers.len()),
            (None, waiting) => format!("Init:{waiting}"),
        };
        return (true, sidecar_restarts);
    }
    (false, sidecar_restarts)
}

fn containers(pod: &Pod, sum: &mut Summary, (sidecar_restarts, sidecar_last): (i32, Option<Time>)) {
    sum.restarts = sidecar_restarts;
    sum.last_restart = sidecar_last;
    let mut running = false;
    for status in pod.status.container_statuses.iter().rev() {
        sum.restarts += status.restart_count;
        sum.last_restart = sum.last_restart.max(last_end(status));
        let waiting =
            status.state.waiting.as_ref().map(|waiting| waiting.reason.as_str()).unwrap_or_default();
        if !waiting.is_empty() {
            sum.reason = waiting.to_owned();
        } else if let Some(ended) = ended_as(status) {
            sum.reason = ended;
        } else if status.ready && status.state.running.is_some() {
            running = true;
            sum.ready += 1;
        }
    }
    if sum.reason == "Completed" && running {
        let ready = pod.status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        sum.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn cells(pod: &Pod, now: Time) -> Vec<Value> {
    let sum = summarize(pod);
    let restarts = match sum.last_restart {
        Some(last) if sum.restarts != 0 => format!("{} ({} ago)", sum.restarts, since(Some(last), now)),
        _ => sum.restarts.to_string(),
    };
    let ip = pod.status.pod_ips.first().map(|ip| ip.ip.as_str()).unwrap_or_default();
    let gates = match pod.spec.readiness_gates.len() {
        0 => "<none>".to_owned(),
        total => {
            let met = pod.spec.readiness_gates.iter().filter(|gate| {
                let holds = |one: &types::core::v1::PodCondition| {
                    one.type_ == gate.condition_type && one.status == "True"
                };
                pod.status.conditions.iter().any(holds)
            });
            format!("{}/{total}", met.count())
        }
    };
    vec![
        name(pod),
        json!(format!("{}/{}", sum.ready, sum.total)),
        json!(sum.reason),
        json!(restarts),
        age_cell(pod, now),
        or_none(ip),
        or_none(&pod.spec.node_name),
        or_none(&pod.status.nominated_node_name),
        json!(gates),
    ]
}
