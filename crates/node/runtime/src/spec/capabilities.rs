//! Which capabilities a container has: docker's default set, changed by what the pod adds and drops.

use crate::config::SecurityContext;
use crate::error::{Error, Result};

const ALL: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The capabilities by name (`CAP_…`), restricted to what this process may give away: on a machine that lacks one,
/// "ALL" means the rest.
pub(crate) fn names(security: &SecurityContext) -> Result<Vec<String>> {
    let available = available();
    let wanted = wanted(security)?;
    Ok(wanted.into_iter().filter(|c| available & (1 << number(c)) != 0).map(|c| format!("CAP_{c}")).collect())
}

fn wanted(security: &SecurityContext) -> Result<Vec<&'static str>> {
    if security.privileged {
        return Ok(ALL.to_vec());
    }
    let is_all = |c: &String| c.eq_ignore_ascii_case("ALL");
    let mut set: Vec<&str> =
        if security.add_capabilities.iter().any(is_all) { ALL.to_vec() } else { DEFAULT.to_vec() };
    if security.drop_capabilities.iter().any(is_all) {
        set.clear();
    }
    // What is added by name stays even where ALL is dropped; what is dropped by name goes even where ALL is added.
    for name in security.add_capabilities.iter().filter(|c| !is_all(c)) {
        let known = find(name)?;
        if !set.contains(&known) {
            set.push(known);
        }
    }
    for name in security.drop_capabilities.iter().filter(|c| !is_all(c)) {
        let known = find(name)?;
        set.retain(|c| *c != known);
    }
    Ok(set)
}

fn find(name: &str) -> Result<&'static str> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.iter()
        .find(|c| **c == bare)
        .copied()
        .ok_or_else(|| Error::InvalidConfig(format!("unknown capability {name:?}")))
}

/// The kernel numbers capabilities in the order of its table, which `ALL` follows.
fn number(name: &str) -> usize {
    ALL.iter().position(|c| *c == name).unwrap_or(63)
}

/// The bounding set of this process.
fn available() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapBnd:"));
    line.and_then(|l| u64::from_str_radix(l.trim(), 16).ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_dropping() {
        let own = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let set = |add: &[&str], drop: &[&str]| {
            wanted(&SecurityContext {
                add_capabilities: own(add),
                drop_capabilities: own(drop),
                ..Default::default()
            })
        };
        assert_eq!(set(&[], &[]).unwrap(), DEFAULT);
        assert_eq!(set(&["NET_BIND_SERVICE"], &["ALL"]).unwrap(), ["NET_BIND_SERVICE"]);
        assert_eq!(set(&["ALL"], &["cap_sys_admin"]).unwrap().len(), ALL.len() - 1);
        assert!(set(&["CAP_NET_ADMIN"], &[]).unwrap().contains(&"NET_ADMIN"));
        assert!(!set(&[], &["KILL"]).unwrap().contains(&"KILL"));
        assert!(set(&["NONSENSE"], &[]).is_err());
        assert_eq!(number("BPF"), 39);
    }
}
