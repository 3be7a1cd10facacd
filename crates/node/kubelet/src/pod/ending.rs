//! The last status of a pod that has ended.

use types::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodSpec, PodStatus};

/// A pod that has ended has a final phase, and no container of it that may have run can be said to run or to wait any more
/// (the kubelet's `TerminatePod`).
pub(crate) fn finish(status: &mut PodStatus, spec: &PodSpec, is_static: bool) {
    let initialized = initialized(status, spec);
    let init = &mut status.init_container_statuses;
    // Behind the last one that was tried, none was.
    let tried = init
        .iter()
        .rposition(|c| c.state.waiting.is_none() || c.last_state.terminated.is_some())
        .map_or(1, |last| last + 1);
    init.iter_mut().take(tried).for_each(end);
    if initialized {
        status.container_statuses.iter_mut().for_each(end);
    }
    let all = [
        &mut status.init_container_statuses,
        &mut status.container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    for container in all.into_iter().flat_map(|list| list.iter_mut()) {
        container.ready &= container.state.terminated.is_some();
    }
    if !is_static && !matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        status.phase = "Failed".into();
    }
}

/// Whether the containers that follow the init containers may have been started.
fn initialized(status: &PodStatus, spec: &PodSpec) -> bool {
    let left_waiting = |c: &ContainerStatus| c.last_state.terminated.is_some() || c.state.waiting.is_none();
    if spec.init_containers.is_empty() || status.container_statuses.iter().any(left_waiting) {
        return true;
    }
    let Some(last) = status.init_container_statuses.last() else { return false };
    let spec = spec.init_containers.iter().find(|container| container.name == last.name);
    if spec.is_some_and(rules::amounts::is_sidecar) {
        return last.state.running.is_some() && last.started == Some(true);
    }
    let succeeded = |state: &ContainerState| state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    succeeded(&last.last_state) || succeeded(&last.state)
}

/// What is known of a container at the end of its pod: how it ended, or that nobody knows.
fn end(container: &mut ContainerStatus) {
    if container.state.terminated.is_some() {
        return;
    }
    let ended = container.last_state.terminated.take().unwrap_or_else(|| {
        Box::new(ContainerStateTerminated {
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
            exit_code: 137,
            ..Default::default()
        })
    });
    container.state = ContainerState { terminated: Some(ended), ..Default::default() };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What the containers of a pod that has ended are told to be: the reason of their end, or of their wait.
    fn ends(spec: serde_json::Value, status: serde_json::Value) -> (String, Vec<String>, Vec<String>) {
        let spec: PodSpec = meta::from_value(spec).unwrap();
        let mut status: PodStatus = meta::from_value(status).unwrap();
        finish(&mut status, &spec, false);
        let reason = |c: &ContainerStatus| match (&c.state.terminated, &c.state.waiting) {
            (Some(ended), _) => ended.reason.to_string(),
            (None, Some(waits)) => format!("waits: {}", waits.reason),
            (None, None) => "neither".to_owned(),
        };
        let all = |list: &[ContainerStatus]| list.iter().map(reason).collect();
        (status.phase.to_string(), all(&status.init_container_statuses), all(&status.container_statuses))
    }

    #[test]
    fn what_never_ran_goes_on_waiting() {
        let init = |names: &[&str]| {
            let containers: Vec<_> = names.iter().map(|name| json!({ "name": name, "image": "i" })).collect();
            json!({ "initContainers": containers, "containers": [{ "name": "main", "image": "i" }] })
        };
        let waits =
            |name: &str| json!({ "name": name, "state": { "waiting": { "reason": "PodInitializing" } } });
        let ended = |name: &str, code: i32| {
            let reason = if code == 0 { "Completed" } else { "Error" };
            json!({ "name": name, "state": { "terminated": { "exitCode": code, "reason": reason } } })
        };
        let unknown = "ContainerStatusUnknown";
        // The first init container failed for good.
        let status = json!({ "phase": "Failed", "initContainerStatuses": [ended("a", 1), waits("b")], "containerStatuses": [waits("main")] });
        let (phase, inits, main) = ends(init(&["a", "b"]), status);
        assert_eq!(phase, "Failed");
        assert_eq!(inits, ["Error", "waits: PodInitializing"]);
        assert_eq!(main, ["waits: PodInitializing"]);
        // All have done their work: what follows may have been started.
        let status = json!({ "phase": "Pending", "initContainerStatuses": [ended("a", 0)], "containerStatuses": [waits("main")] });
        assert_eq!(
            ends(init(&["a"]), status),
            ("Failed".into(), vec!["Completed".into()], vec![unknown.into()])
        );
        // None was seen: the first may have been started.
        let status = json!({ "phase": "Pending", "initContainerStatuses": [waits("a"), waits("b")], "containerStatuses": [waits("main")] });
        let (_, inits, main) = ends(init(&["a", "b"]), status);
        assert_eq!(inits, [unknown, "waits: PodInitializing"]);
        assert_eq!(main, ["waits: PodInitializing"]);
        // Without init containers, anything may have been started.
        let status = json!({ "phase": "Running", "containerStatuses": [waits("main")] });
        assert_eq!(ends(init(&[]), status), ("Failed".into(), vec![], vec![unknown.into()]));
    }

    #[test]
    fn the_last_end_of_a_container_that_waits_to_be_restarted_is_its_end() {
        let spec = json!({ "containers": [{ "name": "main", "image": "i" }] });
        let status = json!({ "phase": "Running", "containerStatuses": [{
            "name": "main", "ready": true,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 3, "reason": "Error" } },
        }] });
        assert_eq!(ends(spec, status), ("Failed".into(), vec![], vec!["Error".into()]));
    }
}
