//! Running a command in a container that runs already.
//!
//! Orders and answers go over standard input, which is a unix socket; the command's own streams come with the order. The
//! helper enters the container's PID namespace, forks, lets the child join the rest and become the command, waits, and
//! reports. The child gets the container's own privileges.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setgroups,
    setresgid, setresuid, setsid,
};

use super::pidfd;
use crate::privileges::{Privileges, Ready};
use crate::shim::executor::{become_program, report, words};
use crate::shim::protocol::{ExecOrder, ExecReply, line, receive_line, send};

/// Runs one command. The exit code of the helper itself means nothing; the answers do.
pub(crate) fn main() -> i32 {
    let Ok(control) = std::io::stdin().as_fd().try_clone_to_owned() else { return 1 };
    let mut streams = Vec::new();
    let outcome =
        order(control.as_fd(), &mut streams).and_then(|order| run(&order, streams, control.as_fd()));
    let reply = match outcome {
        Ok(code) => ExecReply::Exited(code),
        Err(why) => ExecReply::Failed(why),
    };
    // If the server is gone, nobody waits for the answer.
    let _ = send(control.as_fd(), &line(&reply), &[]);
    0
}

fn order(control: BorrowedFd<'_>, streams: &mut Vec<OwnedFd>) -> Result<ExecOrder, String> {
    let text = receive_line(control, streams).map_err(|e| format!("no order: {e}"))?;
    serde_json::from_slice(&text).map_err(|e| format!("bad order: {e}"))
}

fn run(order: &ExecOrder, streams: Vec<OwnedFd>, control: BorrowedFd<'_>) -> Result<i32, String> {
    let privileges = Privileges::ready(&order.bundle)?;
    let target = pidfd(order.pid).map_err(|e| format!("the container is gone: {}", words(e)))?;
    setns(&target, CloneFlags::CLONE_NEWPID)
        .map_err(|e| format!("cannot enter the PID namespace: {}", words(e)))?;
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("cannot make a pipe: {}", words(e)));
    let (go, go_in) = pipe()?;
    let (failures, failures_in) = pipe()?;
    // SAFETY: this process has one thread.
    let child = match unsafe { fork() }.map_err(|e| format!("cannot fork: {}", words(e)))? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop((go_in, failures));
            let why = connect(order, streams).and_then(|()| child(order, &privileges, &target, go, control));
            let why = why.err().unwrap_or_default();
            report(failures_in.as_raw_fd(), &why);
            std::process::exit(127);
        }
    };
    // The command alone holds its streams from here on, so that their ends are its ends.
    drop((go, failures_in, streams));
    for file in &order.procs_files {
        if let Err(e) = fs::write(file, child.to_string()) {
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
            return Err(format!("cannot join cgroup {}: {e}", file.display()));
        }
    }
    drop(go_in);
    let mut why = String::new();
    File::from(failures).read_to_string(&mut why).map_err(|e| format!("cannot watch the start: {e}"))?;
    if !why.is_empty() {
        let _ = waitpid(child, None);
        return Err(why);
    }
    send(control, &line(&ExecReply::Started { pid: child.as_raw() }), &[]).map_err(|e| e.to_string())?;
    wait(child, control)
}

/// Puts the streams that came with the order in their places; those that did not come are empty.
fn connect(order: &ExecOrder, streams: Vec<OwnedFd>) -> Result<(), String> {
    let null = || open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
    let mut streams = streams.into_iter();
    let mut next = |asked: bool| match asked.then(|| streams.next()).flatten() {
        Some(fd) => Ok(fd),
        None => null(),
    };
    let mut place = || -> nix::Result<()> {
        dup2_stdin(next(order.stdin && !order.tty)?)?;
        dup2_stdout(next(order.stdout && !order.tty)?)?;
        dup2_stderr(next(order.stderr && !order.tty)?)
    };
    place().map_err(|e| format!("cannot connect the streams: {}", words(e)))
}

/// Waits for the command; kills it when the server hangs up.
fn wait(child: Pid, control: BorrowedFd<'_>) -> Result<i32, String> {
    let ended = pidfd(child.as_raw()).map_err(words)?;
    loop {
        let mut fds =
            [PollFd::new(ended.as_fd(), PollFlags::POLLIN), PollFd::new(control, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            Err(e) => return Err(words(e)),
            Ok(_) => {}
        }
        if fds[1].revents().is_some_and(|r| !r.is_empty()) {
            let _ = kill(child, Signal::SIGKILL);
        }
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(words(e)),
        }
    }
}

/// The child's way to the command. Returns only to say why it did not get there.
fn child(
    order: &ExecOrder,
    privileges: &Ready,
    target: &OwnedFd,
    go: OwnedFd,
    control: BorrowedFd<'_>,
) -> Result<(), String> {
    let step = |what: &'static str| move |e: nix::Error| format!("{what}: {}", words(e));
    // The parent closes the pipe when this process is in the container's cgroups.
    File::from(go).read_to_end(&mut Vec::new()).map_err(|e| e.to_string())?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    setns(target, namespaces).map_err(step("cannot enter the container's namespaces"))?;
    setsid().map_err(step("cannot start a session"))?;
    umask(Mode::from_bits_truncate(0o022));
    if order.tty {
        terminal(order, control)?;
    }
    let groups: Vec<Gid> = order.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    chdir(order.cwd.as_str())
        .map_err(|e| format!("chdir to cwd ({:?}) set in config.json failed: {}", order.cwd, words(e)))?;
    setgroups(&groups).map_err(step("cannot set groups"))?;
    let (uid, gid) = (Uid::from_raw(order.uid), Gid::from_raw(order.gid));
    nix::sys::prctl::set_keepcaps(true)
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .and_then(|()| nix::sys::prctl::set_keepcaps(false))
        .map_err(step("cannot set user"))?;
    privileges.apply()?;
    Err(become_program(&order.args, &order.env))
}

/// Makes a terminal in the container's own devpts, sends it to the server and becomes its session leader.
fn terminal(order: &ExecOrder, control: BorrowedFd<'_>) -> Result<(), String> {
    let step = |what: &'static str| move |e: nix::Error| format!("{what}: {}", words(e));
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open("/dev/ptmx", flags, Mode::empty()).map_err(step("cannot open /dev/ptmx"))?;
    let unlock: libc::c_int = 0;
    // SAFETY: both requests take these argument types; TIOCGPTPEER returns a new descriptor.
    let slave = unsafe {
        nix::errno::Errno::result(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock))
            .map_err(step("cannot unlock the terminal"))?;
        let slave =
            libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, (OFlag::O_RDWR | OFlag::O_NOCTTY).bits());
        OwnedFd::from_raw_fd(nix::errno::Errno::result(slave).map_err(step("cannot open the terminal"))?)
    };
    if let Some(size) = order.size {
        crate::terminal::set_size(slave.as_fd(), size)
            .map_err(|e| format!("cannot size the terminal: {e}"))?;
    }
    nix::unistd::fchown(&slave, Some(Uid::from_raw(order.uid)), None)
        .map_err(step("cannot own the terminal"))?;
    // SAFETY: the request takes an integer.
    nix::errno::Errno::result(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) })
        .map_err(step("cannot take the terminal"))?;
    dup2_stdin(&slave)
        .and_then(|()| dup2_stdout(&slave))
        .and_then(|()| dup2_stderr(&slave))
        .map_err(step("cannot use the terminal"))?;
    // A lone newline carries the descriptor; the answers follow it.
    send(control, b"\n", &[master.as_raw_fd()]).map_err(|e| format!("cannot send the terminal: {e}"))
}
