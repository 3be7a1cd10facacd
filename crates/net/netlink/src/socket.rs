//! A netlink socket: requests that wait for the kernel's verdict, lists, and events.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::message::{self, Builder, Message};

/// `NLMSG_ERROR`, which is also the positive verdict.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// Flag of a dump that changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x10;
/// Flag of an error message that carries attributes behind the request's header.
const ACK_TLVS: u16 = 0x200;
/// Flag of an error message that does not repeat the request's payload.
const CAPPED: u16 = 0x100;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request; the text is its own, where it gave one. Retrying does not help, except for `EBUSY` and `EAGAIN`.
    #[error("netlink: {}{}", io::Error::from_raw_os_error(*errno), text.as_deref().map(|t| format!(" ({t})")).unwrap_or_default())]
    Kernel {
        /// The error number, positive.
        errno: i32,
        /// The kernel's explanation.
        text: Option<String>,
    },
    /// A system call failed.
    #[error("netlink: {action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel answered with something that cannot be read.
    #[error("netlink: malformed answer to {0}")]
    Malformed(&'static str),
}

impl Error {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Kernel { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the thing to delete or change was not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    /// Whether the thing to create was there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, source }
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Routing (links, addresses, routes) in the calling thread's network namespace.
    pub fn route() -> Result<Socket, Error> {
        Socket::open(libc::NETLINK_ROUTE)
    }

    /// Netfilter (nftables, conntrack) in the calling thread's network namespace.
    pub fn netfilter() -> Result<Socket, Error> {
        Socket::open(libc::NETLINK_NETFILTER)
    }

    /// A routing socket inside the network namespace at `path` (such as `/proc/PID/ns/net` or a bind mount).
    pub fn open_in(path: &Path) -> Result<Socket, Error> {
        in_namespace(path, Socket::route).map_err(io_error("enter network namespace"))?
    }

    fn open(protocol: i32) -> Result<Socket, Error> {
        // SAFETY: a plain system call without pointers; the descriptor it returns is owned by nobody else.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io_error("open socket")(io::Error::last_os_error()));
        }
        // SAFETY: `fd` was just created and is valid.
        let socket = Socket { fd: unsafe { OwnedFd::from_raw_fd(fd) }, sequence: 0 };
        // Explanations in error messages, and errors that do not repeat a large request.
        socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 4 << 20);
        Ok(socket)
    }

    /// Sets an option that merely improves things, so that failing is fine.
    fn option(&self, level: i32, name: i32, value: i32) -> bool {
        let pointer = std::ptr::from_ref(&value).cast();
        // SAFETY: `pointer` is valid for the four bytes of `value` during the call.
        unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, pointer, size_of::<i32>() as u32) == 0 }
    }

    /// Receives the events of a multicast group from now on.
    pub fn join(&self, group: u32) -> Result<(), Error> {
        // Events go to everybody but port 0, which is what a socket has that was never bound and never sent anything.
        let address = nix::sys::socket::NetlinkAddr::new(0, 0);
        nix::sys::socket::bind(self.fd.as_raw_fd(), &address)
            .map_err(|errno| io_error("bind")(errno.into()))?;
        match self.option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group.cast_signed()) {
            true => Ok(()),
            false => Err(io_error("join group")(io::Error::last_os_error())),
        }
    }

    /// A number that no earlier request on this socket used.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends one message, which `build` writes with the given sequence number and the flags it needs, and waits for the verdict.
    pub fn request(&mut self, kind: u16, flags: u16, build: impl FnOnce(&mut Builder)) -> Result<(), Error> {
        let sequence = self.next_sequence();
        let mut builder = Builder::new();
        builder.message(kind, flags | message::REQUEST | message::ACK, sequence);
        build(&mut builder);
        self.send(&builder.into_bytes())?;
        self.until_done(sequence, |_| {})
    }

    /// Sends a request for a list (or for one object) and calls `each` for every answer.
    pub fn query(
        &mut self,
        kind: u16,
        flags: u16,
        build: impl FnOnce(&mut Builder),
        each: impl FnMut(Message<'_>),
    ) -> Result<(), Error> {
        let sequence = self.next_sequence();
        let mut builder = Builder::new();
        builder.message(kind, flags | message::REQUEST, sequence);
        build(&mut builder);
        self.send(&builder.into_bytes())?;
        self.until_done(sequence, each)
    }

    /// Sends bytes as one datagram, with a send buffer large enough for it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > 64 << 10 {
            let wanted = i32::try_from(bytes.len()).unwrap_or(i32::MAX / 4).saturating_add(64 << 10);
            if !self.option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, wanted) {
                self.option(libc::SOL_SOCKET, libc::SO_SNDBUF, wanted);
            }
        }
        // SAFETY: the buffer is valid for its length during the call.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        match usize::try_from(sent) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(Error::Malformed("a request that was cut")),
            Err(_) => Err(io_error("send")(io::Error::last_os_error())),
        }
    }

    /// Waits for the next datagram.
    pub fn receive(&self) -> Result<Vec<u8>, Error> {
        self.receive_with(0)
    }

    /// The next datagram, if there is one already; for sockets that an event loop watches. `ENOBUFS` says that events were lost.
    pub fn try_receive(&self) -> Result<Option<Vec<u8>>, Error> {
        match self.receive_with(libc::MSG_DONTWAIT) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        }
    }

    fn receive_with(&self, flags: i32) -> Result<Vec<u8>, Error> {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            // SAFETY: the buffer is valid for its length during the call.
            let got = unsafe {
                let flags = flags | libc::MSG_TRUNC;
                libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags)
            };
            match usize::try_from(got) {
                Ok(got) if got > buffer.len() => {
                    return Err(Error::Malformed("a request with a huge answer"));
                }
                Ok(got) => {
                    buffer.truncate(got);
                    return Ok(buffer);
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(io_error("receive")(error));
                    }
                }
            }
        }
    }

    /// Reads answers to request `sequence` until its verdict.
    pub fn until_done(&mut self, sequence: u32, mut each: impl FnMut(Message<'_>)) -> Result<(), Error> {
        let mut interrupted = false;
        loop {
            let bytes = self.receive()?;
            for message in message::messages(&bytes).filter(|message| message.sequence == sequence) {
                interrupted |= message.flags & DUMP_INTERRUPTED != 0;
                match message.kind {
                    ERROR => return verdict(&message),
                    DONE if interrupted => return Err(Error::Kernel { errno: libc::EAGAIN, text: None }),
                    DONE => return Ok(()),
                    _ => each(message),
                }
            }
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads an `NLMSG_ERROR` message.
pub fn verdict(message: &Message<'_>) -> Result<(), Error> {
    let code = message::u32_at(message.payload, 0).ok_or(Error::Malformed("a request"))?.cast_signed();
    if code == 0 {
        return Ok(());
    }
    let text = (message.flags & ACK_TLVS != 0).then(|| {
        let request = message::u32_at(message.payload, 4).unwrap_or_default() as usize;
        let header = if message.flags & CAPPED != 0 { message::HEADER_BYTES } else { request };
        let attrs = message.payload.get(4 + header.next_multiple_of(4)..).unwrap_or_default();
        message::find(attrs, ERROR_TEXT).map(message::text)
    });
    Err(Error::Kernel { errno: code.wrapping_neg(), text: text.flatten() })
}

/// Whether an `NLMSG_ERROR` message, for callers that read verdicts of several requests themselves.
pub fn is_verdict(message: &Message<'_>) -> bool {
    message.kind == ERROR
}

/// Runs `work` on a thread of its own inside the network namespace at `path`, so that no other code ever sees the switch.
pub fn in_namespace<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(path)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).stack_size(256 << 10);
        let handle = thread.spawn_scoped(scope, || -> io::Result<T> {
            nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?;
        handle.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the network namespace failed")))
    })
}
