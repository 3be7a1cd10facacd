//! The second act of a shim: it copies output to the log and to attached clients, input to the container, answers on its
//! socket, reaps, and records how the container ended. One thread, one poll loop, no async runtime: it must stay small.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, read, write};

use super::EXIT;
use super::log::{LogFile, Splitter, Stream, now, timestamp};
use super::protocol::{LINE_BYTES_MAX, Reply, Request, ShimConfig, Started, line, receive, send};
use crate::config::{AttachRequest, TermSize};
use crate::status::Exit;

/// Output that attached clients have not taken yet; beyond this the container waits for them.
const PENDING_BYTES_MAX: usize = 256 << 10;
const CHUNK_BYTES: usize = 32 << 10;
/// How long the end is held up by processes that keep the streams open, and by slow clients.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// One of the container's output streams.
struct Output {
    stream: Stream,
    fd: Option<OwnedFd>,
    splitter: Splitter,
}

/// Where a client wants output.
struct Sink {
    client: u64,
    stream: Stream,
    fd: OwnedFd,
    pending: Vec<u8>,
}

/// A connection to the socket.
struct Client {
    id: u64,
    socket: UnixStream,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// Wants to know the end.
    watching: bool,
    /// Where its standard input comes from.
    stdin: Option<OwnedFd>,
}

struct Shim {
    config: ShimConfig,
    pid: Pid,
    started_at_ns: i64,
    log: LogFile,
    outputs: Vec<Output>,
    /// Write end of the container's standard input; with a terminal, the terminal.
    stdin: Option<OwnedFd>,
    stdin_pending: Vec<u8>,
    /// Close the standard input once what is pending is written.
    stdin_closing: bool,
    sinks: Vec<Sink>,
    clients: Vec<Client>,
    next_client: u64,
    status: Option<(i32, i32)>,
    exit: Option<Exit>,
    drain_until: Option<Instant>,
}

/// What a descriptor in the poll set stands for.
#[derive(Clone, Copy)]
enum Slot {
    Signals,
    Listener,
    Output(usize),
    Stdin,
    Sink(usize),
    ClientStdin(usize),
    Client(usize),
}

/// The second act: arguments as `become_server` passes them.
pub(crate) fn main(args: &[String]) -> i32 {
    match run(args) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("shim: {why}");
            1
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let [config_path, pid, listener, stdin, stdout, stderr] = args else {
        return Err("bad arguments".into());
    };
    let text = fs::read(config_path).map_err(|e| format!("cannot read {config_path}: {e}"))?;
    let config: ShimConfig =
        serde_json::from_slice(&text).map_err(|e| format!("cannot read {config_path}: {e}"))?;
    let pid: i32 = pid.parse().map_err(|_| "bad pid")?;
    // SAFETY: the first act opened these for this process and passed their numbers; each is taken once.
    let take = |text: &str| -> Option<OwnedFd> {
        let fd: RawFd = text.parse().ok().filter(|fd| *fd > 2)?;
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // No child of the shim needs them.
        let _ = fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        let _ = nonblocking(fd.as_fd());
        Some(fd)
    };
    let listener = UnixListener::from(take(listener).ok_or("no socket")?);
    let stdout = take(stdout).ok_or("no standard output")?;
    let stderr = take(stderr);
    let stdin = if config.tty { stdout.try_clone().ok() } else { take(stdin) };
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block().map_err(|e| format!("cannot block signals: {e}"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|e| format!("cannot watch signals: {e}"))?;
    let (seconds, nanos) = now();
    let started_at_ns = seconds * 1_000_000_000 + i64::from(nanos);
    let output = |stream, fd| Output { stream, fd, splitter: Splitter::new(stream) };
    let log = LogFile::open(config.log_path.clone(), config.log);
    let mut shim = Shim {
        pid: Pid::from_raw(pid),
        started_at_ns,
        log,
        outputs: vec![output(Stream::Stdout, Some(stdout)), output(Stream::Stderr, stderr)],
        stdin,
        stdin_pending: Vec::new(),
        stdin_closing: false,
        sinks: Vec::new(),
        clients: Vec::new(),
        next_client: 0,
        status: None,
        exit: None,
        drain_until: None,
        config,
    };
    shim.announce()?;
    shim.reap();
    super::memory::release_file_pages();
    while !shim.finished() {
        shim.turn(&signals, &listener).map_err(|e| format!("poll failed: {e}"))?;
    }
    // The server reads the record from now on.
    let _ = fs::remove_file(shim.config.run.join(super::SOCKET));
    Ok(())
}

fn nonblocking(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Records appear whole.
fn write_record(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    fs::write(&tmp, bytes)?;
    fs::rename(&tmp, path)
}

impl Shim {
    /// Tells the server, which waits for it on standard output, that the container runs.
    fn announce(&self) -> Result<(), String> {
        let started = line(&Started::Running { pid: self.pid.as_raw(), started_at_ns: self.started_at_ns });
        // A server that died meanwhile finds the socket.
        let _ = io::stdout().write_all(&started).and_then(|()| io::stdout().flush());
        let null = fs::File::options().write(true).open("/dev/null").map_err(|e| e.to_string())?;
        nix::unistd::dup2_stdout(&null).map_err(|e| format!("cannot close standard output: {e}"))
    }

    fn finished(&self) -> bool {
        let overdue = self.drain_until.is_some_and(|t| Instant::now() >= t);
        self.exit.is_some() && (overdue || self.sinks.iter().all(|s| s.pending.is_empty()))
    }

    fn turn(&mut self, signals: &SignalFd, listener: &UnixListener) -> nix::Result<()> {
        let ready = {
            let (slots, mut fds) = self.interests(signals, listener);
            let timeout = match self.drain_until {
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now()).as_millis();
                    PollTimeout::from(u16::try_from(left + 1).unwrap_or(u16::MAX))
                }
                None => PollTimeout::NONE,
            };
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
            let flags = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
            slots.into_iter().zip(fds.iter().map(flags)).filter(|(_, f)| !f.is_empty()).collect::<Vec<_>>()
        };
        // Output first: what a process wrote before it ended belongs before its end.
        for (slot, _) in &ready {
            match *slot {
                Slot::Output(at) => self.read_output(at),
                Slot::Sink(at) => self.flush_sink(at),
                Slot::Stdin => self.flush_stdin(),
                Slot::ClientStdin(at) => self.read_client_stdin(at),
                _ => {}
            }
        }
        for (slot, _) in &ready {
            match *slot {
                Slot::Signals => {
                    while let Ok(Some(_)) = signals.read_signal() {}
                    self.reap();
                }
                Slot::Client(at) => self.read_client(at),
                Slot::Listener => self.accept(listener),
                _ => {}
            }
        }
        self.sweep();
        self.conclude();
        Ok(())
    }

    fn interests<'a>(
        &'a self,
        signals: &'a SignalFd,
        listener: &'a UnixListener,
    ) -> (Vec<Slot>, Vec<PollFd<'a>>) {
        let mut slots = vec![Slot::Signals, Slot::Listener];
        let mut fds = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        ];
        let mut add = |slot, fd: BorrowedFd<'a>, flags| {
            slots.push(slot);
            fds.push(PollFd::new(fd, flags));
        };
        let congested = self.sinks.iter().any(|s| s.pending.len() > PENDING_BYTES_MAX);
        for (at, output) in self.outputs.iter().enumerate() {
            if let Some(fd) = output.fd.as_ref().filter(|_| !congested) {
                add(Slot::Output(at), fd.as_fd(), PollFlags::POLLIN);
            }
        }
        for (at, sink) in self.sinks.iter().enumerate() {
            // Without interest in writing, POLLERR still tells that the reader is gone.
            let flags = if sink.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            add(Slot::Sink(at), sink.fd.as_fd(), flags);
        }
        if let Some(fd) = self.stdin.as_ref().filter(|_| !self.stdin_pending.is_empty()) {
            add(Slot::Stdin, fd.as_fd(), PollFlags::POLLOUT);
        }
        for (at, client) in self.clients.iter().enumerate() {
            add(Slot::Client(at), client.socket.as_fd(), PollFlags::POLLIN);
            if let Some(fd) = client.stdin.as_ref().filter(|_| self.stdin_pending.is_empty()) {
                add(Slot::ClientStdin(at), fd.as_fd(), PollFlags::POLLIN);
            }
        }
        (slots, fds)
    }

    fn read_output(&mut self, at: usize) {
        let output = &mut self.outputs[at];
        let Some(fd) = &output.fd else { return };
        let mut buffer = [0; CHUNK_BYTES];
        let mut entries = Vec::new();
        let time = timestamp(now());
        match read(fd, &mut buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // A terminal whose last process is gone says EIO.
            Ok(0) | Err(_) => {
                output.splitter.finish(time.as_bytes(), &mut entries);
                output.fd = None;
                let stream = output.stream;
                for sink in self.sinks.iter_mut().filter(|s| s.stream == stream) {
                    let _ = flush(sink);
                }
                self.sinks.retain(|s| s.stream != stream || !s.pending.is_empty());
            }
            Ok(n) => {
                output.splitter.feed(&buffer[..n], time.as_bytes(), &mut entries);
                let stream = output.stream;
                self.sinks.retain_mut(|sink| {
                    if sink.stream != stream {
                        return true;
                    }
                    sink.pending.extend_from_slice(&buffer[..n]);
                    flush(sink).is_ok()
                });
            }
        }
        self.log.write(&entries);
    }

    fn flush_sink(&mut self, at: usize) {
        // Indexes shift when sinks go, but a wrong one is merely flushed early.
        if let Some(sink) = self.sinks.get_mut(at)
            && (flush(sink).is_err() || reader_gone(sink.fd.as_fd()))
        {
            self.sinks.remove(at);
        }
    }

    fn flush_stdin(&mut self) {
        let Some(fd) = &self.stdin else { return self.stdin_pending.clear() };
        if !self.stdin_pending.is_empty() {
            match write(fd, &self.stdin_pending) {
                Ok(n) => drop(self.stdin_pending.drain(..n)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // The container has closed its end.
                Err(_) => {
                    self.stdin = None;
                    self.stdin_pending.clear();
                }
            }
        }
        if self.stdin_closing && self.stdin_pending.is_empty() {
            self.stdin = None;
        }
    }

    fn read_client_stdin(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else { return };
        let Some(fd) = client.stdin.as_ref().filter(|_| self.stdin_pending.is_empty()) else { return };
        let mut buffer = [0; CHUNK_BYTES];
        match read(fd, &mut buffer) {
            Ok(0) => {
                client.stdin = None;
                if self.config.stdin_ends_with_client() {
                    self.end_of_client_stdin();
                } else {
                    // The container goes on and waits for the next one: this attachment is over, and `sweep` lets go of it.
                    client.id = 0;
                }
            }
            Ok(n) => {
                self.stdin_pending.extend_from_slice(&buffer[..n]);
                self.flush_stdin();
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => client.stdin = None,
        }
    }

    /// With `stdinOnce` the container's input ends with the first client's.
    fn end_of_client_stdin(&mut self) {
        if self.config.stdin_ends_with_client() {
            self.stdin_closing = true;
            self.flush_stdin();
        }
    }

    fn accept(&mut self, listener: &UnixListener) {
        while let Ok((socket, _)) = listener.accept() {
            if socket.set_nonblocking(true).is_ok() {
                self.next_client += 1;
                let id = self.next_client;
                self.clients.push(Client {
                    id,
                    socket,
                    input: vec![],
                    fds: vec![],
                    watching: false,
                    stdin: None,
                });
            }
        }
    }

    fn read_client(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else { return };
        let mut buffer = [0; 4096];
        loop {
            match receive(client.socket.as_fd(), &mut buffer, &mut client.fds) {
                Ok(n) if n > 0 && client.input.len() + n <= LINE_BYTES_MAX => {
                    client.input.extend_from_slice(&buffer[..n]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                _ => {
                    // Gone: `sweep` takes it away with all it had.
                    client.id = 0;
                    return;
                }
            }
        }
        while let Some(end) = self.clients[at].input.iter().position(|b| *b == b'\n') {
            let text: Vec<u8> = self.clients[at].input.drain(..=end).collect();
            let reply = match serde_json::from_slice::<Request>(&text) {
                Ok(request) => self.answer(at, request),
                Err(e) => Some(Reply::Error(format!("bad request: {e}"))),
            };
            if let Some(reply) = reply {
                self.reply(at, &reply);
            }
        }
    }

    fn reply(&mut self, at: usize, reply: &Reply) {
        let client = &mut self.clients[at];
        if send(client.socket.as_fd(), &line(reply), &[]).is_err() {
            client.id = 0;
        }
    }

    fn answer(&mut self, at: usize, request: Request) -> Option<Reply> {
        match request {
            Request::Watch => {
                let running = Reply::Running { pid: self.pid.as_raw(), started_at_ns: self.started_at_ns };
                self.reply(at, &running);
                self.clients[at].watching = true;
                self.exit.clone().map(Reply::Exited)
            }
            Request::Kill { signal } => Some(self.kill(signal)),
            Request::Attach(wanted) => Some(self.attach(at, wanted)),
            Request::Resize(size) => {
                self.resize(size);
                Some(Reply::Ok)
            }
            Request::ReopenLog => {
                self.log.reopen();
                Some(Reply::Ok)
            }
        }
    }

    /// Only the parent can do this safely: the PID cannot be reused before it is reaped here.
    fn kill(&self, signal: i32) -> Reply {
        if self.status.is_some() {
            return Reply::Error("container not running".into());
        }
        // SAFETY: kill takes any number; one that is no signal is refused.
        match Errno::result(unsafe { libc::kill(self.pid.as_raw(), signal) }) {
            Ok(_) => Reply::Ok,
            Err(errno) => Reply::Error(errno.desc().into()),
        }
    }

    fn attach(&mut self, at: usize, wanted: AttachRequest) -> Reply {
        let client = &mut self.clients[at];
        let mut fds = std::mem::take(&mut client.fds).into_iter();
        for fd in fds.as_slice() {
            let _ = nonblocking(fd.as_fd());
        }
        client.watching = true;
        if wanted.stdin {
            client.stdin = fds.next();
        }
        for (asked, stream) in [(wanted.stdout, Stream::Stdout), (wanted.stderr, Stream::Stderr)] {
            if asked && let Some(fd) = fds.next() {
                let open = self.outputs.iter().any(|o| o.stream == stream && o.fd.is_some());
                if open {
                    self.sinks.push(Sink { client: client.id, stream, fd, pending: vec![] });
                }
            }
        }
        if let Some(size) = wanted.size {
            self.resize(size);
        }
        Reply::Ok
    }

    fn resize(&self, size: TermSize) {
        if let Some(fd) = self.stdin.as_ref().filter(|_| self.config.tty) {
            let _ = crate::terminal::set_size(fd.as_fd(), size);
        }
    }

    /// Takes the status of every child that has ended; all orphans of the container become children of the shim.
    fn reap(&mut self) {
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code, 0),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32, signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => continue,
            };
            if pid == self.pid {
                self.status = Some((code, signal));
                self.drain_until = Some(Instant::now() + DRAIN_MAX);
                self.kill_rest();
            }
        }
    }

    /// Without a PID namespace of its own, the container's other processes outlive its first; they must not.
    fn kill_rest(&self) {
        for file in &self.config.procs_files {
            for pid in fs::read_to_string(file).unwrap_or_default().lines().filter_map(|l| l.parse().ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Forgets clients that are gone, and what was theirs.
    fn sweep(&mut self) {
        let had_stdin = self.clients.iter().any(|c| c.id == 0 && c.stdin.is_some());
        self.clients.retain(|c| c.id != 0);
        let clients = &self.clients;
        self.sinks.retain(|s| clients.iter().any(|c| c.id == s.client));
        if had_stdin {
            self.end_of_client_stdin();
        }
    }

    /// Once the container has ended and its streams are empty, writes the record and tells who waits.
    fn conclude(&mut self) {
        let Some((exit_code, signal)) = self.status.filter(|_| self.exit.is_none()) else { return };
        let drained = self.outputs.iter().all(|o| o.fd.is_none());
        let overdue = self.drain_until.is_some_and(|t| Instant::now() >= t);
        if !drained && !overdue {
            return;
        }
        let mut entries = Vec::new();
        let time = timestamp(now());
        self.outputs.iter_mut().for_each(|o| o.splitter.finish(time.as_bytes(), &mut entries));
        self.log.write(&entries);
        let oom = self.config.oom_file.as_deref().is_some_and(|f| crate::cgroup::oom_kills(f) > 0);
        let reason = match exit_code {
            0 => "Completed",
            _ if oom => "OOMKilled",
            _ => "Error",
        };
        let (seconds, nanos) = now();
        let exit = Exit {
            exit_code,
            signal,
            reason: reason.into(),
            message: String::new(),
            started_at_ns: self.started_at_ns,
            finished_at_ns: seconds * 1_000_000_000 + i64::from(nanos),
        };
        if let Err(e) = write_record(&self.config.bundle.join(EXIT), &line(&exit)) {
            eprintln!("shim: cannot write {EXIT}: {e}");
        }
        for at in 0..self.clients.len() {
            if self.clients[at].watching {
                self.reply(at, &Reply::Exited(exit.clone()));
            }
        }
        self.exit = Some(exit);
        self.drain_until = Some(Instant::now() + DRAIN_MAX);
    }
}

fn flush(sink: &mut Sink) -> nix::Result<()> {
    while !sink.pending.is_empty() {
        match write(&sink.fd, &sink.pending) {
            Ok(n) => drop(sink.pending.drain(..n)),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn reader_gone(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLERR))
}
