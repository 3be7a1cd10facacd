//! `subPath`: mounts a part of a volume without following a symlink out of it.
//!
//! A container that owns a volume may put symlinks anywhere in it, and may change them while we look. So the path is
//! opened by the kernel in one step that refuses to leave the volume, and what was opened is bind-mounted by its file
//! descriptor; the runtime then mounts that bind, never the path.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::error::{Error, Result};
use crate::mounts::{is_mount_point, unmount_under};

/// Opens `sub` below `volume` without leaving it; missing directories are made (0750).
pub fn open(volume: &Path, sub: &str) -> Result<OwnedFd> {
    check(sub)?;
    let escape = || Error::Invalid(format!("subPath {sub:?} is not allowed to leave the volume"));
    let root: OwnedFd = File::open(volume).map_err(Error::io("cannot open", volume))?.into();
    match beneath(&root, Path::new(sub)) {
        Ok(fd) => return Ok(fd),
        Err(Errno::ENOENT) => {}
        Err(Errno::EXDEV | Errno::ELOOP) => return Err(escape()),
        Err(e) => return Err(Error::io("cannot open", &volume.join(sub))(e)),
    }
    let mut at = PathBuf::new();
    for part in Path::new(sub).components() {
        let parent =
            beneath(&root, if at.as_os_str().is_empty() { Path::new(".") } else { &at }).map_err(|e| {
                if matches!(e, Errno::EXDEV | Errno::ELOOP) {
                    escape()
                } else {
                    Error::io("cannot open", &volume.join(&at))(e)
                }
            })?;
        match mkdirat(parent.as_fd(), part.as_os_str(), Mode::from_bits_truncate(0o750)) {
            Ok(()) | Err(Errno::EEXIST) => at.push(part),
            Err(e) => return Err(Error::io("cannot create", &volume.join(&at).join(part))(e)),
        }
    }
    beneath(&root, Path::new(sub)).map_err(|e| {
        if matches!(e, Errno::EXDEV | Errno::ELOOP) {
            escape()
        } else {
            Error::io("cannot open", &volume.join(sub))(e)
        }
    })
}

fn beneath(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root.as_fd(), path, how)
}

/// Subpaths are relative and do not climb.
pub fn check(sub: &str) -> Result<()> {
    let path = Path::new(sub);
    if path.is_absolute() {
        return Err(Error::Invalid(format!("error SubPath `{sub}` must not be an absolute path")));
    }
    if path.components().any(|c| matches!(c, Component::ParentDir)) {
        return Err(Error::Invalid(format!("unable to provision SubPath `{sub}`: must not contain '..'")));
    }
    Ok(())
}

/// Binds `sub` of `volume` onto `target` (made here, a file for a file), and returns `target`.
pub fn bind(volume: &Path, sub: &str, target: &Path) -> Result<PathBuf> {
    let fd = open(volume, sub)?;
    if is_mount_point(target) {
        // From an earlier start of the same container: what it points to may have changed since.
        unmount_under(target)?;
    }
    let stat = fstat(fd.as_fd()).map_err(Error::io("cannot read", volume))?;
    let is_dir = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR;
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
    if is_dir {
        let _ = fs::remove_file(target);
        fs::create_dir_all(target).map_err(Error::io("cannot create", target))?;
    } else {
        let _ = fs::remove_dir(target);
        File::create(target).map_err(Error::io("cannot create", target))?;
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    mount(Some(&source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(Error::io("cannot bind a subPath on", target))?;
    Ok(target.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn volume() -> tempfile::TempDir {
        let tmp = tempfile::tempdir().unwrap();
        let v = tmp.path().join("v");
        fs::create_dir_all(v.join("a/b")).unwrap();
        fs::write(v.join("a/file"), "inside").unwrap();
        fs::write(tmp.path().join("secret"), "outside").unwrap();
        symlink("a/b", v.join("good")).unwrap();
        symlink("../secret", v.join("up")).unwrap();
        symlink("/etc", v.join("abs")).unwrap();
        symlink("../..", v.join("a/deep")).unwrap();
        tmp
    }

    #[test]
    fn never_leaves_the_volume() {
        let tmp = volume();
        let v = tmp.path().join("v");
        for (sub, good) in [
            ("a", true),
            ("a/file", true),
            ("good", true),
            ("made/on/the/way", true),
            ("good/new", true),
            ("up", false),
            ("abs/passwd", false),
            ("abs/new", false),
            ("a/deep/secret", false),
            ("a/deep/new", false),
            ("../secret", false),
            ("/etc", false),
        ] {
            assert_eq!(open(&v, sub).is_ok(), good, "{sub}");
        }
        assert!(v.join("a/b/new").is_dir());
        assert!(!tmp.path().join("new").exists());
    }

    #[test]
    fn binds_what_was_opened() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let tmp = volume();
        let v = tmp.path().join("v");
        let target = tmp.path().join("subpaths/0");
        bind(&v, "a/file", &target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "inside");
        bind(&v, "a", &target).unwrap();
        assert!(target.join("file").exists());
        crate::tear_down(&tmp.path().join("subpaths")).unwrap();
        assert!(v.join("a/file").exists());
        assert!(!target.exists());
    }
}
