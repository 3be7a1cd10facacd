//! The last step of a container's first process: finding the program and becoming it.
//!
//! libcontainer's own executor goes through the process environment, which cannot hold every name that Kubernetes
//! allows, and reports failures where nobody listens. This one uses the specification's environment as it is, and writes
//! what went wrong, in runc's words, to a pipe that closes by itself when the program runs.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use nix::sys::signal::{self, SigHandler, Signal};
use nix::sys::stat::stat;
use nix::unistd::{AccessFlags, access, execve};

use crate::privileges::Ready;

/// Gives up privileges and executes the specification's arguments.
#[derive(Clone)]
pub(crate) struct Exec {
    /// What it keeps of the shim's powers.
    pub privileges: Ready,
    /// Write end of the pipe for failures; closed on exec.
    pub failures: RawFd,
}

impl Executor for Exec {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let args = process.args().clone().unwrap_or_default();
        let env = process.env().clone().unwrap_or_default();
        let why = self.privileges.apply().err().unwrap_or_else(|| become_program(&args, &env));
        report(self.failures, &why);
        Err(ExecutorError::Other(why))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// Writes a failure where the parent waits for it.
pub(crate) fn report(fd: RawFd, why: &str) {
    // SAFETY: the descriptor was inherited for this purpose and stays open until this process ends.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    // With the parent gone there is nobody to tell.
    let _ = nix::unistd::write(fd, why.as_bytes());
}

/// Replaces this process by the program. Returns only to say why that failed.
pub(crate) fn become_program(args: &[String], env: &[String]) -> String {
    let Some(name) = args.first() else { return "no command specified".into() };
    let path = match find(name, env) {
        Ok(path) => path,
        Err(why) => return format!("exec: {name:?}: {why}"),
    };
    let c = |s: &String| CString::new(s.as_bytes());
    let (args, env): (Result<Vec<_>, _>, Result<Vec<_>, _>) =
        (args.iter().map(c).collect(), env.iter().map(c).collect());
    let (Ok(args), Ok(env)) = (args, env) else { return format!("exec: {name:?}: invalid argument") };
    let Ok(path) = c(&path.to_string_lossy().into_owned()) else {
        return format!("exec: {name:?}: invalid argument");
    };
    // Rust ignores SIGPIPE, and who started the server may have ignored others; the program must not inherit that.
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { signal::signal(signal, SigHandler::SigDfl) };
    }
    let errno = match execve(&path, &args, &env) {
        Err(errno) => errno,
        Ok(never) => match never {},
    };
    format!("exec {}: {}", path.to_string_lossy(), words(errno))
}

/// Finds a program as Go's `exec.LookPath` does, whose messages users know.
fn find(name: &str, env: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(format!("stat {name}: no such file or directory")),
            Err(errno) => Err(words(errno)),
        };
    }
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or("");
    let mut denied = false;
    for dir in path.split(':').filter(|d| !d.is_empty()) {
        let candidate = Path::new(dir).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    Err(if denied { "permission denied".into() } else { "executable file not found in $PATH".into() })
}

fn executable(path: &Path) -> Result<(), Errno> {
    let meta = stat(path)?;
    if meta.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

/// The system's words for an error, in lower case as Go prints them.
pub(crate) fn words(errno: Errno) -> String {
    match errno {
        Errno::ENOEXEC => "exec format error".into(),
        other => other.desc().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_like_runcs() {
        let env = ["PATH=/bin:/usr/bin".to_owned()];
        assert_eq!(find("foo-not-there", &env).unwrap_err(), "executable file not found in $PATH");
        assert_eq!(find("/no/such", &env).unwrap_err(), "stat /no/such: no such file or directory");
        assert_eq!(find("/bin", &env).unwrap_err(), "is a directory");
        assert!(find("sh", &env).is_ok());
        assert_eq!(
            become_program(&["foo-not-there".into()], &env),
            "exec: \"foo-not-there\": executable file not found in $PATH"
        );
    }
}
