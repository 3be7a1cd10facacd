//! Talking to shims.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::error::{Error, Result};
use crate::shim::SOCKET;
use crate::shim::protocol::{LINE_BYTES_MAX, Reply, Request, line, receive, send_some};

/// A connection to a shim (or to an exec helper): lines out, lines and descriptors in.
pub(super) struct Connection {
    socket: UnixStream,
    input: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Connection {
    /// Connects to the shim whose socket is in `run`.
    pub(super) async fn open(run: &Path) -> Result<Connection> {
        let what = || format!("cannot reach the shim in {}", run.display());
        // Through the directory's descriptor, because a socket's path may be no longer than 107 bytes.
        let dir = File::open(run).map_err(Error::io(what()))?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        Ok(Connection::over(UnixStream::connect(path).await.map_err(Error::io(what()))?))
    }

    pub(super) fn over(socket: UnixStream) -> Connection {
        Connection { socket, input: Vec::new(), fds: Vec::new() }
    }

    /// Sends a message with descriptors beside it.
    pub(super) async fn send<T: serde::Serialize>(&self, message: &T, fds: &[RawFd]) -> Result<()> {
        let bytes = line(message);
        // Descriptors go with the first bytes; the rest follows as the socket takes it.
        let mut sent = 0;
        while sent < bytes.len() {
            self.socket.writable().await.map_err(Error::io("cannot write to the shim"))?;
            let fds = if sent == 0 { fds } else { &[] };
            let write = || send_some(self.socket.as_fd(), &bytes[sent..], fds);
            match self.socket.try_io(Interest::WRITABLE, write) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(Error::io("cannot write to the shim")(e)),
            }
        }
        Ok(())
    }

    /// The next line; `None` when the other side is gone.
    pub(super) async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.input.iter().position(|b| *b == b'\n') {
                return Ok(Some(self.input.drain(..=end).collect()));
            }
            self.socket.readable().await.map_err(Error::io("cannot read from the shim"))?;
            let mut buffer = [0; 4096];
            let fds = &mut self.fds;
            let read = || receive(self.socket.as_fd(), &mut buffer, fds);
            match self.socket.try_io(Interest::READABLE, read) {
                Ok(0) => return Ok(None),
                Ok(n) if self.input.len() + n <= LINE_BYTES_MAX => self.input.extend_from_slice(&buffer[..n]),
                Ok(_) => {
                    return Err(Error::Malformed {
                        what: "answer of a shim".into(),
                        why: "it is too long".into(),
                    });
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                // A shim that is gone resets the connection if it had not read everything.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(Error::io("cannot read from the shim")(e)),
            }
        }
    }

    /// The next message; `None` when the other side is gone.
    pub(super) async fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let Some(text) = self.line().await? else { return Ok(None) };
        let bad =
            |e: serde_json::Error| Error::Malformed { what: "answer of a shim".into(), why: e.to_string() };
        serde_json::from_slice(&text).map(Some).map_err(bad)
    }

    /// One question, one answer.
    pub(super) async fn ask(&mut self, request: &Request, fds: &[RawFd]) -> Result<()> {
        self.send(request, fds).await?;
        match self.next().await? {
            Some(Reply::Ok) => Ok(()),
            Some(Reply::Error(why)) => Err(Error::Malformed { what: "the shim refused".into(), why }),
            _ => Err(Error::Malformed { what: "the shim".into(), why: "the container has ended".into() }),
        }
    }
}
