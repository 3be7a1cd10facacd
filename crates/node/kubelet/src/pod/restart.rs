//! Whether a container that ended is started again: pod policy, container policy and `restartPolicyRules`.

use rules::restart::{policy, rule_matches};
use types::core::v1::{Container, Pod};

use super::Role;

/// Whether a container that ended with `exit_code` is to be started again.
pub fn should_restart(pod: &Pod, container: &Container, role: Role, exit_code: i32) -> bool {
    if role == Role::Ephemeral {
        return false;
    }
    if rule_matches(container, exit_code) {
        return true;
    }
    match policy(&pod.spec, container) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        // An init container that did its work has done it, whatever the pod's policy says.
        _ => role != Role::Init || exit_code != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::{ContainerRestartRule, ContainerRestartRuleOnExitCodes};

    #[test]
    fn policies() {
        for (pod_policy, own, role, code, want) in [
            ("Always", None, Role::Regular, 0, true),
            ("Always", None, Role::Init, 0, false),
            ("Always", None, Role::Init, 1, true),
            ("OnFailure", None, Role::Regular, 0, false),
            ("OnFailure", None, Role::Regular, 1, true),
            ("Never", None, Role::Regular, 1, false),
            ("Never", None, Role::Init, 1, false),
            ("Never", Some("Always"), Role::Sidecar, 0, true),
            ("Never", Some("OnFailure"), Role::Regular, 1, true),
            ("Always", Some("Never"), Role::Regular, 1, false),
            ("Always", None, Role::Ephemeral, 1, false),
        ] {
            let mut pod = Pod::default();
            pod.spec.restart_policy = pod_policy.into();
            let container = Container { restart_policy: own.map(Into::into), ..Default::default() };
            assert_eq!(
                should_restart(&pod, &container, role, code),
                want,
                "{pod_policy} {own:?} {role:?} {code}"
            );
        }
    }

    #[test]
    fn rules_come_before_the_policy() {
        let mut pod = Pod::default();
        pod.spec.restart_policy = "Never".into();
        let codes =
            ContainerRestartRuleOnExitCodes { operator: "In".into(), values: [42].into_iter().collect() };
        let rule = ContainerRestartRule { action: "Restart".into(), exit_codes: Some(Box::new(codes)) };
        let container = Container {
            restart_policy: Some("Never".into()),
            restart_policy_rules: [rule].into_iter().collect(),
            ..Default::default()
        };
        assert!(should_restart(&pod, &container, Role::Regular, 42));
        assert!(!should_restart(&pod, &container, Role::Regular, 1));
    }
}
