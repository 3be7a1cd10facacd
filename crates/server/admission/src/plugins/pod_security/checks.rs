//! The table of rules: which applies at which level and since which version.

use super::policy::{Level, Standard};
use super::subject::Subject;
use super::words::Violation;
use super::{baseline, restricted};

/// A rule; the minor version decides between its variants.
type Rule = fn(&Subject<'_>, u32) -> Option<Violation>;

struct Check {
    level: Level,
    /// First minor version that has this rule.
    since: u32,
    /// A baseline rule gives way to a restricted one from this minor version on, where that level is asked for.
    yields_since: u32,
    rule: Rule,
}

const NEVER: u32 = u32::MAX;

const fn base(yields_since: u32, since: u32, rule: Rule) -> Check {
    Check { level: Level::Baseline, since, yields_since, rule }
}

const fn strict(since: u32, rule: Rule) -> Check {
    Check { level: Level::Restricted, since, yields_since: NEVER, rule }
}

/// In the order in which findings are reported.
static CHECKS: &[Check] = &[
    base(NEVER, 0, baseline::app_armor),
    base(22, 0, baseline::capabilities),
    base(NEVER, 0, baseline::host_namespaces),
    base(0, 0, baseline::host_path),
    base(NEVER, 0, baseline::host_ports),
    base(NEVER, 34, baseline::host_probes),
    base(NEVER, 0, baseline::privileged),
    base(35, 0, baseline::proc_mount),
    base(NEVER, 0, baseline::se_linux),
    base(19, 0, baseline::seccomp),
    base(NEVER, 0, baseline::sysctls),
    base(NEVER, 0, baseline::windows_host_process),
    strict(8, restricted::privilege_escalation),
    strict(22, restricted::capabilities),
    strict(35, baseline::proc_mount_always),
    strict(0, restricted::volumes),
    strict(0, restricted::non_root),
    strict(23, restricted::user),
    strict(19, restricted::seccomp),
];

/// Everything that is wrong with the pod by a standard.
pub fn violations(standard: Standard, pod: &Subject<'_>) -> Vec<Violation> {
    let minor = standard.version.minor();
    let applies = |check: &&Check| {
        check.since <= minor
            && check.level <= standard.level
            && (standard.level == Level::Baseline
                || minor < check.yields_since
                || check.yields_since == NEVER)
    };
    CHECKS.iter().filter(applies).filter_map(|check| (check.rule)(pod, minor)).collect()
}
