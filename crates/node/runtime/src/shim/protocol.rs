//! What the server and a shim say to each other over the shim's unix socket: one JSON value for each line, file
//! descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

use crate::config::{AttachRequest, LogLimits, Propagation, TermSize};
use crate::status::Exit;

/// Longer lines are no message of ours.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;

/// What a shim needs to know, written by the server before the shim starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    pub id: String,
    /// Directory with the OCI specification (`config.json`), where the record of the end goes too.
    pub bundle: PathBuf,
    /// Directory for sockets.
    pub run: PathBuf,
    pub log_path: PathBuf,
    pub log: LogLimits,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    pub oom_score_adj: Option<i32>,
    /// Volumes by their path in the container.
    pub propagation: Vec<(PathBuf, Propagation)>,
    /// File with the count of out-of-memory kills.
    pub oom_file: Option<PathBuf>,
    /// Files that list the container's processes, when its PID 1 is not its own and so does not take them along.
    pub procs_files: Vec<PathBuf>,
}

impl ShimConfig {
    /// Whether the container's standard input ends with that of the first client; else it waits for the next client, and
    /// only the attachment ends.
    pub(crate) fn stdin_ends_with_client(&self) -> bool {
        stdin_ends_with_client(self.stdin_once, self.tty)
    }
}

/// See [`ShimConfig::stdin_ends_with_client`].
pub(crate) fn stdin_ends_with_client(stdin_once: bool, tty: bool) -> bool {
    stdin_once && !tty
}

/// A request to the shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Say that the container runs, and later that it has ended.
    Watch,
    /// Send a signal to the container's first process.
    Kill { signal: i32 },
    /// Connect the descriptors that come along: those asked for, in the order stdin, stdout, stderr.
    Attach(AttachRequest),
    /// Set the size of the terminal.
    Resize(TermSize),
    /// Open the log file anew.
    ReopenLog,
}

/// An answer of the shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Done.
    Ok,
    /// Not done.
    Error(String),
    /// The container runs (to `Watch`).
    Running { pid: i32, started_at_ns: i64 },
    /// The container has ended (to `Watch` and `Attach`).
    Exited(Exit),
}

/// The first thing that a starting shim says, on its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Started {
    /// The container runs.
    Running { pid: i32, started_at_ns: i64 },
    /// It could not be started.
    Failed(String),
}

/// A command for the exec helper, sent on its standard input; the streams asked for come along, in the order stdin,
/// stdout, stderr, unless the command gets a terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecOrder {
    /// Host PID of the container's first process.
    pub pid: i32,
    pub bundle: PathBuf,
    /// Files to write the new process's PID to.
    pub procs_files: Vec<PathBuf>,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
    pub size: Option<TermSize>,
}

/// What the exec helper answers, on the same descriptor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecReply {
    /// The command runs. With a terminal, its descriptor comes along.
    Started { pid: i32 },
    /// It could not be started.
    Failed(String),
    /// It has ended.
    Exited(i32),
}

/// One message as a line.
pub(crate) fn line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message).expect("messages have string keys only");
    bytes.push(b'\n');
    bytes
}

/// Sends as much as the socket takes, with descriptors beside the first byte.
pub(crate) fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    Ok(sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Sends a whole line, with descriptors beside its first byte. Blocking.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let mut sent = send_some(socket, bytes, fds)?;
    while sent < bytes.len() {
        sent += send_some(socket, &bytes[sent..], &[])?;
    }
    Ok(())
}

/// Receives some bytes, and descriptors if there are any. Zero bytes mean that the other side is gone.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = nix::cmsg_space!([RawFd; 4]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel has just made these descriptors for this process; nobody else owns them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(message.bytes)
}

/// Receives one whole line. Blocking.
pub(crate) fn receive_line(socket: BorrowedFd<'_>, fds: &mut Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.last() != Some(&b'\n') {
        match receive(socket, &mut buffer, fds)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n if text.len() + n > LINE_BYTES_MAX => return Err(io::ErrorKind::InvalidData.into()),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(text)
}
