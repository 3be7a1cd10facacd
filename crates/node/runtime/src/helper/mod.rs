//! Short-lived, single-threaded processes that do what a threaded server must not: forking into other namespaces.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub(crate) mod exec;
pub(crate) mod pause;

/// First argument of the exec helper; its order comes on standard input.
pub(crate) const EXEC: &str = "runtime-exec";
/// First argument of the process that makes a pod's PID namespace; see [`pause`].
pub(crate) const PAUSE: &str = "runtime-pause";

/// A handle of a process that stays its own, whatever becomes of the number.
pub(crate) fn pidfd(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new descriptor or an error.
    let fd = nix::errno::Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the descriptor was made by the call above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
