//! The rules of the baseline level.

use meta::{Str, go_quote};
use types::core::v1::SELinuxOptions;

use super::subject::{Part, Subject};
use super::words::{Sorted, Violation, containers, noun, quoted, setters};

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Types of SELinux, with the version since which they are allowed.
const SE_LINUX_TYPES: &[(&str, u32)] = &[
    ("", 0),
    ("container_t", 0),
    ("container_init_t", 0),
    ("container_kvm_t", 0),
    ("container_engine_t", 31),
];
/// Namespaced sysctls, with the version since which they are allowed.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn allowed_since(table: &[(&str, u32)], name: &str, minor: u32) -> bool {
    table.iter().any(|(known, since)| *known == name && *since <= minor)
}

pub fn app_armor(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    fn profile<'a>(part: &Part<'a>) -> Option<&'a str> {
        part.security.and_then(|s| s.app_armor_profile.as_deref()).map(|p| p.type_.as_str())
    }
    let bad = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let mut values = Sorted::new();
    let own = pod.security().and_then(|s| s.app_armor_profile.as_ref()).filter(|p| bad(&p.type_));
    values.extend(own.map(|p| p.type_.as_str()));
    let names = pod.named(|part| profile(part).is_some_and(bad));
    values.extend(pod.parts.iter().filter_map(profile).filter(|kind| bad(kind)));
    let fine = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let mut annotations: Vec<String> = pod
        .annotations
        .iter()
        .filter(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && !fine(value))
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    annotations.sort();
    let mut who: Vec<String> = setters(own.is_some(), &names).into_iter().collect();
    if !annotations.is_empty() {
        who.push(noun("annotation", "annotations", annotations.len()).into());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).chain(annotations).collect();
    let reason = noun("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    Violation::new(
        reason,
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)),
    )
}

pub fn capabilities(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    added(pod, CAPABILITIES).and_then(|detail| Violation::new("non-default capabilities", detail))
}

/// Who adds capabilities beyond the allowed ones.
pub fn added(pod: &Subject<'_>, allowed: &[&str]) -> Option<String> {
    fn adds<'a>(part: &Part<'a>) -> &'a [Str] {
        part.security.and_then(|s| s.capabilities.as_ref()).map_or(&[], |c| &c.add[..])
    }
    let bad = |name: &&str| !allowed.contains(name);
    let names = pod.named(|part| adds(part).iter().any(|c| bad(&c.as_str())));
    let found: Sorted<'_> =
        pod.parts.iter().flat_map(|part| adds(part).iter().map(Str::as_str).filter(bad)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&names),
            quoted(found)
        )
    })
}

pub fn host_namespaces(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    let shared = [
        (pod.spec.host_network, "hostNetwork=true"),
        (pod.spec.host_pid, "hostPID=true"),
        (pod.spec.host_ipc, "hostIPC=true"),
    ];
    let set: Vec<&str> = shared.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect();
    if set.is_empty() { None } else { Violation::new("host namespaces", set.join(", ")) }
}

pub fn host_path(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    let names: Vec<&str> =
        pod.spec.volumes.iter().filter(|v| v.host_path.is_some()).map(|v| v.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let noun = noun("volume", "volumes", names.len());
    Violation::new("hostPath volumes", format!("{noun} {}", quoted(&names)))
}

pub fn host_ports(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    let names = pod.named(|part| part.ports.iter().any(|p| p.host_port != 0));
    if names.is_empty() {
        return None;
    }
    let ports = pod.parts.iter().flat_map(|part| part.ports).map(|p| p.host_port).filter(|port| *port != 0);
    // In the order of their text, as upstream lists them.
    let ports: std::collections::BTreeSet<String> = ports.map(|port| port.to_string()).collect();
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        noun("uses", "use", names.len()),
        noun("hostPort", "hostPorts", ports.len()),
        ports.into_iter().collect::<Vec<_>>().join(", ")
    );
    Violation::new("hostPort", detail)
}

pub fn host_probes(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    let names: Sorted<'_> = pod.named(|part| !part.hosts().is_empty()).into_iter().collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let hosts: Sorted<'_> = pod.parts.iter().flat_map(Part::hosts).collect();
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        noun("uses", "use", names.len()),
        noun("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
        quoted(hosts)
    );
    Violation::new("probe or lifecycle host", detail)
}

pub fn privileged(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    let names = pod.named(|part| part.security.is_some_and(|s| s.privileged == Some(true)));
    if names.is_empty() {
        return None;
    }
    Violation::new(
        "privileged",
        format!("{} must not set securityContext.privileged=true", containers(&names)),
    )
}

pub fn proc_mount(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    if minor >= 35 && pod.own_users() { None } else { proc_mount_always(pod, minor) }
}

/// The same whoever the pod's users are.
pub fn proc_mount_always(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    fn unusual<'a>(part: &Part<'a>) -> Option<&'a str> {
        part.security.and_then(|s| s.proc_mount.as_deref()).filter(|kind| *kind != "Default")
    }
    let names = pod.named(|part| unusual(part).is_some());
    if names.is_empty() {
        return None;
    }
    let kinds: Sorted<'_> = pod.parts.iter().filter_map(unusual).collect();
    let detail =
        format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(kinds));
    Violation::new("procMount", detail)
}

pub fn se_linux(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    let bad_type = |o: &SELinuxOptions| !allowed_since(SE_LINUX_TYPES, &o.type_, minor);
    let bad = |o: &SELinuxOptions| bad_type(o) || !o.user.is_empty() || !o.role.is_empty();
    let own = pod.security().and_then(|s| s.se_linux_options.as_deref());
    let of_parts = pod.parts.iter().filter_map(|p| p.security.and_then(|s| s.se_linux_options.as_deref()));
    let all: Vec<&SELinuxOptions> = own.into_iter().chain(of_parts).filter(|o| bad(o)).collect();
    let names = pod.named(|p| p.security.and_then(|s| s.se_linux_options.as_deref()).is_some_and(bad));
    let who = setters(own.is_some_and(bad), &names)?;
    let types: Sorted<'_> = all.iter().filter(|o| bad_type(o)).map(|o| o.type_.as_str()).collect();
    let mut found = Vec::new();
    if !types.is_empty() {
        found.push(format!("{} {}", noun("type", "types", types.len()), quoted(&types)));
    }
    if all.iter().any(|o| !o.user.is_empty()) {
        found.push("user may not be set".into());
    }
    if all.iter().any(|o| !o.role.is_empty()) {
        found.push("role may not be set".into());
    }
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", found.join("; "));
    Violation::new("seLinuxOptions", detail)
}

pub fn seccomp(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    if minor < 19 { seccomp_annotations(pod) } else { seccomp_bad(pod) }
}

fn seccomp_annotations(pod: &Subject<'_>) -> Option<Violation> {
    let fine = |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let keys = pod.parts.iter().map(|part| format!("{SECCOMP_CONTAINER_ANNOTATION}{}", part.name));
    let found: std::collections::BTreeSet<String> = std::iter::once(SECCOMP_POD_ANNOTATION.to_owned())
        .chain(keys)
        .filter_map(|key| {
            let value = pod.annotations.get(key.as_str()).filter(|value| !fine(value))?;
            Some(format!("{key}={}", go_quote(value)))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let noun = noun("annotation", "annotations", found.len());
    let list = found.into_iter().collect::<Vec<_>>().join(", ");
    Violation::new("seccompProfile", format!("forbidden {noun} {list}"))
}

/// A profile type that confines.
pub fn seccomp_confines(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// Those who ask for no confinement.
pub fn seccomp_bad(pod: &Subject<'_>) -> Option<Violation> {
    fn loose<'a>(part: &Part<'a>) -> Option<&'a str> {
        let profile = part.security.and_then(|s| s.seccomp_profile.as_deref());
        profile.map(|p| p.type_.as_str()).filter(|kind| !seccomp_confines(kind))
    }
    let own = pod.security().and_then(|s| s.seccomp_profile.as_deref()).map(|p| p.type_.as_str());
    let own = own.filter(|kind| !seccomp_confines(kind));
    let who = setters(own.is_some(), &pod.named(|part| loose(part).is_some()))?;
    let kinds: Sorted<'_> = own.into_iter().chain(pod.parts.iter().filter_map(loose)).collect();
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(kinds));
    Violation::new("seccompProfile", detail)
}

pub fn sysctls(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    let all = pod.security().map_or(&[][..], |s| &s.sysctls[..]);
    let bad: Vec<&str> =
        all.iter().map(|s| s.name.as_str()).filter(|name| !allowed_since(SYSCTLS, name, minor)).collect();
    if bad.is_empty() { None } else { Violation::new("forbidden sysctls", bad.join(", ")) }
}

pub fn windows_host_process(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    let own = pod.security().and_then(|s| s.windows_options.as_ref()).and_then(|o| o.host_process);
    let names = pod.named(|part| {
        let options = part.security.and_then(|s| s.windows_options.as_ref());
        options.is_some_and(|o| o.host_process == Some(true))
    });
    let who = setters(own == Some(true), &names)?;
    Violation::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
