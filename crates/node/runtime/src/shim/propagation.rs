//! Mount propagation of a container's volumes.
//!
//! libcontainer gives every mount of a container the propagation of its root. So between making the container and starting
//! its program, a child of the shim enters the container's mount namespace and sets what each volume asked for.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::config::Propagation;

/// Sets the propagation of mounts of the process's mount namespace, by their paths in it. This process must have one
/// thread.
pub(crate) fn set(process: &OwnedFd, volumes: &[(PathBuf, Propagation)]) -> Result<(), String> {
    if volumes.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller has one thread.
    match unsafe { fork() }.map_err(|e| format!("cannot fork: {e}"))? {
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
                Err(nix::Error::EINTR) => {}
                other => return Err(format!("cannot set mount propagation: {other:?}")),
            }
        },
        ForkResult::Child => {
            let changed = setns(process, CloneFlags::CLONE_NEWNS)
                .and_then(|()| volumes.iter().try_for_each(|(path, propagation)| change(path, *propagation)));
            // Exit handlers belong to the parent.
            // SAFETY: ends this process without running anything else.
            unsafe { libc::_exit(changed.map_or_else(|e| e as i32, |()| 0)) }
        }
    }
}

fn change(path: &Path, propagation: Propagation) -> nix::Result<()> {
    let flags = match propagation {
        Propagation::Private => MsFlags::MS_PRIVATE,
        Propagation::HostToContainer => MsFlags::MS_SLAVE,
        Propagation::Bidirectional => MsFlags::MS_SHARED,
    };
    match mount(None::<&str>, path, None::<&str>, MsFlags::MS_REC | flags, None::<&str>) {
        // Covered by another volume: then nothing inside can see it, and nothing spreads through it.
        Err(nix::Error::EINVAL | nix::Error::ENOENT) if propagation != Propagation::Bidirectional => Ok(()),
        done => done,
    }
}
