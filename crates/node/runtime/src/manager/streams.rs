//! Pipes and terminals as async streams.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

use crate::config::TermSize;
use crate::error::{Error, Result};
use crate::session::{Input, Output};

/// A pipe into a container: what stays here, and the end to give away.
pub(super) fn input() -> Result<(Input, OwnedFd)> {
    let (theirs, ours) = new_pipe()?;
    let sender = pipe::Sender::from_owned_fd(ours).map_err(Error::io("cannot use a pipe"))?;
    Ok((Box::pin(sender), theirs))
}

/// A pipe out of a container: what stays here, and the end to give away.
pub(super) fn output() -> Result<(Output, OwnedFd)> {
    let (ours, theirs) = new_pipe()?;
    let receiver = pipe::Receiver::from_owned_fd(ours).map_err(Error::io("cannot use a pipe"))?;
    Ok((Box::pin(receiver), theirs))
}

fn new_pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe2(OFlag::O_CLOEXEC).map_err(Error::io("cannot make a pipe"))
}

/// The server's end of a terminal. Clones read and write the same.
#[derive(Clone)]
pub(super) struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> Result<Terminal> {
        let make = || {
            let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL)?);
            fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
            // SAFETY: the descriptor is owned by the value that is registered, and always gives the same number.
            unsafe { AsyncFd::register(master) }.map_err(std::io::Error::from)
        };
        make().map(|fd| Terminal(Arc::new(fd))).map_err(Error::io("cannot use the terminal"))
    }

    pub(super) fn resize(&self, size: TermSize) {
        // A terminal whose processes are gone needs no size.
        let _ = crate::terminal::set_size(self.0.get_ref().as_fd(), size);
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match guard.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), buf.initialize_unfilled())?)) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // EIO is how a terminal says that its last process is gone.
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(done) = guard.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), data)?)) {
                return Poll::Ready(done);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A terminal has no end of input of its own; the process sees a hang-up when the last handle goes.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
