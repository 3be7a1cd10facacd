//! Commands in running containers, attachments to them, and connections to their ports.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::namespace::{dial, in_thread};
use super::records::load;
use super::shims::Connection;
use super::streams::{self, Terminal};
use super::{ContainerEntry, Runtime, blocking};
use crate::config::{AttachRequest, ExecOutput, ExecRequest};
use crate::error::{Error, Result};
use crate::helper::EXEC;
use crate::session::{Output, Session};
use crate::shim::protocol::{ExecOrder, ExecReply, Reply, Request, stdin_ends_with_client};
use crate::spec::environment;
use crate::user::Database;

/// Output of [`Runtime::exec_sync`] beyond this is dropped.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// How long output is waited for after the command has ended: its children may hold the streams for ever.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Terminal sizes that may wait.
const SIZES_MAX: usize = 8;

impl Runtime {
    /// Runs a command in a running container.
    pub async fn exec(&self, id: &str, request: ExecRequest) -> Result<Session> {
        let entry = self.inner.container(id)?;
        let order = self.order(&entry, &request).await?;
        let (ours, theirs) = StdUnixStream::pair().map_err(Error::io("cannot make a socket"))?;
        ours.set_nonblocking(true).map_err(Error::io("cannot make a socket"))?;
        // Dropping the handle leaves the helper alone; tokio reaps it. It ends with the command, or with our socket.
        let helper = tokio::process::Command::new(&self.inner.config.self_exe)
            .arg(EXEC)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .env_clear()
            .spawn()
            .map_err(Error::io(format!("cannot start {}", self.inner.config.self_exe.display())))?;
        drop(helper);
        let socket = UnixStream::from_std(ours).map_err(Error::io("cannot make a socket"))?;
        let mut control = Connection::over(socket);
        let (mut stdin, mut stdout, mut stderr, mut given) = (None, None, None, Vec::new());
        if !request.tty {
            if request.stdin {
                let (ours, theirs) = streams::input()?;
                stdin = Some(ours);
                given.push(theirs);
            }
            for (asked, slot) in [(request.stdout, &mut stdout), (request.stderr, &mut stderr)] {
                if asked {
                    let (ours, theirs) = streams::output()?;
                    *slot = Some(ours);
                    given.push(theirs);
                }
            }
        }
        let numbers: Vec<RawFd> = given.iter().map(AsRawFd::as_raw_fd).collect();
        control.send(&order, &numbers).await?;
        drop(given);
        let terminal = started(&mut control).await?;
        let (resize, mut sizes) = mpsc::channel(SIZES_MAX);
        if let Some(master) = terminal {
            let terminal = Terminal::new(master)?;
            stdin = request.stdin.then(|| Box::pin(terminal.clone()) as _);
            stdout = request.stdout.then(|| Box::pin(terminal.clone()) as _);
            tokio::spawn(async move {
                while let Some(size) = sizes.recv().await {
                    terminal.resize(size);
                }
            });
        }
        let wait = Box::pin(async move {
            match control.next().await? {
                Some(ExecReply::Exited(code)) => Ok(code),
                Some(ExecReply::Failed(why)) => Err(Error::Exec(why)),
                _ => Err(Error::Exec("the container ended".into())),
            }
        });
        Ok(Session { stdin, stdout, stderr, resize, wait })
    }

    /// Runs a command to its end. A zero timeout waits for ever.
    pub async fn exec_sync(&self, id: &str, args: Vec<String>, timeout: Duration) -> Result<ExecOutput> {
        let command = args.join(" ");
        let request = ExecRequest { args, stdout: true, stderr: true, ..ExecRequest::default() };
        let limited = async {
            let mut session = self.exec(id, request).await?;
            let stdout = tokio::spawn(read_limited(session.stdout.take()));
            let stderr = tokio::spawn(read_limited(session.stderr.take()));
            let exit_code = session.wait.await?;
            let drained = |task: tokio::task::JoinHandle<Buffer>| async move {
                let stop = task.abort_handle();
                match tokio::time::timeout(DRAIN_MAX, task).await {
                    Ok(Ok(bytes)) => bytes,
                    _ => {
                        stop.abort();
                        Buffer::default()
                    }
                }
            };
            let (stdout, stderr) = tokio::join!(drained(stdout), drained(stderr));
            let take = |b: Buffer| std::mem::take(&mut *b.lock());
            Ok(ExecOutput { stdout: take(stdout), stderr: take(stderr), exit_code })
        };
        if timeout.is_zero() {
            return limited.await;
        }
        // Dropping the session hangs up, and the helper kills the command.
        match tokio::time::timeout(timeout, limited).await {
            Ok(done) => done,
            Err(_) => Err(Error::ExecTimeout { command, seconds: timeout.as_secs() }),
        }
    }

    /// Connects to the streams of a running container.
    pub async fn attach(&self, id: &str, request: AttachRequest) -> Result<Session> {
        let entry = self.inner.container(id)?;
        entry.pid("attach to")?;
        let tty = entry.record.config.tty;
        let wanted = AttachRequest {
            stdin: request.stdin && (entry.record.config.stdin || tty),
            stderr: request.stderr && !tty,
            ..request
        };
        let detaches = wanted.stdin && !stdin_ends_with_client(entry.record.config.stdin_once, tty);
        let run = self.inner.run_dir(id);
        let mut control = Connection::open(&run).await?;
        let (mut stdin, mut stdout, mut stderr, mut given) = (None, None, None, Vec::new());
        if wanted.stdin {
            let (ours, theirs) = streams::input()?;
            stdin = Some(ours);
            given.push(theirs);
        }
        for (asked, slot) in [(wanted.stdout, &mut stdout), (wanted.stderr, &mut stderr)] {
            if asked {
                let (ours, theirs) = streams::output()?;
                *slot = Some(ours);
                given.push(theirs);
            }
        }
        let numbers: Vec<RawFd> = given.iter().map(AsRawFd::as_raw_fd).collect();
        control.ask(&Request::Attach(wanted), &numbers).await?;
        drop(given);
        let (resize, mut sizes) = mpsc::channel(SIZES_MAX);
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                let resized = async { Connection::open(&run).await?.ask(&Request::Resize(size), &[]).await };
                if resized.await.is_err() {
                    break;
                }
            }
        });
        let wait = Box::pin(async move {
            loop {
                match control.next().await? {
                    Some(Reply::Exited(exit)) => return Ok(exit.exit_code),
                    Some(_) => {}
                    // The client's input has ended, and the container goes on without it.
                    None if detaches => return Ok(0),
                    None => return entry.ended().await.map(|exit| exit.exit_code),
                }
            }
        });
        Ok(Session { stdin, stdout, stderr, resize, wait })
    }

    /// Connects to `localhost:port` inside the pod.
    pub async fn port_forward(&self, sandbox: &str, port: u16) -> Result<TcpStream> {
        let sandbox = self.sandbox(sandbox)?;
        if !sandbox.ready {
            return Err(Error::SandboxNotReady(sandbox.id));
        }
        let stream = in_thread(move || dial(sandbox.netns.as_deref(), port)).await?;
        TcpStream::from_std(stream).map_err(Error::io("cannot use the connection"))
    }

    /// What the helper is told: the container's own process, changed by the request.
    async fn order(&self, entry: &ContainerEntry, request: &ExecRequest) -> Result<ExecOrder> {
        let pid = entry.pid("exec in")?;
        let (inner, record, request) = (self.inner.clone(), entry.record.clone(), request.clone());
        blocking(move || {
            let bundle = inner.bundle(&record.id);
            let specification: serde_json::Value = load(&bundle.join("config.json"))?;
            let process = &specification["process"];
            let strings = |v: &serde_json::Value| -> Vec<String> {
                v.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(str::to_owned)).collect()
            };
            let (mut user, mut home) = (record.user.clone(), None);
            if let Some(wanted) = &request.user {
                let resolved = Database::load(&inner.run_dir(&record.id).join("rootfs")).resolve(wanted)?;
                (user, home) = (resolved.user, Some(resolved.home));
            }
            let base = strings(&process["env"]);
            let base = base.iter().filter_map(|e| e.split_once('='));
            let home = home.as_deref().map(|h| ("HOME", h));
            let term = request.tty.then_some(("TERM", "xterm"));
            let own = request.env.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            Ok(ExecOrder {
                pid,
                procs_files: inner.procs_files(&record.cgroup),
                env: environment(term.into_iter().chain(base).chain(home).chain(own)),
                cwd: request.cwd.unwrap_or_else(|| process["cwd"].as_str().unwrap_or("/").to_owned()),
                uid: user.uid,
                gid: user.gid,
                groups: user.supplemental_groups,
                args: request.args,
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                tty: request.tty,
                size: request.size,
                bundle,
            })
        })
        .await
    }
}

/// Waits until the command runs; gives its terminal, if it has one.
async fn started(control: &mut Connection) -> Result<Option<OwnedFd>> {
    loop {
        let Some(text) = control.line().await? else { return Err(Error::Exec("the container ended".into())) };
        // The lone newline that carries the terminal.
        if text == b"\n" {
            continue;
        }
        match serde_json::from_slice(&text) {
            Ok(ExecReply::Started { .. }) => return Ok(control.fds.pop()),
            Ok(ExecReply::Failed(why)) => return Err(Error::Exec(why)),
            Ok(ExecReply::Exited(_)) | Err(_) => {
                return Err(Error::Malformed {
                    what: "answer of the exec helper".into(),
                    why: "out of order".into(),
                });
            }
        }
    }
}

type Buffer = std::sync::Arc<parking_lot::Mutex<Vec<u8>>>;

async fn read_limited(stream: Option<Output>) -> Buffer {
    let buffer = Buffer::default();
    if let Some(stream) = stream {
        read_into(stream, &buffer).await;
    }
    buffer
}

/// Reads to the end but keeps only so much; the command must not block on a full pipe.
async fn read_into(mut stream: impl AsyncRead + Unpin, buffer: &Buffer) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(n) = stream.read(&mut chunk).await {
        if n == 0 {
            break;
        }
        let mut kept = buffer.lock();
        let room = OUTPUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..n.min(room)]);
    }
}
