//! Security contexts: of containers and of pods, on Linux and Windows.

use super::Scope;
use super::container::{View, visit};
use super::volume::descending_path;
use crate::Path;
use crate::check::{Errs, Raw, dns_subdomain, json_object, json_option, json_string};
use meta::Str;
use types::core::v1::*;

const ID_MAX: i64 = i32::MAX as i64;
const WINDOWS: &str = "cannot be set for a windows pod";
const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const CREDENTIAL_SPEC_KIB_MAX: usize = 64;

fn id(e: &mut Errs, at: &Path<'_>, value: Option<i64>) {
    if let Some(value) = value {
        e.in_range(at, value, 0, ID_MAX);
    }
}

/// The security context of a container.
pub(super) fn container(e: &mut Errs, at: &Path<'_>, sc: Option<&SecurityContext>, scope: &Scope<'_>) {
    let Some(sc) = sc else { return };
    if sc.privileged == Some(true) && !scope.cx.allow_privileged {
        e.forbidden(&at.child("privileged"), "disallowed by cluster policy");
    }
    id(e, &at.child("runAsUser"), sc.run_as_user);
    id(e, &at.child("runAsGroup"), sc.run_as_group);
    if let Some(mount) = &sc.proc_mount {
        let at = at.child("procMount");
        e.one_of(&at, mount, &["Default", "Unmasked"]);
        if scope.host_users && mount == "Unmasked" {
            e.invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(e, &at.child("seccompProfile"), sc.seccomp_profile.as_deref());
    if sc.allow_privilege_escalation == Some(false) {
        if sc.privileged == Some(true) {
            e.invalid(
                at,
                Raw(json(sc)),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let admin = |c: &Capabilities| c.add.iter().any(|c| c == "CAP_SYS_ADMIN");
        if sc.capabilities.as_deref().is_some_and(admin) {
            e.invalid(
                at,
                Raw(json(sc)),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    windows_options(e, &at.child("windowsOptions"), sc.windows_options.as_deref());
    app_armor(e, &at.child("appArmorProfile"), sc.app_armor_profile.as_deref());
}

/// Upstream quotes its internal form of the whole context.
fn json(sc: &SecurityContext) -> String {
    let option = |v: Option<String>| v.unwrap_or_else(|| "null".to_owned());
    let list = |l: &meta::List<Str>| match l.is_empty() {
        true => "null".to_owned(),
        false => crate::check::json_list(l.iter().map(|s| json_string(s))),
    };
    let profile = |kind: &Str, local: &Option<Str>| {
        json_object([("Type", json_string(kind)), ("LocalhostProfile", json_option(local.as_ref()))])
    };
    json_object([
        (
            "Capabilities",
            option(
                sc.capabilities
                    .as_ref()
                    .map(|c| json_object([("Add", list(&c.add)), ("Drop", list(&c.drop))])),
            ),
        ),
        ("Privileged", option(sc.privileged.map(|b| b.to_string()))),
        (
            "SELinuxOptions",
            option(sc.se_linux_options.as_ref().map(|s| {
                json_object([
                    ("User", json_string(&s.user)),
                    ("Role", json_string(&s.role)),
                    ("Type", json_string(&s.type_)),
                    ("Level", json_string(&s.level)),
                ])
            })),
        ),
        (
            "WindowsOptions",
            option(sc.windows_options.as_ref().map(|w| {
                json_object([
                    ("GMSACredentialSpecName", json_option(w.gmsa_credential_spec_name.as_ref())),
                    ("GMSACredentialSpec", json_option(w.gmsa_credential_spec.as_ref())),
                    ("RunAsUserName", json_option(w.run_as_user_name.as_ref())),
                    ("HostProcess", option(w.host_process.map(|b| b.to_string()))),
                ])
            })),
        ),
        ("RunAsUser", option(sc.run_as_user.map(|n| n.to_string()))),
        ("RunAsGroup", option(sc.run_as_group.map(|n| n.to_string()))),
        ("RunAsNonRoot", option(sc.run_as_non_root.map(|b| b.to_string()))),
        ("ReadOnlyRootFilesystem", option(sc.read_only_root_filesystem.map(|b| b.to_string()))),
        ("AllowPrivilegeEscalation", option(sc.allow_privilege_escalation.map(|b| b.to_string()))),
        ("ProcMount", json_option(sc.proc_mount.as_ref())),
        (
            "SeccompProfile",
            option(sc.seccomp_profile.as_ref().map(|p| profile(&p.type_, &p.localhost_profile))),
        ),
        (
            "AppArmorProfile",
            option(sc.app_armor_profile.as_ref().map(|p| profile(&p.type_, &p.localhost_profile))),
        ),
    ])
}

/// The security context of a pod.
pub(super) fn pod(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    let Some(sc) = &spec.security_context else { return };
    id(e, &at.child("fsGroup"), sc.fs_group);
    id(e, &at.child("runAsUser"), sc.run_as_user);
    id(e, &at.child("runAsGroup"), sc.run_as_group);
    let groups = at.child("supplementalGroups");
    for (i, group) in sc.supplemental_groups.iter().enumerate() {
        id(e, &groups.index(i), Some(*group));
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid {
        e.invalid(
            &at.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    sysctls(e, &at.child("sysctls"), spec, sc);
    if let Some(policy) = &sc.fs_group_change_policy {
        e.one_of(&at.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    seccomp(e, &at.child("seccompProfile"), sc.seccomp_profile.as_deref());
    windows_options(e, &at.child("windowsOptions"), sc.windows_options.as_deref());
    app_armor(e, &at.child("appArmorProfile"), sc.app_armor_profile.as_deref());
    if let Some(policy) = &sc.supplemental_groups_policy {
        e.one_of(&at.child("supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
    if let Some(policy) = &sc.se_linux_change_policy {
        // SELinuxMount is off.
        e.one_of(&at.child("seLinuxChangePolicy"), policy, &["Recursive"]);
    }
}

fn sysctls(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, sc: &PodSecurityContext) {
    let mut seen: Vec<&Str> = Vec::new();
    for (i, s) in sc.sysctls.iter().enumerate() {
        let item = at.index(i);
        let at = item.child("name");
        if e.present(&at, &s.name) {
            if !is_sysctl(&s.name) {
                e.invalid(
                    &at,
                    &s.name,
                    r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
                );
            } else if seen.contains(&&s.name) {
                e.duplicate(&at, &s.name);
            }
        }
        let name = s.name.as_str().replace('/', ".");
        let of_ipc = name.starts_with("kernel.shm")
            || name.starts_with("kernel.msg")
            || name == "kernel.sem"
            || name.starts_with("fs.mqueue.");
        if spec.host_network && name.starts_with("net.") {
            e.invalid(&at, &s.name, "may not be specified when 'hostNetwork' is true");
        } else if spec.host_ipc && of_ipc {
            e.invalid(&at, &s.name, "may not be specified when 'hostIPC' is true");
        }
        seen.push(&s.name);
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let segment = |s: &str| {
        let b = s.as_bytes();
        edge(b.first()) && edge(b.last()) && b.iter().all(|b| edge(Some(b)) || b"-_".contains(b))
    };
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}

fn seccomp(e: &mut Errs, at: &Path<'_>, profile: Option<&SeccompProfile>) {
    let Some(p) = profile else { return };
    if p.type_.is_empty() {
        e.required(&at.child("type"), "type is required when seccompProfile is set");
    } else {
        e.one_of(&at.child("type"), &p.type_, &PROFILE_TYPES);
    }
    let at_local = at.child("localhostProfile");
    match (p.type_ == "Localhost", &p.localhost_profile) {
        (true, None) => e.required(&at_local, "must be set when seccomp type is Localhost"),
        (true, Some(path)) => descending_path(e, &at_local, path),
        (false, Some(path)) => {
            let quoted =
                json_object([("Type", json_string(&p.type_)), ("LocalhostProfile", json_string(path))]);
            e.invalid(&at_local, Raw(quoted), "can only be set when seccomp type is Localhost");
        }
        (false, None) => {}
    }
}

fn app_armor(e: &mut Errs, at: &Path<'_>, profile: Option<&AppArmorProfile>) {
    const REQUIRED: &str = "must be set when AppArmor type is Localhost";
    const PATH_BYTES_MAX: usize = 4095;
    let Some(p) = profile else { return };
    let local = at.child("localhostProfile");
    match (p.type_.as_str(), &p.localhost_profile) {
        ("Localhost", None) => e.required(&local, REQUIRED),
        ("Localhost", Some(name)) => {
            if name.trim() != name.as_str() {
                e.invalid(&local, name, "must not be padded with whitespace");
            } else if name.is_empty() {
                e.required(&local, REQUIRED);
            }
            if name.len() > PATH_BYTES_MAX {
                e.too_long(&local, PATH_BYTES_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            e.invalid(&local, name, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => e.required(&at.child("type"), "type is required when appArmorProfile is set"),
        (other, _) => e.unsupported(&at.child("type"), other, &PROFILE_TYPES),
    }
}

fn windows_options(e: &mut Errs, at: &Path<'_>, options: Option<&WindowsSecurityContextOptions>) {
    let Some(w) = options else { return };
    if let Some(name) = &w.gmsa_credential_spec_name {
        e.each(&at.child("gmsaCredentialSpecName"), name, dns_subdomain(name));
    }
    if let Some(spec) = &w.gmsa_credential_spec {
        let at = at.child("gmsaCredentialSpec");
        if spec.is_empty() {
            e.invalid(&at, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > CREDENTIAL_SPEC_KIB_MAX * 1024 {
            e.invalid(
                &at,
                spec,
                format!("gmsaCredentialSpec size must be under {CREDENTIAL_SPEC_KIB_MAX} KiB"),
            );
        }
    }
    if let Some(name) = &w.run_as_user_name {
        for problem in windows_user(name) {
            e.invalid(&at.child("runAsUserName"), name, problem);
        }
    }
}

/// What is wrong with `USER` or `DOMAIN\USER`.
fn windows_user(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut out = Vec::new();
    if domain.is_some_and(|d| d.len() >= 256) {
        out.push("runAsUserName's Domain length must be under 256 characters");
    }
    let net_bios = |d: &str| {
        (1..=15).contains(&d.chars().count())
            && !d.starts_with('.')
            && !d.chars().any(|c| r#"\/:*?"<>|"#.contains(c))
    };
    if domain.is_some_and(|d| !net_bios(d) && !dns_subdomain(&d.to_ascii_lowercase()).is_empty()) {
        out.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        out.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        out.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        out.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.chars().any(|c| r#""/\:;|=,+*?<>@[]"#.contains(c)) {
        out.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    out
}

/// Windows containers that run on the host: all of a pod or none, on the host's network.
pub(super) fn host_process(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, scope: &Scope<'_>) {
    let of_pod = spec.security_context.as_ref().and_then(|s| s.windows_options.as_ref()?.host_process);
    let (mut all, mut on_host) = (0, 0);
    visit(spec, at, |c, at| {
        all += 1;
        let own = c.security.and_then(|s| s.windows_options.as_ref()?.host_process);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            e.invalid(
                &at.child("securityContext").child("windowsOptions").child("hostProcess"),
                own,
                format!("pod hostProcess value must be identical if both are specified, was {of_pod}"),
            );
        }
        on_host += usize::from(own.or(of_pod) == Some(true));
    });
    if on_host == 0 {
        return;
    }
    if on_host != all {
        e.invalid(
            at,
            "",
            "If pod contains any hostProcess containers then all containers must be HostProcess containers",
        );
    }
    if !spec.host_network {
        e.invalid(
            &at.child("hostNetwork"),
            false,
            "hostNetwork must be true if pod contains any hostProcess containers",
        );
    }
    if !scope.cx.allow_privileged {
        e.forbidden(at, "hostProcess containers are disallowed by cluster policy");
    }
}

/// What a user namespace of its own excludes.
pub(super) fn host_users(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    if spec.host_users != Some(false) {
        return;
    }
    for (field, set) in
        [("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)]
    {
        if set {
            e.forbidden(&at.child(field), "when `hostUsers` is false");
        }
    }
    for (list, containers) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
        let list = at.child(list);
        for (i, _) in containers.iter().enumerate().filter(|(_, c)| !c.volume_devices.is_empty()) {
            e.forbidden(&list.index(i).child("volumeDevices"), "when `hostUsers` is false");
        }
    }
}

/// What a pod for Linux may not set.
pub(super) fn linux(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    const WRONG: &str = "windows options cannot be set for a linux pod";
    if spec.security_context.as_ref().is_some_and(|s| s.windows_options.is_some()) {
        e.forbidden(&at.child("securityContext").child("windowsOptions"), WRONG);
    }
    visit(spec, at, |c, at| {
        if c.security.is_some_and(|s| s.windows_options.is_some()) {
            e.forbidden(&at.child("securityContext").child("windowsOptions"), WRONG);
        }
    });
}

/// What a pod for Windows may not set.
pub(super) fn windows(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    let sc = spec.security_context.clone().unwrap_or_default();
    let context = at.child("securityContext");
    for (place, field, set) in [
        (&context, "appArmorProfile", sc.app_armor_profile.is_some()),
        (&context, "seLinuxOptions", sc.se_linux_options.is_some()),
        (at, "hostUsers", spec.host_users.is_some()),
        (at, "hostPID", spec.host_pid),
        (at, "hostIPC", spec.host_ipc),
        (&context, "seccompProfile", sc.seccomp_profile.is_some()),
        (&context, "fsGroup", sc.fs_group.is_some()),
        (&context, "fsGroupChangePolicy", sc.fs_group_change_policy.is_some()),
        (&context, "sysctls", !sc.sysctls.is_empty()),
        (at, "shareProcessNamespace", spec.share_process_namespace.is_some()),
        (&context, "runAsUser", sc.run_as_user.is_some()),
        (&context, "runAsGroup", sc.run_as_group.is_some()),
        (&context, "supplementalGroups", !sc.supplemental_groups.is_empty()),
        (&context, "supplementalGroupsPolicy", sc.supplemental_groups_policy.is_some()),
        (&context, "seLinuxChangePolicy", sc.se_linux_change_policy.is_some()),
    ] {
        if set {
            e.forbidden(&place.child(field), WINDOWS);
        }
    }
    visit(spec, at, |c: View<'_>, at| {
        let Some(sc) = c.security else { return };
        let at = at.child("securityContext");
        for (field, set) in [
            ("appArmorProfile", sc.app_armor_profile.is_some()),
            ("seLinuxOptions", sc.se_linux_options.is_some()),
            ("seccompProfile", sc.seccomp_profile.is_some()),
            ("capabilities", sc.capabilities.is_some()),
            ("readOnlyRootFilesystem", sc.read_only_root_filesystem.is_some()),
            ("privileged", sc.privileged.is_some()),
            ("allowPrivilegeEscalation", sc.allow_privilege_escalation.is_some()),
            ("procMount", sc.proc_mount.is_some()),
            ("runAsUser", sc.run_as_user.is_some()),
            ("runAsGroup", sc.run_as_group.is_some()),
        ] {
            if set {
                e.forbidden(&at.child(field), WINDOWS);
            }
        }
    });
}
