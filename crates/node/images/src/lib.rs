//! Images: content store, pulls, imports, unpacked layers, garbage collection.
//!
//! Start at [`Store`]. Blobs are files named by their SHA-256; each layer is unpacked once into a directory that overlayfs
//! can use as it is; an image is a small JSON record that points to both. Everything appears by renaming a finished
//! temporary, so a crash leaves nothing half-made behind. [`build_layout`] makes images from directories.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blobs;
mod compression;
mod credentials;
mod document;
mod error;
mod gc;
mod image;
mod import;
mod layout;
mod pull;
mod reference;
mod store;
mod unpack;

pub use credentials::Credentials;
pub use error::{Error, Result};
pub use gc::{Collected, Usage};
pub use image::{Image, ImageConfig, Layer};
pub use layout::{Build, LayerSource, build_layout};
pub use reference::Reference;
pub use store::{Progress, PullOptions, Store, StoreConfig};
