//! Why a volume cannot be set up, worded as users know it from `FailedMount` events.

use std::path::{Path, PathBuf};

/// Result of every operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of volumes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server has no such object, or refuses it. Retrying helps once somebody makes it.
    #[error("{0}")]
    Object(String),
    /// An object lacks the key that `items` wants. Retrying helps once the key is there.
    #[error("{kind} references non-existent {what} key: {key}")]
    MissingKey {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// `config` or `secret`.
        what: &'static str,
        /// The key.
        key: String,
    },
    /// The pod's author asks for something that cannot be. Retrying never helps.
    #[error("{0}")]
    Invalid(String),
    /// No file of this crate handles the volume's type.
    #[error("failed to get Plugin from volumeSpec for volume \"{0}\" err=no volume plugin matched")]
    NoPlugin(String),
    /// The path of a `hostPath` volume is not what `type` says. Retrying helps once it is.
    #[error("hostPath type check failed: {0}")]
    HostPathType(String),
    /// The file system refused (a full disk shows here).
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with what was tried and where.
    pub(crate) fn io<E: Into<std::io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { what, path, source: source.into() }
    }
}
