//! `status.phase` from the states of the containers.

use types::core::v1::{Container, ContainerStatus, Pod};

use super::restart::should_restart;
use super::{Role, init_role, is_static};

/// How one container counts for the phase.
enum Stand {
    Unknown,
    Waiting,
    Running {
        started: bool,
    },
    /// Ended with that code, or waits to be started again after it.
    Ended(i32),
}

fn stand(statuses: &[&ContainerStatus], name: &str) -> Stand {
    let Some(status) = statuses.iter().find(|s| s.name == name) else { return Stand::Unknown };
    if status.state.running.is_some() {
        Stand::Running { started: status.started == Some(true) }
    } else if let Some(ended) = &status.state.terminated {
        Stand::Ended(ended.exit_code)
    } else if status.state.waiting.is_some() {
        status.last_state.terminated.as_ref().map_or(Stand::Waiting, |t| Stand::Ended(t.exit_code))
    } else {
        Stand::Unknown
    }
}

/// The phase. `ending` says that the pod's containers will not be started again whatever their policy; `initialized`
/// that a regular container has been started in the present sandbox.
pub fn phase(pod: &Pod, statuses: &[&ContainerStatus], ending: bool, initialized: bool) -> &'static str {
    let restartable = |c: &Container, role, code| should_restart(pod, c, role, code);
    let (mut pending_init, mut pending_sidecars, mut init_failed) = (0, 0, false);
    let (mut unknown, mut running, mut waiting) = (0, 0, 0);
    for container in &pod.spec.init_containers {
        let role = init_role(container);
        match (role, stand(statuses, &container.name)) {
            (Role::Sidecar, Stand::Unknown) => unknown += 1,
            (Role::Sidecar, Stand::Running { started }) => {
                running += 1;
                pending_sidecars += usize::from(!started);
            }
            (Role::Sidecar, Stand::Ended(_)) => {}
            (Role::Sidecar, Stand::Waiting) => {
                pending_sidecars += 1;
                waiting += 1;
            }
            (_, Stand::Ended(0)) => {}
            (_, Stand::Ended(code)) => init_failed |= !restartable(container, role, code),
            _ => pending_init += 1,
        }
    }
    let (mut stopped, mut stopped_for_good, mut succeeded) = (0, 0, 0);
    for container in &pod.spec.containers {
        match stand(statuses, &container.name) {
            Stand::Unknown => unknown += 1,
            Stand::Waiting => waiting += 1,
            Stand::Running { .. } => running += 1,
            Stand::Ended(code) => {
                stopped += 1;
                stopped_for_good += usize::from(!restartable(container, Role::Regular, code));
                succeeded += usize::from(code == 0);
            }
        }
    }
    if init_failed {
        return "Failed";
    }
    if pending_init > 0 || (pending_sidecars > 0 && !initialized) || waiting > 0 {
        return "Pending";
    }
    if running > 0 && unknown == 0 {
        return "Running";
    }
    if running == 0 && stopped > 0 && unknown == 0 {
        let result = if stopped == succeeded { "Succeeded" } else { "Failed" };
        if (ending && !is_static(pod)) || stopped == stopped_for_good {
            return result;
        }
        return "Running";
    }
    "Pending"
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::{ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting};

    fn status(name: &str, state: &str) -> ContainerStatus {
        let mut s = ContainerStatus { name: name.into(), ..Default::default() };
        let ended = |code: &str| {
            Box::new(ContainerStateTerminated { exit_code: code.parse().unwrap(), ..Default::default() })
        };
        match state.split_once(':').unwrap_or((state, "")) {
            ("run", started) => {
                s.state.running = Some(Box::new(ContainerStateRunning::default()));
                s.started = Some(started != "starting");
            }
            ("end", code) => s.state.terminated = Some(ended(code)),
            ("wait", "") => s.state.waiting = Some(Box::new(ContainerStateWaiting::default())),
            ("wait", code) => {
                s.state.waiting = Some(Box::new(ContainerStateWaiting::default()));
                s.last_state.terminated = Some(ended(code));
            }
            _ => {}
        }
        s
    }

    /// Containers are `name=state`; `i…` are init containers, `s…` sidecars.
    fn check(policy: &str, states: &[&str], ending: bool, want: &str) {
        let mut pod = Pod::default();
        pod.spec.restart_policy = policy.into();
        let mut statuses = vec![];
        let mut initialized = false;
        for entry in states {
            let (name, state) = entry.split_once('=').unwrap();
            let mut container = Container { name: name.into(), ..Default::default() };
            match &name[..1] {
                "i" => pod.spec.init_containers.push(container),
                "s" => {
                    container.restart_policy = Some("Always".into());
                    pod.spec.init_containers.push(container);
                }
                _ => {
                    initialized |= state.starts_with("run") || state.starts_with("end");
                    pod.spec.containers.push(container);
                }
            }
            statuses.push(status(name, state));
        }
        let refs: Vec<_> = statuses.iter().collect();
        assert_eq!(phase(&pod, &refs, ending, initialized), want, "{policy} {states:?} ending={ending}");
    }

    #[test]
    fn table() {
        check("Always", &["a=wait"], false, "Pending");
        check("Always", &["a=run"], false, "Running");
        check("Always", &["a=run", "b=wait"], false, "Pending");
        check("Always", &["a=run", "b=wait:1"], false, "Running");
        check("Always", &["a=end:0"], false, "Running");
        check("Always", &["a=end:0"], true, "Succeeded");
        check("Always", &["a=end:1"], true, "Failed");
        check("OnFailure", &["a=end:0"], false, "Succeeded");
        check("OnFailure", &["a=end:1"], false, "Running");
        check("OnFailure", &["a=wait:1"], false, "Running");
        check("Never", &["a=end:0", "b=end:0"], false, "Succeeded");
        check("Never", &["a=end:0", "b=end:3"], false, "Failed");
        check("Never", &["a=end:0", "b=run"], false, "Running");
        check("Never", &["i=end:1", "a=wait"], false, "Failed");
        check("Always", &["i=end:1", "a=wait"], false, "Pending");
        check("Always", &["i=run", "a=wait"], false, "Pending");
        check("Always", &["i=end:0", "a=run"], false, "Running");
        check("Always", &["s=run:starting", "a=wait"], false, "Pending");
        check("Always", &["s=run:starting", "a=run"], false, "Running");
        check("Never", &["s=run", "a=end:0"], false, "Running");
        check("Never", &["s=end:1", "a=end:0"], false, "Succeeded");
    }
}
