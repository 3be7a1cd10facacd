//! From a [`ContainerConfig`], its sandbox and its image to the OCI runtime specification that libcontainer executes.
//!
//! Pure: everything that must be looked up (users, devices, paths) comes in as an argument, so that what a container gets
//! can be read, and tested, as one JSON document.

pub(crate) mod capabilities;
pub(crate) mod seccomp;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cgroup::devices::DeviceRule;
use crate::config::{ContainerConfig, PidMode, Propagation, SandboxConfig, SecurityContext};
use crate::error::{Error, Result};
use crate::user::Resolved;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Paths that hide parts of the kernel, unless the pod's author says otherwise.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the specification is made from, beside the container's own configuration.
pub(crate) struct Inputs<'a> {
    pub config: &'a ContainerConfig,
    pub sandbox: &'a SandboxConfig,
    pub image: &'a images::ImageConfig,
    pub user: &'a Resolved,
    pub rootfs: &'a Path,
    pub cgroup: &'a Path,
    /// On v1: directories to show under `/sys/fs/cgroup`, by controller.
    pub cgroup_dirs: Option<&'a [(String, PathBuf)]>,
    /// Pinned namespaces of the sandbox: kind as OCI spells it, path.
    pub namespaces: &'a [(&'static str, PathBuf)],
    /// Directory with the sandbox's `resolv.conf`, `hosts`, `hostname` and `shm`.
    pub sandbox_files: &'a Path,
    pub devices: &'a [HostDevice],
    pub apparmor: bool,
    pub hostname: &'a str,
}

/// A device node of the host, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    pub path: PathBuf,
    pub kind: char,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub permissions: String,
}

impl HostDevice {
    /// The permission to use it.
    pub(crate) fn rule(&self) -> DeviceRule {
        let may = |access: char| self.permissions.contains(access);
        DeviceRule {
            kind: self.kind,
            major: Some(self.major as u32),
            minor: Some(self.minor as u32),
            read: may('r'),
            write: may('w'),
            mknod: may('m'),
        }
    }
}

/// Builds the specification.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Value> {
    let (config, security) = (inputs.config, &inputs.config.security);
    let mounts = mounts(inputs);
    let shared = config.mounts.iter().any(|m| m.propagation == Propagation::Bidirectional);
    let mut linux = json!({
        "cgroupsPath": inputs.cgroup,
        "namespaces": namespaces(inputs),
        "devices": inputs.devices.iter().map(device).collect::<Vec<_>>(),
        "resources": { "devices": device_rules(inputs) },
        "rootfsPropagation": if shared { "shared" } else { "slave" },
        "maskedPaths": [],
        "readonlyPaths": [],
    });
    if !security.privileged {
        let list = |given: &Option<Vec<String>>, default: &[&str]| {
            given.clone().unwrap_or_else(|| default.iter().map(|s| (*s).to_owned()).collect())
        };
        linux["maskedPaths"] = json!(list(&security.masked_paths, MASKED));
        linux["readonlyPaths"] = json!(list(&security.readonly_paths, READONLY));
        if inputs.cgroup_dirs.is_some()
            && let Some(paths) = linux["readonlyPaths"].as_array_mut()
        {
            paths.push(json!("/sys/fs/cgroup"));
        }
    }
    Ok(json!({
        "ociVersion": "1.2.0",
        "process": process(inputs)?,
        "root": { "path": inputs.rootfs, "readonly": security.readonly_rootfs },
        "mounts": mounts,
        "linux": linux,
    }))
}

/// The command line: the pod's, else the image's. A command drops the image's arguments as well.
pub(crate) fn arguments(config: &ContainerConfig, image: &images::ImageConfig) -> Result<Vec<String>> {
    let entrypoint = if config.command.is_empty() { &image.entrypoint } else { &config.command };
    let arguments =
        if config.command.is_empty() && config.args.is_empty() { &image.cmd } else { &config.args };
    let all: Vec<String> = entrypoint.iter().chain(arguments).cloned().collect();
    if all.is_empty() {
        return Err(Error::InvalidConfig("no command specified".into()));
    }
    Ok(all)
}

/// Environment with later settings replacing earlier ones in place.
pub(crate) fn environment<'a>(layers: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut vars: Vec<(String, String)> = Vec::new();
    for (name, value) in layers {
        match vars.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value.to_owned(),
            None => vars.push((name.to_owned(), value.to_owned())),
        }
    }
    vars.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn process(inputs: &Inputs<'_>) -> Result<Value> {
    let (config, security) = (inputs.config, &inputs.config.security);
    let mut defaults = vec![("PATH", DEFAULT_PATH), ("HOSTNAME", inputs.hostname)];
    if config.tty {
        defaults.push(("TERM", "xterm"));
    }
    let image = inputs.image.env.iter().filter_map(|e| e.split_once('='));
    let pod = config.env.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let home = ("HOME", inputs.user.home.as_str());
    let env = environment(defaults.into_iter().chain([home]).chain(image).chain(pod));
    let cwd = [config.working_dir.as_str(), inputs.image.working_dir.as_str(), "/"];
    let cwd = cwd.into_iter().find(|d| !d.is_empty()).unwrap_or("/");
    let mut process = json!({
        "terminal": config.tty,
        "user": {
            "uid": inputs.user.user.uid,
            "gid": inputs.user.user.gid,
            "additionalGids": inputs.user.user.supplemental_groups,
        },
        "args": arguments(config, inputs.image)?,
        "env": env,
        "cwd": cwd,
    });
    if security.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    if !config.rlimits.is_empty() {
        let limits = config.rlimits.iter().map(|r| json!({ "type": r.name, "soft": r.soft, "hard": r.hard }));
        process["rlimits"] = limits.collect();
    }
    if let Some(profile) = apparmor(inputs, security) {
        process["apparmorProfile"] = json!(profile);
    }
    Ok(process)
}

fn apparmor(inputs: &Inputs<'_>, security: &SecurityContext) -> Option<String> {
    let profile = security.apparmor.as_ref().filter(|_| inputs.apparmor && !security.privileged)?;
    let profile = profile.strip_prefix("localhost/").unwrap_or(profile);
    (!matches!(profile, "" | "unconfined" | "runtime/default")).then(|| profile.to_owned())
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<Value> {
    let mut all = vec![json!({ "type": "mount" })];
    if inputs.cgroup_dirs.is_none() {
        all.push(json!({ "type": "cgroup" }));
    }
    let joined = inputs.namespaces.iter().any(|(kind, _)| *kind == "pid");
    if inputs.sandbox.pid == PidMode::Container && !joined {
        all.push(json!({ "type": "pid" }));
    }
    all.extend(inputs.namespaces.iter().map(|(kind, path)| json!({ "type": kind, "path": path })));
    all
}

fn mounts(inputs: &Inputs<'_>) -> Vec<Value> {
    let security = &inputs.config.security;
    let mount = |kind: &str, source: &str, destination: &str, options: &[&str]| json!({ "type": kind, "source": source, "destination": destination, "options": options });
    let ro = if security.privileged { "rw" } else { "ro" };
    let files = inputs.sandbox_files;
    let file = |name: &str| files.join(name).display().to_string();
    let mut all = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("bind", &file("shm"), "/dev/shm", &["rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"]),
        mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", ro]),
    ];
    match inputs.cgroup_dirs {
        None => all.push(mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &["nosuid", "noexec", "nodev", "relatime", ro],
        )),
        // libcontainer mounts v1 hierarchies writable, which would let the container lift its own limits.
        Some(dirs) => {
            all.push(mount(
                "tmpfs",
                "tmpfs",
                "/sys/fs/cgroup",
                &["nosuid", "noexec", "nodev", "mode=755", "size=64k"],
            ));
            all.extend(dirs.iter().map(|(controller, dir)| {
                let destination = format!("/sys/fs/cgroup/{controller}");
                mount(
                    "bind",
                    &dir.display().to_string(),
                    &destination,
                    &["bind", "nosuid", "noexec", "nodev", ro],
                )
            }));
        }
    }
    let given = |path: &str| inputs.config.mounts.iter().any(|m| m.container_path == Path::new(path));
    let etc = if security.readonly_rootfs { "ro" } else { "rw" };
    let available = [
        ("hostname", "/etc/hostname", true),
        ("hosts", "/etc/hosts", inputs.sandbox.hosts.is_some()),
        ("resolv.conf", "/etc/resolv.conf", inputs.sandbox.dns.is_some()),
    ];
    for (name, path, present) in available {
        if present && !given(path) {
            all.push(mount("bind", &file(name), path, &["rbind", "rprivate", etc]));
        }
    }
    if given("/dev/shm") {
        all.retain(|m| m["destination"] != "/dev/shm");
    }
    // A mount below another must come after it.
    let mut own: Vec<_> = inputs.config.mounts.iter().collect();
    own.sort_by_key(|m| m.container_path.components().count());
    for m in own {
        let destination = m.container_path.display().to_string();
        // `/sys/fs/cgroup` and the like are replaced as a whole.
        all.retain(|old| old["destination"] != json!(destination));
        let propagation = match m.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        let access = match (m.readonly, m.recursive_readonly) {
            (false, _) => "rw",
            (true, false) => "ro",
            (true, true) => "rro",
        };
        all.push(match m.tmpfs_size_bytes {
            Some(size) => {
                let size = format!("size={size}");
                mount("tmpfs", "tmpfs", &destination, &["nosuid", "nodev", "mode=1777", access, &size])
            }
            None => mount(
                "bind",
                &m.host_path.display().to_string(),
                &destination,
                &["rbind", propagation, access],
            ),
        });
    }
    all
}

fn device(d: &HostDevice) -> Value {
    json!({
        "path": d.path, "type": d.kind.to_string(), "major": d.major, "minor": d.minor,
        "fileMode": d.mode, "uid": d.uid, "gid": d.gid,
    })
}

fn device_rules(inputs: &Inputs<'_>) -> Vec<Value> {
    if inputs.config.security.privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    let deny = json!({ "allow": false, "access": "rwm" });
    let own = inputs.devices.iter().map(|d| {
        json!({ "allow": true, "type": d.kind.to_string(), "major": d.major, "minor": d.minor, "access": d.permissions })
    });
    std::iter::once(deny).chain(own).collect()
}

#[cfg(test)]
mod tests;
