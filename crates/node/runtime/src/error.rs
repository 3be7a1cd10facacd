//! What can go wrong in the runtime, worded so that the kubelet can show the text in events and statuses.

/// Result of every operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of the container runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No sandbox with this id. Retrying never helps.
    #[error("sandbox {0:?}: not found")]
    SandboxNotFound(String),
    /// No container with this id. Retrying never helps.
    #[error("container {0:?}: not found")]
    ContainerNotFound(String),
    /// The operation does not fit the state, such as starting twice.
    #[error("container {id:?} is {state}, cannot {operation}")]
    WrongState {
        /// The container.
        id: String,
        /// Its state in lower case.
        state: &'static str,
        /// What was asked.
        operation: &'static str,
    },
    /// The sandbox is stopped.
    #[error("sandbox {0:?} is not ready")]
    SandboxNotReady(String),
    /// The configuration cannot work (unknown user, bad capability, ...). The text names the field.
    #[error("{0}")]
    InvalidConfig(String),
    /// The container's process could not be started: the text is what docker and runc would say, such as
    /// `exec: "foo": executable file not found in $PATH`.
    #[error("failed to create containerd task: failed to create shim task: OCI runtime create failed: {0}")]
    Start(String),
    /// A command in a running container could not be started.
    #[error("OCI runtime exec failed: exec failed: unable to start container process: {0}")]
    Exec(String),
    /// `exec_sync` took longer than its limit; the command was killed.
    #[error("command {command:?} timed out after {seconds}s")]
    ExecTimeout {
        /// The command line.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// The image store refused.
    #[error(transparent)]
    Image(#[from] images::Error),
    /// Nothing answers on a port of a pod.
    #[error(
        "failed to connect to localhost:{port} inside the pod's network namespace: dial tcp4 127.0.0.1:{port}: {why}"
    )]
    Forward {
        /// The port.
        port: u16,
        /// The system's reason, in Go's words where those are known.
        why: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A record on disk, or a message of a shim, is not readable.
    #[error("{what}: {why}")]
    Malformed {
        /// Which record.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A background task was cancelled because the process is shutting down.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an I/O error with what was tried.
    pub(crate) fn io<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source: source.into() }
    }

    /// Whether the thing that was named does not exist, which removal treats as done.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::SandboxNotFound(_) | Error::ContainerNotFound(_))
    }
}
