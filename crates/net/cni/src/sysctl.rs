//! Kernel settings under `/proc/sys/net` of the calling thread's network namespace.

use std::io;
use std::path::PathBuf;

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}

/// Reads a setting, such as `ipv4/ip_forward`.
pub fn get(key: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(path(key))?.trim().to_owned())
}

/// Writes a setting unless it has the value already, so that a read-only `/proc/sys` with the right values is good enough.
pub fn set(key: &str, value: &str) -> io::Result<()> {
    if get(key)? == value {
        return Ok(());
    }
    std::fs::write(path(key), value)
}

/// Makes the node route IPv4 packets.
pub fn enable_ipv4_forwarding() -> io::Result<()> {
    set("ipv4/ip_forward", "1")
}

/// Makes the node route IPv6 packets. Routers ignore router advertisements unless told to keep listening, and a node that got
/// its own default route that way would lose it: so links that listen now (1) are told to listen always (2).
pub fn enable_ipv6_forwarding() -> io::Result<()> {
    if get("ipv6/conf/all/forwarding")? == "1" {
        return Ok(());
    }
    for entry in std::fs::read_dir(path("ipv6/conf"))?.flatten() {
        let key = format!("ipv6/conf/{}/accept_ra", entry.file_name().to_string_lossy());
        if get(&key).is_ok_and(|value| value == "1") {
            set(&key, "2")?;
        }
    }
    set("ipv6/conf/all/forwarding", "1")
}
