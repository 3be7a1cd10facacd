//! Mount points of the host: which there are, and how they go away.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::error::{Error, Result};

/// Every mount point at or below `dir`, in the order in which they can be unmounted (deepest and newest first).
pub fn mounts_under(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> =
        text.lines().filter_map(mount_point).filter(|p| p.starts_with(dir)).collect();
    found.reverse();
    found
}

/// Whether something is mounted exactly there.
pub fn is_mount_point(path: &Path) -> bool {
    mounts_under(path).iter().any(|p| p == path)
}

/// The fifth field, with the kernel's octal escapes undone.
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?.as_bytes();
    let mut out = Vec::with_capacity(field.len());
    let mut i = 0;
    while i < field.len() {
        let code = (field[i] == b'\\').then(|| field.get(i + 1..i + 4)).flatten();
        match code.and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| u8::from_str_radix(c, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(field[i]);
                i += 1;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    Some(PathBuf::from(std::ffi::OsString::from_vec(out)))
}

/// Unmounts everything at or below `dir`. Busy mounts are detached: they vanish when their last user does.
pub fn unmount_under(dir: &Path) -> Result<()> {
    for point in mounts_under(dir) {
        match umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(e) => return Err(Error::io("cannot unmount", &point)(e)),
        }
    }
    Ok(())
}

/// Ends all volumes of a pod and removes its directory. Never crosses into a mounted file system: mounts go first, and
/// if one does not go nothing is removed.
pub fn tear_down(pod_dir: &Path) -> Result<()> {
    unmount_under(pod_dir)?;
    if !mounts_under(pod_dir).is_empty() {
        return Err(Error::Invalid(format!("{} still has mounts", pod_dir.display())));
    }
    match fs::remove_dir_all(pod_dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("cannot remove", pod_dir)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_escaped_mount_points() {
        let line = "36 35 98:0 /mnt1 /a\\040b/c rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line).unwrap(), Path::new("/a b/c"));
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/self")));
    }
}
