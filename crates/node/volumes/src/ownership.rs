//! `fsGroup`: gives the files of a volume to the pod's group.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use crate::error::{Error, Result};

/// Makes everything below `dir` belong to group `gid`, readable (and, unless `read_only`, writable) by it, with the
/// setgid bit on directories so that new files belong to the group too. With `on_root_mismatch`, a volume whose top
/// directory is right already is taken to be right all through.
pub fn apply(dir: &Path, gid: u32, read_only: bool, on_root_mismatch: bool) -> Result<()> {
    let meta = fs::symlink_metadata(dir).map_err(Error::io("cannot read", dir))?;
    if on_root_mismatch
        && meta.gid() == gid
        && meta.mode() & wanted(true, read_only) == wanted(true, read_only)
    {
        return Ok(());
    }
    walk(dir, gid, read_only)
}

fn wanted(dir: bool, read_only: bool) -> u32 {
    let rw = if read_only { 0o440 } else { 0o660 };
    if dir { rw | 0o2110 } else { rw }
}

fn walk(path: &Path, gid: u32, read_only: bool) -> Result<()> {
    let meta = fs::symlink_metadata(path).map_err(Error::io("cannot read", path))?;
    lchown(path, None, Some(gid)).map_err(Error::io("cannot change the owner of", path))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mode = meta.mode() & 0o7777 | wanted(meta.is_dir(), read_only);
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(Error::io("cannot change the mode of", path))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::io("cannot read", path))?.flatten() {
            walk(&entry.path(), gid, read_only)?;
        }
    }
    Ok(())
}
