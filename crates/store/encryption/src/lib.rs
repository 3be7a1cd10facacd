//! Encryption at rest: values are encrypted on their way to the disk, and plain in memory.
//!
//! An [`EncryptionConfiguration`](Configuration) says for which resources, and how. [`Encryption`] is what it comes to: the
//! store asks it about every value that it writes or reads. The bytes are upstream's, so that what one server wrote the
//! other can read: `k8s:enc:aescbc:v1:<key>:`, `aesgcm`, `secretbox`, and `k8s:enc:kms:v2:<name>:` with an envelope whose
//! key a KMS plugin keeps. Whatever is written is encrypted by the first provider; the others are only read with.

mod again;
mod configuration;
mod kms;
mod provider;
mod rules;
#[cfg(test)]
mod tests;

pub use again::read_again;
pub use configuration::{Configuration, ConfigurationError};
pub use rules::{Encryption, EncryptionError};
