//! Pods and namespaces against the Pod Security Standards.

use meta::Map;
use serde_json::{Value, json};
use types::core::v1::PodSpec;

use super::checks::violations;
use super::policy::{Level, Standard, Version};
use super::subject::Subject;
use super::words::details;

/// What is wrong with a pod of one container `a`, whose fields `container` adds to, and whose spec `spec` adds to.
fn judge(level: Level, version: Version, spec: Value, container: Value) -> String {
    let mut whole = json!({"containers": [{"name": "a", "image": "i"}]});
    for (into, from) in [("/containers/0", container), ("", spec)] {
        let into = whole.pointer_mut(into).and_then(Value::as_object_mut).expect("an object");
        into.extend(from.as_object().expect("an object").clone());
    }
    let spec: PodSpec = meta::from_value(whole).expect("a spec");
    details(&violations(Standard { level, version }, &Subject::new(&Map::new(), &spec)))
}

#[test]
fn baseline_refuses() {
    let rows = [
        (json!({}), json!({}), ""),
        (
            json!({"hostNetwork": true, "hostIPC": true}),
            json!({}),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            json!({}),
            json!({"securityContext": {"privileged": true}}),
            r#"privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            json!({}),
            json!({"securityContext": {"capabilities": {"add": ["SYS_TIME", "NET_RAW", "CHOWN"]}}}),
            r#"non-default capabilities (container "a" must not include "NET_RAW", "SYS_TIME" in securityContext.capabilities.add)"#,
        ),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "hostPath": {"path": "/"}}]}),
            json!({}),
            r#"hostPath volumes (volumes "v", "w")"#,
        ),
        (
            json!({}),
            json!({"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 1, "hostPort": 443}]}),
            r#"hostPort (container "a" uses hostPorts 443, 80)"#,
        ),
        (
            json!({}),
            json!({"lifecycle": {"preStop": {"tcpSocket": {"host": "h", "port": 1}}}}),
            r#"probe or lifecycle host (container "a" uses probe or lifecycle host "h")"#,
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            r#"forbidden AppArmor profile (pod and container "a" must not set AppArmor profile type to "Unconfined")"#,
        ),
        (
            json!({}),
            json!({"securityContext": {"seLinuxOptions": {"type": "t", "role": "r"}}}),
            r#"seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "t"; role may not be set)"#,
        ),
        (
            json!({}),
            json!({"securityContext": {"procMount": "Unmasked"}}),
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (json!({"hostUsers": false}), json!({"securityContext": {"procMount": "Unmasked"}}), ""),
        (
            json!({"securityContext": {"sysctls": [{"name": "a.b", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]}}),
            json!({}),
            "forbidden sysctls (a.b)",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            json!({}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    for (spec, container, expected) in rows {
        assert_eq!(judge(Level::Baseline, Version::Latest, spec.clone(), container), expected, "{spec}");
    }
}

#[test]
fn versions_change_the_rules() {
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]}});
    let probe = json!({"livenessProbe": {"httpGet": {"host": "h", "port": 1}}});
    let unmasked = json!({"securityContext": {"procMount": "Unmasked"}});
    let engine = json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}});
    for (spec, container, last_bad, first_good) in [
        (sysctl, json!({}), 31, 32),
        (json!({"hostUsers": false}), unmasked, 34, 35),
        (json!({}), engine, 30, 31),
        // A rule that came later.
        (json!({}), probe, 34, 33),
    ] {
        let judge = |minor| judge(Level::Baseline, Version::Minor(minor), spec.clone(), container.clone());
        assert_ne!(judge(last_bad), "", "{spec} {container}");
        assert_eq!(judge(first_good), "", "{spec} {container}");
    }
}

#[test]
fn restricted_asks_for_more() {
    let hardened = json!({"runAsNonRoot": true, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    let with = |key: &str, value: Value| {
        let mut context = hardened.clone();
        context[key] = value;
        json!({"securityContext": context})
    };
    let rows = [
        (json!({}), json!({"securityContext": hardened}), ""),
        (json!({}), with("runAsUser", json!(0)), r#"runAsUser=0 (container "a" must not set runAsUser=0)"#),
        (json!({"hostUsers": false}), with("runAsUser", json!(0)), ""),
        (
            json!({}),
            with("runAsNonRoot", json!(false)),
            r#"runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)"#,
        ),
        (
            json!({}),
            with("capabilities", json!({"add": ["NET_BIND_SERVICE", "KILL"]})),
            r#"unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; container "a" must not include "KILL" in securityContext.capabilities.add)"#,
        ),
        (
            json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {"server": "s", "path": "/"}}, {"name": "i", "image": {}}]}),
            json!({"securityContext": hardened}),
            r#"restricted volume types (volumes "h", "n" use restricted volume types "hostPath", "nfs")"#,
        ),
        (
            json!({}),
            with("seccompProfile", json!({"type": "Unconfined"})),
            r#"seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            json!({"hostUsers": false}),
            with("procMount", json!("Unmasked")),
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
    ];
    for (spec, container, expected) in rows {
        assert_eq!(
            judge(Level::Restricted, Version::Latest, spec, container.clone()),
            expected,
            "{container}"
        );
    }
}

#[test]
fn windows_pods_are_spared_what_they_cannot_set() {
    let spec = json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}});
    assert_eq!(judge(Level::Restricted, Version::Minor(25), spec.clone(), json!({})), "");
    assert_ne!(judge(Level::Restricted, Version::Minor(24), spec, json!({})), "");
}
