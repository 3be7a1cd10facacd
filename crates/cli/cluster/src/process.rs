//! The server as a process: its pid file, finding it, ending it, starting it in the background.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::paths::Paths;
use crate::progress::{DONE, print_line};
use env::create_private_dir;

/// Held by the running server: an exclusive lock on the pid file, released by the kernel however the process ends.
pub struct Claim {
    _lock: Flock<fs::File>,
}

/// Makes this process the server of the cluster in `paths`.
///
/// # Errors
/// When another server holds the cluster; the message names it.
pub fn claim(paths: &Paths) -> Result<Claim> {
    use std::io::{Seek, Write};
    create_private_dir(paths.state())
        .with_context(|| format!("cannot create {}", paths.state().display()))?;
    let path = paths.pid_file();
    let file =
        fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0)?;
            lock.rewind()?;
            write!(lock, "{}", std::process::id())?;
            Ok(Claim { _lock: lock })
        }
        Err((_, Errno::EWOULDBLOCK)) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "this cluster already runs as process {} (data in {}).\nStop it with: ferrokube down",
                holder.trim(),
                paths.data().display()
            )
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The process id of the running server, `None` when none runs.
pub fn running(paths: &Paths) -> Option<Pid> {
    let file = fs::OpenOptions::new().read(true).open(paths.pid_file()).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err(_) => fs::read_to_string(paths.pid_file()).ok()?.trim().parse().ok().map(Pid::from_raw),
    }
}

/// The process id of a running server that is not about to end. A server that was just killed holds its lock until the
/// kernel has taken back its memory; it gets a moment for that.
pub fn running_on(paths: &Paths) -> Option<Pid> {
    const MOMENT_MS: u16 = 500;
    let pid = running(paths)?;
    let ended = pidfd(pid).and_then(|ended| wait_for_end(&ended, MOMENT_MS));
    match ended {
        Ok(false) => Some(pid),
        // It ended, or had ended before one could look.
        Ok(true) | Err(_) => running(paths),
    }
}

/// Asks the server to end and waits until it has; kills it after half a minute. Answers whether one was running.
pub fn stop(paths: &Paths) -> Result<bool> {
    let Some(pid) = running(paths) else { return Ok(false) };
    // A pidfd becomes readable when the process has ended: no polling, and no mix-up with a reused id.
    let ended = pidfd(pid)?;
    kill(pid, Signal::SIGTERM).with_context(|| format!("cannot stop process {pid}"))?;
    if !wait_for_end(&ended, 30_000)? {
        print_line("  the server did not end within 30 s and is killed; nothing acknowledged is lost");
        kill(pid, Signal::SIGKILL)?;
        wait_for_end(&ended, 5_000)?;
    }
    Ok(true)
}

fn pidfd(pid: Pid) -> Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the system call takes two integers and gives back a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd).context("pidfd_open")?;
    // SAFETY: the descriptor was just opened for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn wait_for_end(ended: &OwnedFd, timeout_ms: u16) -> Result<bool> {
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::from(timeout_ms))? > 0)
}

/// Starts `ferrokube up --foreground` with the same arguments in a session of its own, shows its progress, and returns
/// when the cluster is up.
///
/// # Errors
/// When the server ends before that; the message shows the end of its log.
pub fn start_in_background(paths: &Paths, arguments: &[String]) -> Result<()> {
    create_private_dir(paths.data()).with_context(|| format!("cannot create {}", paths.data().display()))?;
    let log = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(paths.log())?;
    let log_start = log.metadata()?.len();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).arg("--foreground").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // SAFETY: setsid is async-signal-safe and touches nothing of the parent's memory.
    unsafe { command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?)) };
    let mut server = command.spawn().context("cannot start the server")?;
    let output = server.stdout.take().context("the server has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        print_line(&line);
        if line.starts_with(DONE) {
            return Ok(());
        }
    }
    let status = server.wait()?;
    bail!("the server ended ({status}).\n{}", log_tail(&paths.log(), log_start))
}

/// The last lines that were written to the log since `from`.
fn log_tail(path: &Path, from: u64) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(from as usize..).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time_holds_a_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        assert_eq!(running(&paths), None);
        let held = claim(&paths).unwrap();
        assert_eq!(running(&paths), Some(Pid::this()));
        let refused = claim(&paths).err().unwrap().to_string();
        assert!(
            refused.contains(&std::process::id().to_string()) && refused.contains("ferrokube down"),
            "{refused}"
        );
        drop(held);
        assert_eq!(running(&paths), None);
        claim(&paths).unwrap();
    }
}
