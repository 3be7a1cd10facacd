//! The conditions that the kubelet owns: PodReadyToStartContainers, Initialized, ContainersReady, Ready, PodScheduled.

use meta::Time;
use types::core::v1::{ContainerStatus, Pod, PodCondition};

use super::{Role, init_role};

/// Types of the conditions that only the kubelet writes.
pub const OWNED: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

fn condition(pod: &Pod, type_: &str, status: bool, reason: &str, message: String) -> PodCondition {
    PodCondition {
        type_: type_.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: pod.metadata.generation,
        ..Default::default()
    }
}

fn names(list: &[&str]) -> String {
    format!("[{}]", list.join(" "))
}

fn both(unknown: &[&str], what: &str, other: &[&str]) -> String {
    let mut parts = vec![];
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", names(unknown)));
    }
    if !other.is_empty() {
        parts.push(format!("containers with {what} status: {}", names(other)));
    }
    parts.join(", ")
}

/// ContainersReady: every regular container and sidecar is ready.
pub fn containers_ready(pod: &Pod, statuses: &[&ContainerStatus], phase: &str) -> PodCondition {
    const TYPE: &str = "ContainersReady";
    if statuses.is_empty() {
        return condition(pod, TYPE, false, "UnknownContainerStatuses", String::new());
    }
    let sidecars = pod.spec.init_containers.iter().filter(|c| init_role(c) == Role::Sidecar);
    let (mut unknown, mut unready) = (vec![], vec![]);
    for container in sidecars.chain(pod.spec.containers.iter()) {
        match statuses.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return condition(pod, TYPE, false, "PodCompleted", String::new());
    }
    if phase == "Failed" {
        return condition(pod, TYPE, false, "PodFailed", String::new());
    }
    let message = both(&unknown, "unready", &unready);
    match message.is_empty() {
        true => condition(pod, TYPE, true, "", message),
        false => condition(pod, TYPE, false, "ContainersNotReady", message),
    }
}

/// Ready: ContainersReady, and every readiness gate is `True` among `others`.
pub fn ready(pod: &Pod, containers_ready: &PodCondition, others: &[PodCondition]) -> PodCondition {
    if containers_ready.status != "True" {
        return PodCondition { type_: "Ready".into(), ..containers_ready.clone() };
    }
    let gates = pod.spec.readiness_gates.iter().filter_map(|gate| {
        let name = &gate.condition_type;
        match others.iter().find(|c| c.type_ == *name) {
            None => Some(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
            Some(c) if c.status != "True" => {
                Some(format!("the status of pod readiness gate {name:?} is not \"True\", but {}", c.status))
            }
            Some(_) => None,
        }
    });
    let message = gates.collect::<Vec<_>>().join(", ");
    match message.is_empty() {
        true => condition(pod, "Ready", true, "", message),
        false => condition(pod, "Ready", false, "ReadinessGatesNotReady", message),
    }
}

/// Initialized: init containers have ended well and sidecars have started.
pub fn initialized(
    pod: &Pod,
    statuses: &[&ContainerStatus],
    phase: &str,
    regular_started: bool,
) -> PodCondition {
    const TYPE: &str = "Initialized";
    if statuses.is_empty() && !pod.spec.init_containers.is_empty() {
        return condition(pod, TYPE, false, "UnknownContainerStatuses", String::new());
    }
    let (mut unknown, mut incomplete) = (vec![], vec![]);
    for container in &pod.spec.init_containers {
        match statuses.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) => {
                let good = match init_role(container) {
                    Role::Sidecar => status.started == Some(true),
                    _ => status.ready,
                };
                if !good {
                    incomplete.push(container.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return condition(pod, TYPE, true, "PodCompleted", String::new());
    }
    let message = both(&unknown, "incomplete", &incomplete);
    match regular_started || message.is_empty() {
        true => condition(pod, TYPE, true, "", String::new()),
        false => condition(pod, TYPE, false, "ContainersNotInitialized", message),
    }
}

/// PodReadyToStartContainers: a sandbox with its network is there.
pub fn ready_to_start(pod: &Pod, sandbox_ready: bool) -> PodCondition {
    condition(pod, "PodReadyToStartContainers", sandbox_ready, "", String::new())
}

/// PodScheduled: it came here, so it was.
pub fn scheduled(pod: &Pod) -> PodCondition {
    condition(pod, "PodScheduled", true, "", String::new())
}

/// Takes over the transition times of `old` where the status did not change; `now` where it did.
pub fn with_times(conditions: &mut [PodCondition], old: &[PodCondition], now: Time) {
    for condition in conditions {
        if !OWNED.contains(&condition.type_.as_str()) {
            continue;
        }
        let before = old.iter().find(|c| c.type_ == condition.type_);
        match before {
            Some(before) if before.status == condition.status => {
                condition.last_transition_time = before.last_transition_time;
                condition.last_probe_time = before.last_probe_time;
            }
            _ => condition.last_transition_time = Some(now),
        }
    }
}

/// The first condition of that type.
pub fn find<'a>(
    conditions: impl IntoIterator<Item = &'a PodCondition>,
    type_: &str,
) -> Option<&'a PodCondition> {
    conditions.into_iter().find(|c| c.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::{Container, PodReadinessGate};

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.spec.containers.push(Container { name: "a".into(), ..Default::default() });
        pod.spec.containers.push(Container { name: "b".into(), ..Default::default() });
        pod
    }

    fn status(name: &str, ready: bool) -> ContainerStatus {
        ContainerStatus { name: name.into(), ready, ..Default::default() }
    }

    #[test]
    fn readiness() {
        let (a, b, c) = (status("a", true), status("b", false), status("b", true));
        let got = containers_ready(&pod(), &[&a, &b], "Running");
        assert_eq!((got.status.as_str(), got.reason.as_str()), ("False", "ContainersNotReady"));
        assert_eq!(got.message, "containers with unready status: [b]");
        assert_eq!(ready(&pod(), &got, &[]).message, got.message);
        assert_eq!(containers_ready(&pod(), &[&a], "Running").message, "containers with unknown status: [b]");
        assert_eq!(containers_ready(&pod(), &[&a, &c], "Succeeded").reason, "PodCompleted");
        let good = containers_ready(&pod(), &[&a, &c], "Running");
        assert_eq!(good.status, "True");

        let mut gated = pod();
        gated.spec.readiness_gates.push(PodReadinessGate { condition_type: "x/y".into() });
        let got = ready(&gated, &good, &[]);
        assert_eq!(got.reason, "ReadinessGatesNotReady");
        assert_eq!(got.message, "corresponding condition of pod readiness gate \"x/y\" does not exist.");
        let gate = PodCondition { type_: "x/y".into(), status: "True".into(), ..Default::default() };
        assert_eq!(ready(&gated, &good, &[gate]).status, "True");
    }

    #[test]
    fn initialization() {
        let mut pod = pod();
        pod.spec.init_containers.push(Container { name: "i".into(), ..Default::default() });
        let i = status("i", false);
        let got = initialized(&pod, &[&i], "Pending", false);
        assert_eq!(got.message, "containers with incomplete status: [i]");
        assert_eq!(initialized(&pod, &[&i], "Running", true).status, "True");
    }
}
