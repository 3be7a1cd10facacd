//! A container's root file system: the image's layers with a writable one on top.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::records::create_dir;
use crate::error::{Error, Result};
use crate::user::path_in_root;

/// Mounts the image's layers with a writable one on top.
pub(super) fn mount_root(bundle: &Path, run: &Path, image: &images::Image) -> Result<PathBuf> {
    let (upper, work, rootfs) = (bundle.join("upper"), bundle.join("work"), run.join("rootfs"));
    for dir in [&upper, &work, &rootfs] {
        create_dir(dir)?;
    }
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("cannot protect the root"))?;
    let lowers = image.lower_dirs();
    // The options of a mount fit into one page, so long layer paths are written relative to what they share.
    let quote =
        |p: &Path| p.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let mut lower: Vec<String> = lowers.iter().map(|l| quote(l)).collect();
    if lower.is_empty() {
        let empty = bundle.join("empty");
        create_dir(&empty)?;
        lower.push(quote(&empty));
    }
    let fail = Error::io::<nix::Error>(format!("cannot mount the root file system {}", rootfs.display()));
    overlay(&lower, &quote(&upper), &quote(&work), &rootfs).map_err(fail)?;
    Ok(rootfs)
}

/// Mounts an overlay by the file-descriptor interface where there are many layers (each layer its own call, so no limit of
/// one page), and by mount(2) otherwise.
fn overlay(lower: &[String], upper: &str, work: &str, target: &Path) -> nix::Result<()> {
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    if options.len() < 4000 {
        return mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    }
    fsmount::overlay(lower, upper, work, target)
}

mod fsmount {
    //! fsopen(2) and its kin, for overlays with more layers than fit into one page of options (Linux 6.5).

    use std::ffi::CString;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use nix::errno::Errno;

    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

    pub(super) fn overlay(lower: &[String], upper: &str, work: &str, target: &Path) -> nix::Result<()> {
        let text = |s: &[u8]| CString::new(s).map_err(|_| Errno::EINVAL);
        // SAFETY: every pointer is a NUL-terminated string that lives through its call; descriptors are owned at once.
        unsafe {
            let fs = owned(libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 1))?;
            let set = |key: &str, value: &str| {
                let (key, value) = (text(key.as_bytes())?, text(value.as_bytes())?);
                let (fd, set) = (fs.as_raw_fd(), FSCONFIG_SET_STRING);
                Errno::result(libc::syscall(libc::SYS_fsconfig, fd, set, key.as_ptr(), value.as_ptr(), 0))
                    .map(drop)
            };
            for layer in lower {
                set("lowerdir+", layer)?;
            }
            set("upperdir", upper)?;
            set("workdir", work)?;
            let none = std::ptr::null::<libc::c_char>();
            Errno::result(libc::syscall(
                libc::SYS_fsconfig,
                fs.as_raw_fd(),
                FSCONFIG_CMD_CREATE,
                none,
                none,
                0,
            ))?;
            let mounted = owned(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, 0))?;
            let (from, to) = (mounted.as_raw_fd(), text(target.as_os_str().as_bytes())?);
            let flags = MOVE_MOUNT_F_EMPTY_PATH;
            let at = libc::AT_FDCWD;
            Errno::result(libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), at, to.as_ptr(), flags))
                .map(drop)
        }
    }

    unsafe fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
        let fd = Errno::result(result)?;
        // SAFETY: the caller passes the result of a call that returns a new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }
}

/// Makes the working directory if the image lacks it, as docker does, owned by the container's user.
pub(super) fn make_cwd(rootfs: &Path, cwd: &str, uid: u32, gid: u32) -> Result<()> {
    if !cwd.starts_with('/') {
        return Err(Error::InvalidConfig(format!(
            "the working directory {cwd:?} is invalid, it needs to be an absolute path"
        )));
    }
    let mut made = PathBuf::from("/");
    for part in Path::new(cwd).components().skip(1) {
        let parent =
            path_in_root(rootfs, &made).map_err(Error::io(format!("cannot find {}", made.display())))?;
        made.push(part);
        if path_in_root(rootfs, &made).is_ok() {
            continue;
        }
        let path = parent.join(part);
        let make =
            || fs::create_dir(&path).and_then(|()| std::os::unix::fs::lchown(&path, Some(uid), Some(gid)));
        match make() {
            // A dangling symlink or a plain file is the image's affair: the start will say so.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            made => made.map_err(Error::io(format!("cannot create the working directory {cwd}")))?,
        }
    }
    Ok(())
}
