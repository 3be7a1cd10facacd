//! Control groups: one trait over v1 (also hybrid) and v2.
//!
//! Paths are given from the root of each hierarchy (`/ferrokube/kubepods/burstable/pod…`), and limits as [`Resources`] in
//! v1's units; the v2 side converts as the kubelet and runc do.

pub(crate) mod devices;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

use crate::config::{QosClass, Resources};
use crate::status::CgroupStats;

const MOUNT: &str = "/sys/fs/cgroup";
/// How long removal waits for killed processes to be gone.
const REMOVE_MAX: Duration = Duration::from_secs(5);

/// What the runtime does with control groups.
pub(crate) trait Cgroups: Send + Sync {
    /// Makes a group and its ancestors, ready to take processes.
    fn create(&self, path: &Path) -> io::Result<()>;
    /// Sets what is given and leaves the rest.
    fn set(&self, path: &Path, resources: &Resources) -> io::Result<()>;
    /// Reads back CPU, memory and process limits.
    fn get(&self, path: &Path) -> io::Result<Resources>;
    /// Reads usage.
    fn stats(&self, path: &Path) -> io::Result<CgroupStats>;
    /// The group's directories, one for each hierarchy.
    fn dirs(&self, path: &Path) -> Vec<PathBuf>;
    /// The directory that has a controller's files.
    fn dir(&self, controller: &str, path: &Path) -> Option<PathBuf>;
    /// What a container should see under `/sys/fs/cgroup`: names and directories; `None` means that a cgroup namespace and
    /// a mount of the only hierarchy do it.
    fn visible(&self, path: &Path) -> Option<Vec<(String, PathBuf)>>;
    /// Allows these devices and no others, where libcontainer does not do that itself (v1).
    fn restrict_devices(&self, path: &Path, rules: &[devices::DeviceRule]) -> io::Result<()>;
    /// File that counts kills by the out-of-memory killer in a line `oom_kill N`.
    fn oom_file(&self, path: &Path) -> Option<PathBuf>;
}

/// The machine's version of cgroups: 1 or 2.
pub fn version() -> io::Result<u8> {
    let kind = statfs(MOUNT).map_err(io::Error::from)?.filesystem_type();
    Ok(if kind == CGROUP2_SUPER_MAGIC { 2 } else { 1 })
}

/// Finds out what this machine has.
pub(crate) fn detect() -> io::Result<Box<dyn Cgroups>> {
    match version()? {
        2 => Ok(Box::new(v2::V2::new(MOUNT.into()))),
        _ => Ok(Box::new(v1::V1::detect()?)),
    }
}

/// The cgroup of a pod below the prefix.
pub(crate) fn pod_path(prefix: &Path, qos: QosClass, uid: &str) -> PathBuf {
    let pod = format!("pod{uid}");
    match qos {
        QosClass::Guaranteed => prefix.join(pod),
        _ => qos_path(prefix, qos).join(pod),
    }
}

/// The cgroup of a QoS class below the prefix.
pub(crate) fn qos_path(prefix: &Path, qos: QosClass) -> PathBuf {
    match qos {
        QosClass::Guaranteed => prefix.to_path_buf(),
        QosClass::Burstable => prefix.join("burstable"),
        QosClass::BestEffort => prefix.join("besteffort"),
    }
}

/// Processes of a group and of all groups below it.
pub(crate) fn processes(cgroups: &dyn Cgroups, path: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    for dir in cgroups.dirs(path) {
        collect_processes(&dir, &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn collect_processes(dir: &Path, pids: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
    }
    for child in children(dir) {
        collect_processes(&child, pids);
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Kills what runs in a group and removes it with everything below. Blocking. A missing group is no error.
pub(crate) fn remove(cgroups: &dyn Cgroups, path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVE_MAX;
    loop {
        for pid in processes(cgroups, path) {
            // It may be gone by now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let left = cgroups.dirs(path).iter().map(|dir| remove_tree(dir)).filter_map(Result::err).next_back();
        match left {
            None => return Ok(()),
            Some(e) if Instant::now() > deadline => return Err(e),
            // The kernel tells nobody when the last dying task has left a v1 group, hence the short pause.
            Some(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in children(dir) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The out-of-memory kills that a file counts.
pub(crate) fn oom_kills(file: &Path) -> u64 {
    fs::read_to_string(file).map_or(0, |text| field(&text, "oom_kill").unwrap_or(0))
}

/// The value of a line `name value`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        if key == name { value.trim().parse().ok() } else { None }
    })
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Writes a setting; the error names the file and the value, since "invalid argument" alone helps nobody.
fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::write(path, value)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot write {value:?} to {}: {e}", path.display())))
}

/// Unix time in nanoseconds.
pub(crate) fn now_ns() -> i64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_go_below_their_class() {
        let prefix = Path::new("/x/kubepods");
        for (qos, want) in [
            (QosClass::Guaranteed, "/x/kubepods/podu"),
            (QosClass::Burstable, "/x/kubepods/burstable/podu"),
            (QosClass::BestEffort, "/x/kubepods/besteffort/podu"),
        ] {
            assert_eq!(pod_path(prefix, qos, "u"), Path::new(want));
        }
    }

    #[test]
    fn fields_match_whole_names() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
        assert_eq!(field(text, "oom"), None);
    }
}
