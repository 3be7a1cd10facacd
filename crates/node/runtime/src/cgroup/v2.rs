//! Control groups v2: one hierarchy, whose controllers are switched on from parent to child.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::devices::DeviceRule;
use super::{Cgroups, field, now_ns, read_number, write};
use crate::config::Resources;
use crate::status::CgroupStats;

const WANTED: &[&str] = &["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

pub(super) struct V2 {
    root: PathBuf,
}

impl V2 {
    pub(super) fn new(root: PathBuf) -> V2 {
        V2 { root }
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// v1's shares (2..=262144) as v2's weight (1..=10000), so that 1024 shares meet the default weight of 100: the
/// quadratic mapping that runc and crun use since 2025.
fn weight_from_shares(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
        }
    }
}

/// The smallest shares that give a weight.
fn shares_from_weight(weight: u64) -> u64 {
    let (mut low, mut high) = (2, 262_144);
    while low < high {
        let middle = (low + high) / 2;
        if weight_from_shares(middle) < weight { low = middle + 1 } else { high = middle }
    }
    low
}

fn max_or(bytes: i64) -> String {
    if bytes < 0 { "max".into() } else { bytes.to_string() }
}

impl Cgroups for V2 {
    fn create(&self, path: &Path) -> io::Result<()> {
        let mut dir = self.root.clone();
        for part in path.strip_prefix("/").unwrap_or(path) {
            let available = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            let enabled = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
            for controller in WANTED.iter().filter(|c| available.split_whitespace().any(|a| a == **c)) {
                if !enabled.split_whitespace().any(|e| e == *controller) {
                    // cpuset and hugetlb are refused in some delegations; the essential ones are checked when set.
                    let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
            dir.push(part);
            match fs::create_dir(&dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io::Error::new(
                        e.kind(),
                        format!("cannot create cgroup {}: {e}", dir.display()),
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set(&self, path: &Path, r: &Resources) -> io::Result<()> {
        let dir = self.at(path);
        if let Some(idle) = r.cpu_idle
            && dir.join("cpu.idle").exists()
        {
            write(&dir.join("cpu.idle"), if idle { "1" } else { "0" })?;
        }
        if let Some(shares) = r.cpu_shares.filter(|s| *s > 0 && r.cpu_idle != Some(true)) {
            write(&dir.join("cpu.weight"), &weight_from_shares(shares).to_string())?;
        }
        let burst = dir.join("cpu.max.burst");
        let burstable = burst.exists();
        if burstable
            && (r.cpu_burst_us.is_some() || r.cpu_quota_us.is_some())
            && read_number(&burst).unwrap_or(0) > 0
        {
            write(&burst, "0")?;
        }
        if r.cpu_quota_us.is_some_and(|q| q != 0) || r.cpu_period_us.is_some_and(|p| p != 0) {
            let quota = r.cpu_quota_us.filter(|q| *q > 0).map_or("max".into(), |q| q.to_string());
            let value = match r.cpu_period_us.filter(|p| *p > 0) {
                Some(period) => format!("{quota} {period}"),
                None => quota,
            };
            write(&dir.join("cpu.max"), &value)?;
        }
        if let Some(value) = r.cpu_burst_us.filter(|_| burstable) {
            write(&burst, &value.to_string())?;
        }
        if let (Some(both), Some(memory)) = (r.memory_swap_limit_bytes, r.memory_limit_bytes)
            && dir.join("memory.swap.max").exists()
        {
            let swap = if both < 0 { -1 } else { (both - memory.max(0)).max(0) };
            write(&dir.join("memory.swap.max"), &max_or(swap))?;
        }
        for (file, value) in [
            ("memory.max", r.memory_limit_bytes),
            ("memory.high", r.memory_high_bytes),
            ("memory.min", r.memory_min_bytes),
        ] {
            if let Some(bytes) = value {
                write(&dir.join(file), &max_or(bytes))?;
            }
        }
        for (file, value) in [("cpuset.cpus", &r.cpuset_cpus), ("cpuset.mems", &r.cpuset_mems)] {
            if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
                write(&dir.join(file), value)?;
            }
        }
        if let Some(limit) = r.pids_limit {
            write(&dir.join("pids.max"), &max_or(if limit == 0 { -1 } else { limit }))?;
        }
        for (size, bytes) in &r.hugepage_limits {
            let file = dir.join(format!("hugetlb.{size}.max"));
            if file.exists() {
                write(&file, &bytes.to_string())?;
            }
        }
        for (file, value) in &r.unified {
            if file.contains('/') {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("bad cgroup file name {file:?}"),
                ));
            }
            write(&dir.join(file), value)?;
        }
        Ok(())
    }

    fn get(&self, path: &Path) -> io::Result<Resources> {
        let dir = self.at(path);
        if !dir.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let text = |file: &str| fs::read_to_string(dir.join(file)).ok().map(|t| t.trim().to_owned());
        let limit = |file: &str| text(file).map(|t| t.parse::<i64>().unwrap_or(-1));
        let cpu_max = text("cpu.max").unwrap_or_default();
        let (quota, period) = cpu_max.split_once(' ').unwrap_or(("max", "100000"));
        let memory = limit("memory.max");
        let swap = limit("memory.swap.max");
        Ok(Resources {
            cpu_shares: read_number(&dir.join("cpu.weight")).map(shares_from_weight),
            cpu_quota_us: Some(quota.parse().unwrap_or(-1)),
            cpu_period_us: period.parse().ok(),
            cpu_burst_us: read_number(&dir.join("cpu.max.burst")),
            cpu_idle: read_number(&dir.join("cpu.idle")).map(|v| v == 1),
            cpuset_cpus: text("cpuset.cpus"),
            cpuset_mems: text("cpuset.mems"),
            memory_limit_bytes: memory,
            memory_swap_limit_bytes: match (memory, swap) {
                (Some(m), Some(s)) if m >= 0 && s >= 0 => Some(m + s),
                (_, s) => s.map(|_| -1),
            },
            memory_high_bytes: limit("memory.high"),
            memory_min_bytes: limit("memory.min"),
            pids_limit: limit("pids.max"),
            ..Resources::default()
        })
    }

    fn stats(&self, path: &Path) -> io::Result<CgroupStats> {
        let dir = self.at(path);
        let cpu = fs::read_to_string(dir.join("cpu.stat"))?;
        let memory = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let usage = read_number(&dir.join("memory.current")).unwrap_or(0);
        Ok(CgroupStats {
            at_ns: now_ns(),
            cpu_usage_ns: field(&cpu, "usage_usec").unwrap_or(0) * 1000,
            cpu_periods: field(&cpu, "nr_periods").unwrap_or(0),
            cpu_throttled_periods: field(&cpu, "nr_throttled").unwrap_or(0),
            cpu_throttled_ns: field(&cpu, "throttled_usec").unwrap_or(0) * 1000,
            memory_usage_bytes: usage,
            memory_working_set_bytes: usage.saturating_sub(field(&memory, "inactive_file").unwrap_or(0)),
            memory_rss_bytes: field(&memory, "anon").unwrap_or(0),
            memory_page_faults: field(&memory, "pgfault").unwrap_or(0),
            memory_major_page_faults: field(&memory, "pgmajfault").unwrap_or(0),
            memory_limit_bytes: read_number(&dir.join("memory.max")),
            pids: read_number(&dir.join("pids.current")).unwrap_or(0),
            oom_kills: super::oom_kills(&dir.join("memory.events")),
        })
    }

    fn dirs(&self, path: &Path) -> Vec<PathBuf> {
        vec![self.at(path)]
    }

    fn dir(&self, _controller: &str, path: &Path) -> Option<PathBuf> {
        Some(self.at(path))
    }

    fn visible(&self, _: &Path) -> Option<Vec<(String, PathBuf)>> {
        None
    }

    fn restrict_devices(&self, path: &Path, rules: &[DeviceRule]) -> io::Result<()> {
        super::devices::restrict(&self.at(path), rules)
    }

    fn oom_file(&self, path: &Path) -> Option<PathBuf> {
        Some(self.at(path).join("memory.events"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_and_come_back() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000)] {
            assert_eq!(weight_from_shares(shares), weight, "{shares}");
        }
        for shares in [2, 102, 512, 1024, 2048, 100_000] {
            assert_eq!(
                weight_from_shares(shares_from_weight(weight_from_shares(shares))),
                weight_from_shares(shares)
            );
        }
    }
}
