//! Terminals: the one thing that both the server and the shim do with them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::config::TermSize;

nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, libc::winsize);

/// Sets the size of a terminal; its foreground processes get SIGWINCH.
pub(crate) fn set_size(fd: BorrowedFd<'_>, size: TermSize) -> io::Result<()> {
    let window = libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure lives through the call and is what the request wants.
    unsafe { set_window_size(fd.as_raw_fd(), &window) }?;
    Ok(())
}
