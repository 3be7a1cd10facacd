//! Whether a container that ended may run again: the pod's policy, its own, and its `restartPolicyRules`.

use types::core::v1::{Container, ContainerRestartRule, PodSpec};

/// Whether one of the container's own rules says that it runs again after it ended with `exit_code`.
pub fn rule_matches(container: &Container, exit_code: i32) -> bool {
    let matches = |rule: &&ContainerRestartRule| {
        let Some(codes) = &rule.exit_codes else { return false };
        match codes.operator.as_str() {
            "In" => codes.values.contains(&exit_code),
            "NotIn" => !codes.values.contains(&exit_code),
            _ => false,
        }
    };
    let rule = container.restart_policy_rules.iter().find(matches);
    rule.is_some_and(|rule| rule.action.starts_with("Restart"))
}

/// The policy that holds for a container: its own, else that of the pod.
pub fn policy<'a>(spec: &'a PodSpec, container: &'a Container) -> &'a str {
    let own = container.restart_policy.as_deref().filter(|policy| !policy.is_empty());
    own.unwrap_or(&spec.restart_policy)
}

/// Whether a container that ended with `exit_code` may be seen running again.
pub fn may_restart(spec: &PodSpec, container: &Container, exit_code: i32) -> bool {
    rule_matches(container, exit_code)
        || match policy(spec, container) {
            "Never" => false,
            "OnFailure" => exit_code != 0,
            _ => true,
        }
}

/// Whether the end of one container may begin them all anew.
pub fn may_restart_all(spec: &PodSpec) -> bool {
    let mut containers = spec.init_containers.iter().chain(spec.containers.iter());
    containers.any(|c| c.restart_policy_rules.iter().any(|rule| rule.action == "RestartAllContainers"))
}
