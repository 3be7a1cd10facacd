//! `status.containerStatuses` and their siblings, from what the runtime has, what failed and what was reported before.

use std::collections::HashMap;
use std::time::SystemTime;

use meta::{List, Str, Time};
use runtime::{Container as Running, ContainerState as State};
use types::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, Pod, ResourceRequirements, VolumeMountStatus,
};

use super::Role;
use super::restart::should_restart;
use super::view::{PodView, time};

/// Why a container waits, as `state.waiting` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `CrashLoopBackOff`, `ErrImagePull`, ...
    pub reason: String,
    /// More.
    pub message: String,
}

/// What the worker knows beside the runtime.
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What the runtime has.
    pub view: &'a PodView,
    /// Name of the runtime in container IDs.
    pub runtime_name: &'a str,
    /// Failed starts and restart delays by container name.
    pub waiting: &'a HashMap<String, Waiting>,
    /// Container ids of which the startup probe (if any) succeeded.
    pub started: &'a dyn Fn(&str) -> bool,
    /// Container ids of which the readiness probe (if any) succeeded.
    pub ready: &'a dyn Fn(&str) -> bool,
    /// Termination messages by container id.
    pub messages: &'a HashMap<String, String>,
    /// Resources in effect, by container name: they differ from the pod's while a resize is not granted.
    pub resources: &'a HashMap<String, ResourceRequirements>,
}

/// Unix time as the API writes it.
pub fn api_time(at: SystemTime) -> Time {
    let secs = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    Time::from_unix(i64::try_from(secs).unwrap_or(i64::MAX))
}

/// Statuses of `containers` (of one role, or init and sidecars together) in name order as upstream sorts them:
/// regular ones by name, init containers in the order of the pod.
pub fn statuses(
    facts: &Facts<'_>,
    containers: &[(Role, &Container)],
    old: &[ContainerStatus],
) -> List<ContainerStatus> {
    let mut out: Vec<ContainerStatus> = containers
        .iter()
        .map(|(role, container)| one(facts, *role, container, old.iter().find(|s| s.name == container.name)))
        .collect();
    if containers.first().is_some_and(|(role, _)| matches!(role, Role::Regular | Role::Ephemeral)) {
        out.sort_by(|a, b| a.name.cmp(&b.name));
    }
    out.into_iter().collect()
}

fn one(
    facts: &Facts<'_>,
    role: Role,
    container: &Container,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut mine = facts.view.containers.iter().filter(|c| c.config.name == container.name.as_str());
    let mut status = match mine.next() {
        Some(latest) => {
            let mut status = of_running(facts, container, latest);
            if let Some(previous) = mine.find(|c| matches!(c.state, State::Exited(_))) {
                status.last_state = of_running(facts, container, previous).state;
            } else if let Some(old) = old.filter(|o| o.last_state.terminated.is_some()) {
                status.last_state = old.last_state.clone();
            }
            status
        }
        None => missing(facts, container, old),
    };
    status.volume_mounts = volume_mounts(container);
    apply_waiting(facts, role, container, &mut status);
    if status.state.running.is_some() {
        let id = status.container_id.split_once("://").map_or("", |(_, id)| id);
        let started = (facts.started)(id);
        status.started = Some(started);
        status.ready = started && (role == Role::Ephemeral || (facts.ready)(id));
        if role == Role::Ephemeral {
            status.ready = false;
        }
    } else {
        status.started = Some(false);
        status.ready =
            role == Role::Init && status.state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    }
    status
}

/// The runtime knows nothing of the container: it never ran, or somebody removed it.
fn missing(facts: &Facts<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        state: not_started(facts),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    if old.state.terminated.is_some() {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if old.state.running.is_some() && status.last_state.terminated.is_none() {
        status.last_state.terminated = Some(Box::new(ContainerStateTerminated {
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was deleted.  The container used to be Running".into(),
            exit_code: 137,
            ..Default::default()
        }));
        if facts.pod.metadata.deletion_timestamp.is_none() {
            status.restart_count += 1;
        }
    }
    status
}

fn waiting_state(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: reason.into(), message: message.into() };
    ContainerState { waiting: Some(Box::new(waiting)), ..Default::default() }
}

/// What a container waits for that never ran, whether or not the runtime has made it by now.
fn not_started(facts: &Facts<'_>) -> ContainerState {
    let initializing = !facts.pod.spec.init_containers.is_empty();
    waiting_state(if initializing { "PodInitializing" } else { "ContainerCreating" }, "")
}

fn of_running(facts: &Facts<'_>, container: &Container, have: &Running) -> ContainerStatus {
    let id: Str = format!("{}://{}", facts.runtime_name, have.id).into();
    let mut state = ContainerState::default();
    match &have.state {
        State::Running { started_at_ns, .. } => {
            state.running =
                Some(Box::new(ContainerStateRunning { started_at: Some(api_time(time(*started_at_ns))) }));
        }
        State::Created => state = not_started(facts),
        State::Exited(exit) => {
            let own = facts.messages.get(&have.id).filter(|m| !m.is_empty());
            let at = |ns: i64| (ns > 0).then(|| api_time(time(ns)));
            state.terminated = Some(Box::new(ContainerStateTerminated {
                exit_code: exit.exit_code,
                signal: 0,
                reason: exit.reason.as_str().into(),
                message: own.map_or(exit.message.as_str(), |m| m).into(),
                started_at: at(exit.started_at_ns).or_else(|| Some(api_time(time(0)))),
                finished_at: at(exit.finished_at_ns),
                container_id: id.clone(),
            }));
        }
    }
    let user = &have.user;
    let linux = LinuxContainerUser {
        uid: i64::from(user.uid),
        gid: i64::from(user.gid),
        supplemental_groups: user.supplemental_groups.iter().map(|g| i64::from(*g)).collect(),
    };
    let in_effect = match facts.resources.get(container.name.as_str()) {
        Some(granted) if matches!(have.state, State::Running { .. }) => granted,
        _ => &container.resources,
    };
    ContainerStatus {
        name: container.name.clone(),
        restart_count: i32::try_from(have.config.attempt).unwrap_or(i32::MAX),
        image: have.config.image.as_str().into(),
        image_id: have.image_ref.as_str().into(),
        container_id: id,
        state,
        user: Some(Box::new(ContainerUser { linux: Some(Box::new(linux)) })),
        allocated_resources: in_effect.requests.clone(),
        resources: Some(Box::new(in_effect.clone())),
        ..Default::default()
    }
}

/// A failed start or a restart delay turns "ended" into "waits", and keeps how it ended as the last state.
fn apply_waiting(facts: &Facts<'_>, role: Role, container: &Container, status: &mut ContainerStatus) {
    let Some(why) = facts.waiting.get(container.name.as_str()) else { return };
    if status.state.running.is_some() {
        return;
    }
    if let Some(ended) = &status.state.terminated {
        if !should_restart(facts.pod, container, role, ended.exit_code) {
            return;
        }
        status.last_state = status.state.clone();
    }
    status.state = waiting_state(&why.reason, &why.message);
}

fn volume_mounts(container: &Container) -> List<VolumeMountStatus> {
    let status = |mount: &types::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.then(|| {
            let wanted = mount.recursive_read_only.as_deref();
            if matches!(wanted, Some("Enabled" | "IfPossible")) { "Enabled" } else { "Disabled" }.into()
        }),
        ..Default::default()
    };
    container.volume_mounts.iter().map(status).collect()
}

#[cfg(test)]
#[path = "container_status_tests.rs"]
mod tests;
