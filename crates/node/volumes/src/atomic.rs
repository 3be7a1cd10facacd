//! Replaces the files of a volume all at once, under the eyes of running containers.
//!
//! The real files live in a directory with a time in its name. `..data` is a symlink to it, and every visible name is a
//! symlink through `..data`; renaming a new `..data` over the old one switches all files in one step. Names and layout
//! are those of Kubernetes, because programs watch for the `..data` rename.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::payload::{File, Payload};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Owner of the written files. `None` leaves root's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Numeric user.
    pub uid: Option<u32>,
    /// Numeric group.
    pub gid: Option<u32>,
}

/// Makes the visible files of `dir` be exactly `payload`. Returns whether anything changed; equal content, modes and
/// owners are left alone. `now` only names the new directory.
pub fn write(dir: &Path, payload: &Payload, owner: Owner, now: SystemTime) -> Result<bool> {
    for path in payload.keys() {
        check_path(path)?;
    }
    let old = fs::read_link(dir.join(DATA)).ok().map(|target| dir.join(target));
    if let Some(old) = &old
        && same(old, payload, owner)
    {
        // A crash may have come between the switch and the links; making them again costs nothing.
        link_names(dir, payload)?;
        return Ok(false);
    }
    let fresh = new_directory(dir, now)?;
    let name = fresh.file_name().map(|n| n.to_os_string()).unwrap_or_default();
    fill(&fresh, payload, owner)?;
    let link = dir.join(NEW_DATA);
    remove_any(&link)?;
    symlink(&name, &link).map_err(Error::io("cannot link", &link))?;
    fs::rename(&link, dir.join(DATA)).map_err(Error::io("cannot switch", &link))?;
    link_names(dir, payload)?;
    drop_stale(dir, payload, &name)?;
    Ok(true)
}

/// Paths must stay inside the volume and clear of the names used here.
fn check_path(path: &str) -> Result<()> {
    let p = Path::new(path);
    if path.is_empty() || path.len() > 4096 {
        return Err(Error::Invalid(format!(
            "invalid path: must not be empty and at most 4096 characters: {path:?}"
        )));
    }
    if p.is_absolute() {
        return Err(Error::Invalid(format!("invalid path: must be relative path: {path}")));
    }
    for part in p.components() {
        match part {
            Component::Normal(name) if name.len() <= 255 => {}
            Component::Normal(_) => return Err(Error::Invalid(format!("invalid path: too long: {path}"))),
            Component::CurDir => {}
            _ => return Err(Error::Invalid(format!("invalid path: must not contain '..': {path}"))),
        }
    }
    if path.starts_with("..") {
        return Err(Error::Invalid(format!("invalid path: must not start with '..': {path}")));
    }
    Ok(())
}

fn new_directory(dir: &Path, now: SystemTime) -> Result<std::path::PathBuf> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut number = u64::from(since.subsec_nanos());
    loop {
        let path = dir.join(format!("..{}.{number}", civil(since.as_secs())));
        match fs::DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => {
                set_mode(&path, 0o755)?;
                return Ok(path);
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(Error::io("cannot create", &path)(e)),
        }
    }
}

/// `2026_01_31_23_59_59`, in UTC.
fn civil(secs: u64) -> String {
    let (days, rest) = ((secs / 86400) as i64, secs % 86400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}_{month:02}_{day:02}_{:02}_{:02}_{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

fn fill(dir: &Path, payload: &Payload, owner: Owner) -> Result<()> {
    for (name, file) in payload {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(Error::io("cannot create", parent))?;
        }
        fs::write(&path, &file.data).map_err(Error::io("cannot write", &path))?;
        set_mode(&path, file.mode)?;
        let uid = file.uid.or(owner.uid);
        if uid.is_some() || owner.gid.is_some() {
            chown(&path, uid, owner.gid).map_err(Error::io("cannot change the owner of", &path))?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(Error::io("cannot change the mode of", path))
}

fn same(dir: &Path, payload: &Payload, owner: Owner) -> bool {
    let mut found = 0;
    payload.iter().all(|(name, file)| {
        found += 1;
        same_file(&dir.join(name), file, owner)
    }) && count_files(dir) == found
}

fn same_file(path: &Path, file: &File, owner: Owner) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return false };
    meta.is_file()
        && meta.mode() & 0o7777 == file.mode
        && meta.len() == file.data.len() as u64
        && file.uid.or(owner.uid).is_none_or(|uid| uid == meta.uid())
        && owner.gid.is_none_or(|gid| gid == meta.gid())
        && fs::read(path).is_ok_and(|data| data == file.data)
}

fn count_files(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|e| if e.file_type().is_ok_and(|t| t.is_dir()) { count_files(&e.path()) } else { 1 })
        .sum()
}

/// First parts of the payload's paths: what a program sees in the directory.
fn top_names(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|p| p.trim_start_matches("./").split('/').next()).collect()
}

fn link_names(dir: &Path, payload: &Payload) -> Result<()> {
    for name in top_names(payload) {
        let link = dir.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).is_ok_and(|t| t == target) {
            continue;
        }
        remove_any(&link)?;
        symlink(&target, &link).map_err(Error::io("cannot link", &link))?;
    }
    Ok(())
}

fn drop_stale(dir: &Path, payload: &Payload, current: &std::ffi::OsStr) -> Result<()> {
    let names = top_names(payload);
    for entry in fs::read_dir(dir).map_err(Error::io("cannot read", dir))?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let ours = text.starts_with("..");
        let keep = if ours { name == current || text == DATA } else { names.contains(text.as_ref()) };
        // Only links through `..data` are ours; anything else in the directory was put there by somebody else.
        let link = fs::read_link(entry.path()).is_ok_and(|t| t.starts_with(DATA));
        if !keep && (ours || link) {
            remove_any(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_any(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).map_err(Error::io("cannot remove", path)),
        Ok(_) => fs::remove_file(path).map_err(Error::io("cannot remove", path)),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn payload(files: &[(&str, &str, u32)]) -> Payload {
        files.iter().map(|(p, d, m)| (p.to_string(), File::new(d.as_bytes().to_vec(), *m))).collect()
    }

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(secs)
    }

    #[test]
    fn switches_all_files_in_one_step() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        let one = payload(&[("a", "1", 0o644), ("sub/b", "2", 0o600), ("gone", "x", 0o644)]);
        assert!(write(dir, &one, Owner::default(), at(0)).unwrap());
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        assert_eq!(fs::read_link(dir.join("sub")).unwrap(), Path::new("..data/sub"));
        assert_eq!(fs::metadata(dir.join("sub/b")).unwrap().mode() & 0o777, 0o600);
        assert!(!write(dir, &one, Owner::default(), at(1)).unwrap(), "nothing to do");

        let two = payload(&[("a", "3", 0o644), ("sub/b", "2", 0o600)]);
        assert!(write(dir, &two, Owner::default(), at(2)).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(fs::symlink_metadata(dir.join("gone")).is_err());
        let stamped = fs::read_dir(dir)
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("..1970"));
        assert_eq!(stamped.count(), 1, "old content is gone");
        assert!(write(dir, &payload(&[]), Owner::default(), at(3)).unwrap());
        assert!(!dir.join("a").exists());
    }

    #[test]
    fn a_changed_mode_is_a_change_and_a_lost_link_comes_back() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        write(dir, &payload(&[("a", "1", 0o644)]), Owner::default(), at(0)).unwrap();
        assert!(write(dir, &payload(&[("a", "1", 0o400)]), Owner::default(), at(1)).unwrap());
        fs::remove_file(dir.join("a")).unwrap();
        assert!(!write(dir, &payload(&[("a", "1", 0o400)]), Owner::default(), at(2)).unwrap());
        assert!(dir.join("a").exists());
    }

    #[test]
    fn bad_paths_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "..hidden"] {
            assert!(
                write(tmp.path(), &payload(&[(bad, "", 0o644)]), Owner::default(), at(0)).is_err(),
                "{bad}"
            );
        }
        assert_eq!(civil(1_767_225_599), "2025_12_31_23_59_59");
    }
}
