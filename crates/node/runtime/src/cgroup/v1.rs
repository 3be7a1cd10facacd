//! Control groups v1: one hierarchy for each controller, or for several that are mounted together. A hybrid machine, with
//! an empty v2 tree beside, counts as v1.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::devices::DeviceRule;
use super::{Cgroups, field, now_ns, read_number, write};
use crate::config::Resources;
use crate::status::CgroupStats;

/// Limits beyond this are none: the kernel shows "unlimited" as the largest page-aligned number.
const UNLIMITED: u64 = 1 << 62;
/// Controllers that processes are put into. The rest (`name=systemd`) belongs to whoever mounted it.
const USED: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "perf_event",
    "net_cls",
    "net_prio",
];

/// Controllers that programs look at to learn their limits; each costs a mount at every start.
const SHOWN: &[&str] = &["cpu", "cpuacct", "cpuset", "memory", "pids"];

pub(super) struct V1 {
    /// Controller to mount point.
    mounts: BTreeMap<String, PathBuf>,
}

impl V1 {
    pub(super) fn detect() -> io::Result<V1> {
        let mounts = parse_mounts(&fs::read_to_string("/proc/self/mountinfo")?);
        if mounts.contains_key("memory") && mounts.contains_key("cpu") {
            return Ok(V1 { mounts });
        }
        Err(io::Error::other(
            "neither cgroup v2 nor the v1 controllers cpu and memory are mounted under /sys/fs/cgroup",
        ))
    }

    fn at(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        self.mounts.get(controller).map(|mount| join(mount, path))
    }

    fn cpu(&self, path: &Path, r: &Resources) -> io::Result<()> {
        let Some(dir) = self.at("cpu", path) else { return Ok(()) };
        if let Some(idle) = r.cpu_idle
            && dir.join("cpu.idle").exists()
        {
            write(&dir.join("cpu.idle"), if idle { "1" } else { "0" })?;
        }
        if let Some(shares) = r.cpu_shares
            && r.cpu_idle != Some(true)
        {
            write(&dir.join("cpu.shares"), &shares.clamp(2, 262_144).to_string())?;
        }
        // A burst must not exceed the quota, nor the quota fall below the burst.
        let burst = dir.join("cpu.cfs_burst_us");
        let burstable = burst.exists();
        if burstable
            && (r.cpu_burst_us.is_some() || r.cpu_quota_us.is_some())
            && read_number(&burst).unwrap_or(0) > 0
        {
            write(&burst, "0")?;
        }
        if let Some(period) = r.cpu_period_us.filter(|p| *p > 0) {
            write(&dir.join("cpu.cfs_period_us"), &period.to_string())?;
        }
        if let Some(quota) = r.cpu_quota_us.filter(|q| *q != 0) {
            write(&dir.join("cpu.cfs_quota_us"), &quota.max(-1).to_string())?;
        }
        if let Some(value) = r.cpu_burst_us.filter(|_| burstable) {
            write(&burst, &value.to_string())?;
        }
        Ok(())
    }

    fn memory(&self, path: &Path, r: &Resources) -> io::Result<()> {
        let Some(dir) = self.at("memory", path) else { return Ok(()) };
        let (limit, swap) = (dir.join("memory.limit_in_bytes"), dir.join("memory.memsw.limit_in_bytes"));
        let has_swap = swap.exists();
        let write_limit = |bytes: i64| write(&limit, &bytes.max(-1).to_string());
        let write_swap =
            |bytes: i64| if has_swap { write(&swap, &bytes.max(-1).to_string()) } else { Ok(()) };
        match (r.memory_limit_bytes, r.memory_swap_limit_bytes) {
            // The limit with swap is never below the one without, so growth starts with it.
            (Some(memory), Some(both)) => {
                let grows = both < 0 || both as u64 > read_number(&swap).unwrap_or(0);
                if grows {
                    write_swap(both)?;
                    write_limit(memory)?;
                } else {
                    write_limit(memory)?;
                    write_swap(both)?;
                }
            }
            (Some(memory), None) => write_limit(memory)?,
            (None, Some(both)) => write_swap(both)?,
            (None, None) => {}
        }
        if let Some(bytes) = r.memory_min_bytes {
            write(&dir.join("memory.soft_limit_in_bytes"), &bytes.max(-1).to_string())?;
        }
        Ok(())
    }
}

impl Cgroups for V1 {
    fn create(&self, path: &Path) -> io::Result<()> {
        for controller in USED {
            let Some(dir) = self.at(controller, path) else { continue };
            fs::create_dir_all(&dir).map_err(|e| {
                io::Error::new(e.kind(), format!("cannot create cgroup {}: {e}", dir.display()))
            })?;
            if *controller == "cpuset" {
                inherit_cpuset(&self.mounts["cpuset"], path)?;
            }
        }
        Ok(())
    }

    fn set(&self, path: &Path, r: &Resources) -> io::Result<()> {
        self.cpu(path, r)?;
        self.memory(path, r)?;
        if let Some(dir) = self.at("cpuset", path) {
            for (file, value) in [("cpuset.cpus", &r.cpuset_cpus), ("cpuset.mems", &r.cpuset_mems)] {
                if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
                    write(&dir.join(file), value)?;
                }
            }
        }
        if let (Some(dir), Some(limit)) = (self.at("pids", path), r.pids_limit) {
            write(&dir.join("pids.max"), &if limit > 0 { limit.to_string() } else { "max".into() })?;
        }
        for (size, bytes) in &r.hugepage_limits {
            if let Some(file) =
                self.at("hugetlb", path).map(|d| d.join(format!("hugetlb.{size}.limit_in_bytes")))
                && file.exists()
            {
                write(&file, &bytes.to_string())?;
            }
        }
        Ok(())
    }

    fn get(&self, path: &Path) -> io::Result<Resources> {
        let cpu = self.at("cpu", path).filter(|d| d.exists()).ok_or(io::ErrorKind::NotFound)?;
        let memory = self.at("memory", path).unwrap_or_default();
        let text = |p: PathBuf| fs::read_to_string(p).ok().map(|t| t.trim().to_owned());
        let limit = |p: PathBuf| read_number(&p).map(|b| if b > UNLIMITED { -1 } else { b as i64 });
        let cpuset = self.at("cpuset", path).unwrap_or_default();
        Ok(Resources {
            cpu_shares: read_number(&cpu.join("cpu.shares")),
            cpu_quota_us: text(cpu.join("cpu.cfs_quota_us")).and_then(|t| t.parse().ok()),
            cpu_period_us: read_number(&cpu.join("cpu.cfs_period_us")),
            cpu_burst_us: read_number(&cpu.join("cpu.cfs_burst_us")),
            cpu_idle: read_number(&cpu.join("cpu.idle")).map(|v| v == 1),
            cpuset_cpus: text(cpuset.join("cpuset.cpus")),
            cpuset_mems: text(cpuset.join("cpuset.mems")),
            memory_limit_bytes: limit(memory.join("memory.limit_in_bytes")),
            memory_swap_limit_bytes: limit(memory.join("memory.memsw.limit_in_bytes")),
            memory_min_bytes: None,
            memory_high_bytes: None,
            pids_limit: self
                .at("pids", path)
                .and_then(|d| text(d.join("pids.max")))
                .map(|t| t.parse().unwrap_or(-1)),
            ..Resources::default()
        })
    }

    fn stats(&self, path: &Path) -> io::Result<CgroupStats> {
        let memory = self.at("memory", path).unwrap_or_default();
        let detail = fs::read_to_string(memory.join("memory.stat"))?;
        let cpu = self
            .at("cpu", path)
            .and_then(|d| fs::read_to_string(d.join("cpu.stat")).ok())
            .unwrap_or_default();
        let usage = read_number(&memory.join("memory.usage_in_bytes")).unwrap_or(0);
        Ok(CgroupStats {
            at_ns: now_ns(),
            cpu_usage_ns: self
                .at("cpuacct", path)
                .and_then(|d| read_number(&d.join("cpuacct.usage")))
                .unwrap_or(0),
            cpu_periods: field(&cpu, "nr_periods").unwrap_or(0),
            cpu_throttled_periods: field(&cpu, "nr_throttled").unwrap_or(0),
            cpu_throttled_ns: field(&cpu, "throttled_time").unwrap_or(0),
            memory_usage_bytes: usage,
            memory_working_set_bytes: usage
                .saturating_sub(field(&detail, "total_inactive_file").unwrap_or(0)),
            memory_rss_bytes: field(&detail, "total_rss").unwrap_or(0),
            memory_page_faults: field(&detail, "total_pgfault").unwrap_or(0),
            memory_major_page_faults: field(&detail, "total_pgmajfault").unwrap_or(0),
            memory_limit_bytes: read_number(&memory.join("memory.limit_in_bytes")).filter(|b| *b < UNLIMITED),
            pids: self.at("pids", path).and_then(|d| read_number(&d.join("pids.current"))).unwrap_or(0),
            oom_kills: super::oom_kills(&memory.join("memory.oom_control")),
        })
    }

    fn dirs(&self, path: &Path) -> Vec<PathBuf> {
        let mut dirs: Vec<_> = USED.iter().filter_map(|c| self.at(c, path)).collect();
        dirs.dedup();
        dirs
    }

    fn dir(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        self.at(controller, path)
    }

    fn visible(&self, path: &Path) -> Option<Vec<(String, PathBuf)>> {
        Some(SHOWN.iter().filter_map(|c| Some(((*c).to_owned(), self.at(c, path)?))).collect())
    }

    fn restrict_devices(&self, _: &Path, _: &[DeviceRule]) -> io::Result<()> {
        Ok(())
    }

    fn oom_file(&self, path: &Path) -> Option<PathBuf> {
        self.at("memory", path).map(|d| d.join("memory.oom_control"))
    }
}

fn join(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

/// A new cpuset group has no CPUs and takes no process until it is given some.
fn inherit_cpuset(mount: &Path, path: &Path) -> io::Result<()> {
    let mut dir = mount.to_path_buf();
    for part in path.strip_prefix("/").unwrap_or(path) {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(dir.join(file))?.trim().is_empty() {
                write(&dir.join(file), fs::read_to_string(parent.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

/// Mount points of the v1 controllers in the text of a mountinfo file. A controller that is mounted twice keeps the
/// first whole mount.
fn parse_mounts(mountinfo: &str) -> BTreeMap<String, PathBuf> {
    let mut mounts = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let front: Vec<&str> = front.split(' ').collect();
        let back: Vec<&str> = back.split(' ').collect();
        if let ([_, _, _, "/", mount, ..], ["cgroup", _, options, ..]) = (front.as_slice(), back.as_slice()) {
            for controller in options.split(',').filter(|o| USED.contains(o)) {
                mounts.entry(controller.to_owned()).or_insert_with(|| PathBuf::from(mount));
            }
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_mounted_together_share_a_directory() {
        let text = "31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:8 - cgroup cgroup rw,cpu,cpuacct\n\
                    32 25 0:28 /a /mnt rw - cgroup cgroup rw,memory\n\
                    33 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts["cpu"], mounts["cpuacct"]);
        assert_eq!(mounts["memory"], Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(mounts.len(), 3);
    }
}
