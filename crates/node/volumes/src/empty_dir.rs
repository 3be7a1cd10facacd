//! `emptyDir`: a directory that lives as long as the pod, on disk, in memory or in huge pages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::error::{Error, Result};
use crate::mounts::is_mount_point;

/// Makes a directory that everybody may write to.
pub fn on_disk(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io("cannot create", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))
        .map_err(Error::io("cannot change the mode of", dir))
}

/// Mounts a tmpfs, at most `size_bytes` large. Done twice is done once.
pub fn in_memory(dir: &Path, size_bytes: Option<i64>) -> Result<()> {
    on_disk(dir)?;
    if is_mount_point(dir) {
        return Ok(());
    }
    let options = match size_bytes {
        Some(size) if size > 0 => format!("mode=0777,size={size}"),
        _ => "mode=0777".to_owned(),
    };
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(Error::io("cannot mount a tmpfs on", dir))
}

/// Mounts a hugetlbfs with pages of `page_bytes`.
pub fn in_huge_pages(dir: &Path, page_bytes: i64) -> Result<()> {
    on_disk(dir)?;
    if is_mount_point(dir) {
        return Ok(());
    }
    let options = format!("pagesize={page_bytes},mode=0777");
    mount(Some("nodev"), dir, Some("hugetlbfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(Error::io("cannot mount huge pages on", dir))
}
