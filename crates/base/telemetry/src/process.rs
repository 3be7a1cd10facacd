//! What the process uses, under the names that every Prometheus client library gives it.

use crate::exposition::Exposition;
use std::fs;
use std::time::SystemTime;

/// The kernel's clock ticks per second as it shows them in /proc, the same on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/self/stat` from the third one on: the second is the program's name in parentheses and may hold anything.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect()
}

/// When the process began, in seconds since the Unix epoch; nothing where the kernel does not tell.
pub fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = fields(&stat).get(22 - 3)?.parse::<f64>().ok()?;
    let kernel = fs::read_to_string("/proc/stat").ok()?;
    let boot = kernel.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
    Some(boot + ticks / TICKS_PER_SECOND)
}

pub(crate) fn collect(page: &mut Exposition) {
    let mut show = |name: &str, help: &str, kind: &str, value: Option<f64>| {
        // What cannot be measured is left out: an absent metric is honest, a zero is not.
        if let Some(value) = value {
            page.header(name, help, kind);
            page.sample(name, &[], value);
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = fields(&stat);
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok().map(|value| value * 1024.0)
    };
    let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND);
    let start = started();
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    show("process_cpu_seconds_total", "User and system CPU time spent, in seconds.", "counter", cpu);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = |name: &str| {
        let soft = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
        // No limit is shown as the largest number, as the Go client does.
        if soft == "unlimited" { Some(u64::MAX as f64) } else { soft.parse::<f64>().ok() }
    };
    show("process_open_fds", "Open file descriptors.", "gauge", open);
    show("process_max_fds", "Most file descriptors that may be open.", "gauge", limit("Max open files"));
    show("process_resident_memory_bytes", "Resident memory in bytes.", "gauge", kilobytes("VmRSS:"));
    show("process_virtual_memory_bytes", "Virtual memory in bytes.", "gauge", kilobytes("VmSize:"));
    let most = limit("Max address space");
    show("process_virtual_memory_max_bytes", "Most virtual memory in bytes.", "gauge", most);
    show("process_threads", "Threads.", "gauge", field(20));
    show("process_start_time_seconds", "Start, in seconds since the Unix epoch.", "gauge", start);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(|now| now.as_secs_f64());
    let uptime = now.zip(start).map(|(now, start)| (now - start).max(0.0));
    show("process_uptime_seconds", "Seconds since the start.", "gauge", uptime);
}
