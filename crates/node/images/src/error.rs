//! What can go wrong with images, worded so that the text can be shown in an `ErrImagePull` event as it is.

use std::path::PathBuf;

/// Result of every operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of the image store and of pulls.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reference is not a valid image name. Retrying never helps (`InvalidImageName`).
    #[error("couldn't parse image name {reference:?}: {why}")]
    InvalidReference {
        /// The text that was given.
        reference: String,
        /// What is wrong with it.
        why: String,
    },
    /// Neither the store nor the registry has it. Retrying helps only once somebody pushes it.
    #[error("{0}: not found")]
    NotFound(String),
    /// The registry refuses the credentials, or wants some.
    #[error(
        "pull access denied for {repository}: repository does not exist or may require authorization: {why}"
    )]
    Unauthorized {
        /// The repository, with its registry.
        repository: String,
        /// What the registry said.
        why: String,
    },
    /// The registry cannot be reached, or answers nonsense. Retrying may help.
    #[error("failed to pull {reference}: registry {registry} is unreachable: {why}")]
    Unreachable {
        /// The image that was wanted.
        reference: String,
        /// Host and port.
        registry: String,
        /// The cause.
        why: String,
    },
    /// The registry answered with an error that is none of the above.
    #[error("failed to pull {reference}: {why}")]
    Registry {
        /// The image that was wanted.
        reference: String,
        /// What the registry said.
        why: String,
    },
    /// The index has no manifest for this machine.
    #[error("no match for platform {platform} in the manifest of {reference}")]
    NoPlatform {
        /// The image that was wanted.
        reference: String,
        /// This machine, as `linux/amd64`.
        platform: String,
    },
    /// A blob's bytes do not hash to the name they were stored or offered under. A new pull may help.
    #[error("corrupt {what}: digest mismatch: expected {expected}, got {actual}")]
    DigestMismatch {
        /// "layer", "config" or "manifest".
        what: &'static str,
        /// The digest that the manifest promises.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// A layer cannot be unpacked: broken compression, broken tar, or an entry that leaves the root.
    #[error("corrupt layer {digest}: {why}")]
    CorruptLayer {
        /// Digest of the layer's blob.
        digest: String,
        /// What is wrong.
        why: String,
    },
    /// A manifest, index or config that cannot be read as what it should be.
    #[error("invalid {what}: {why}")]
    Malformed {
        /// Which document.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A local file or directory is neither an OCI layout nor a `docker save` archive.
    #[error("{}: not an OCI image layout nor a docker archive: {why}", path.display())]
    NotAnImage {
        /// What was given.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// The file system refused (a full disk shows here).
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A background task was cancelled because the process is shutting down.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// A document that does not hold what it should.
    pub(crate) fn malformed(what: impl Into<String>, why: impl ToString) -> Error {
        Error::Malformed { what: what.into(), why: why.to_string() }
    }

    /// Whether the same pull may succeed later without anybody changing the request.
    pub fn retriable(&self) -> bool {
        !matches!(self, Error::InvalidReference { .. } | Error::NotAnImage { .. })
    }
}
