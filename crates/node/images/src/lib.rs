//! Images: content store, pulls, imports, unpacked layers, garbage collection.
//!
//! Start at [`Store`]. Blobs are files named by their SHA-256; each layer is unpacked once, under the digest of its
//! uncompressed tar, into a directory that overlayfs can use as it is; an image is a small JSON record that points to
//! both. Everything appears by renaming a finished temporary, so a crash leaves nothing half-made behind.

mod error;
mod image;
mod store;

pub use error::{Error, Result};
pub use image::{Image, ImageConfig, Layer};
pub use store::{Collected, Credentials, Progress, PullOptions, Store, StoreConfig, Usage};

