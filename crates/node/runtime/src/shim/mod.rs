//! The process beside each container.
//!
//! It lives in two acts. In the first ([`launch`]) it is single-threaded and alone, so that libcontainer may fork,
//! unshare and chdir in it; it makes the container and sees its program start. Then it executes itself again, which
//! throws away everything that the first act left in memory, and in the second act ([`serve`]) it only moves bytes and
//! waits. It is a child subreaper in a session of its own, so that it and the container outlive the server.

pub(crate) mod executor;
pub(crate) mod log;
pub(crate) mod memory;
pub(crate) mod propagation;
pub(crate) mod protocol;
pub(crate) mod serve;

use std::ffi::CString;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, execv, pipe2, setsid};

use crate::privileges::Privileges;
use protocol::{ShimConfig, Started, line};

/// First argument of the first act; the second argument is the path of a [`ShimConfig`].
pub(crate) const LAUNCH: &str = "runtime-shim";
/// First argument of the second act.
pub(crate) const SERVE: &str = "runtime-shim-serve";
/// The shim's socket in its run directory.
pub(crate) const SOCKET: &str = "shim.sock";
/// Record of how the container ended, beside the specification.
pub(crate) const EXIT: &str = "exit.json";

/// Ends of the container's standard streams that the shim keeps.
struct Streams {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

/// The first act. Returns only if it failed.
pub(crate) fn launch(config_path: &str) -> i32 {
    let failed = match prepare(config_path).and_then(|(config, listener)| {
        let (pid, streams) = start(&config)?;
        Err(become_server(config_path, pid, listener, streams))
    }) {
        Ok(never) => never,
        Err(why) => why,
    };
    let message = line(&Started::Failed(failed));
    // The server reads standard output; without it there is nobody to tell.
    let _ = std::io::stdout().write_all(&message);
    1
}

fn prepare(config_path: &str) -> Result<(ShimConfig, UnixListener), String> {
    let text = std::fs::read(config_path).map_err(|e| format!("cannot read {config_path}: {e}"))?;
    let config: ShimConfig =
        serde_json::from_slice(&text).map_err(|e| format!("cannot read {config_path}: {e}"))?;
    let step = |what: &'static str| move |e: nix::Error| format!("{what}: {e}");
    // Fails if the server made this process a session leader already.
    let _ = setsid();
    nix::sys::prctl::set_child_subreaper(true).map_err(step("cannot become subreaper"))?;
    umask(Mode::from_bits_truncate(0o022));
    // Socket names are relative to the run directory, since they may be no longer than 107 bytes.
    nix::unistd::chdir(&config.run).map_err(step("cannot enter the run directory"))?;
    let _ = std::fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET).map_err(|e| format!("cannot listen on {SOCKET}: {e}"))?;
    std::fs::set_permissions(SOCKET, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| format!("cannot protect {SOCKET}: {e}"))?;
    Ok((config, listener))
}

/// Makes the container and starts its program.
fn start(config: &ShimConfig) -> Result<(i32, Streams), String> {
    let state = config.run.join("lc");
    // Left by an attempt that did not come to its end.
    let _ = std::fs::remove_dir_all(&state);
    std::fs::create_dir_all(&state).map_err(|e| format!("cannot create {}: {e}", state.display()))?;
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("cannot make a pipe: {e}"));
    let (failures, failures_in) = pipe()?;
    let mut builder = ContainerBuilder::new(config.id.clone(), SyscallType::default())
        .with_root_path(&state)
        .map_err(|e| chain(&e))?
        .with_executor(executor::Exec {
            privileges: Privileges::ready(&config.bundle)?,
            failures: failures_in.as_raw_fd(),
        });
    let mut console = None;
    let mut streams = None;
    if config.tty {
        let path = config.run.join("console.sock");
        let _ = std::fs::remove_file("console.sock");
        console = Some(
            UnixListener::bind("console.sock").map_err(|e| format!("cannot listen for the console: {e}"))?,
        );
        builder = builder.with_console_socket(Some(path));
    } else {
        let (stdout, stdout_in) = pipe()?;
        let (stderr, stderr_in) = pipe()?;
        let stdin = if config.stdin {
            let (out, stdin) = pipe()?;
            builder = builder.with_stdin(out);
            Some(stdin)
        } else {
            let null = File::open("/dev/null").map_err(|e| format!("cannot open /dev/null: {e}"))?;
            builder = builder.with_stdin(null);
            None
        };
        builder = builder.with_stdout(stdout_in).with_stderr(stderr_in);
        streams = Some(Streams { stdin, stdout, stderr: Some(stderr) });
    }
    let container = builder
        .as_init(&config.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|e| chain(&e))?;
    let pid = container.pid().ok_or("the container has no process")?;
    let pid = Pid::from_raw(pid.as_raw());
    drop(failures_in);
    let finish = || {
        if let Some(listener) = console {
            let master =
                receive_console(&listener).map_err(|e| format!("cannot receive the console: {e}"))?;
            streams = Some(Streams { stdin: None, stdout: master, stderr: None });
            let _ = std::fs::remove_file("console.sock");
        }
        let process =
            crate::helper::pidfd(pid.as_raw()).map_err(|e| format!("the container is gone: {e}"))?;
        propagation::set(&process, &config.propagation)?;
        adjust_oom_score(pid.as_raw(), config.oom_score_adj);
        NotifySocket::new(state.join(&config.id).join(NOTIFY_FILE))
            .notify_container_start()
            .map_err(|e| chain(&e))?;
        // The pipe ends with the program's start, or says why there is none.
        let mut why = String::new();
        File::from(failures).read_to_string(&mut why).map_err(|e| format!("cannot watch the start: {e}"))?;
        if why.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "runc create failed: unable to start container process: error during container init: {why}"
            ))
        }
    };
    let finished: Result<(), String> = finish();
    if let Err(why) = finished {
        // It may have ended by itself.
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
        return Err(why);
    }
    // libcontainer's records served the start only.
    let _ = std::fs::remove_dir_all(&state);
    Ok((pid.as_raw(), streams.ok_or("the container has no streams")?))
}

/// A container may lower its own chances only as far as the machine allows; the kernel refuses negative values without
/// CAP_SYS_RESOURCE, and that is no reason not to run.
fn adjust_oom_score(pid: i32, score: Option<i32>) {
    if let Some(score) = score {
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
    }
}

/// An error with its causes: libcontainer's own texts often stop at "io error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The terminal that the container's first process made and sent.
fn receive_console(listener: &UnixListener) -> std::io::Result<OwnedFd> {
    let (socket, _) = listener.accept()?;
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut buffer = [0; 256];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel has just made this descriptor for this process.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

/// Executes this program again for the second act. Returns the reason if that fails.
fn become_server(config_path: &str, pid: i32, listener: UnixListener, streams: Streams) -> String {
    let keep = |fd: OwnedFd| {
        fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).map(|_| fd.into_raw_fd().to_string())
    };
    let optional = |fd: Option<OwnedFd>| fd.map_or(Ok("-1".to_owned()), keep);
    let execute = || -> Result<std::convert::Infallible, nix::Error> {
        let args = [
            "ferrokube-shim".to_owned(),
            SERVE.into(),
            config_path.into(),
            pid.to_string(),
            keep(listener.into())?,
            optional(streams.stdin)?,
            keep(streams.stdout)?,
            optional(streams.stderr)?,
        ];
        let args: Vec<CString> =
            args.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(|_| nix::Error::EINVAL)?;
        execv(c"/proc/self/exe", &args)
    };
    let Err(errno) = execute();
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    format!("cannot execute the shim: {errno}")
}
