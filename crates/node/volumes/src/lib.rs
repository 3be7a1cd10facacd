//! Volumes of pods: one file for each volume type, and what they share.
//!
//! Content is decided by pure functions ([`payload`], [`downward`]) and put on disk in one place ([`atomic`]), so that a
//! running container sees either the old files or the new ones. Start at [`set_up`], which turns one `spec.volumes`
//! entry into a directory of the host, and [`tear_down`], which ends all of a pod's volumes.

pub mod atomic;
mod claim;
pub mod downward;
mod empty_dir;
mod error;
mod host_path;
mod mounts;
mod ownership;
pub mod payload;
mod projected;
mod setup;
pub mod subpath;

pub use error::{Error, Result};
pub use mounts::{is_mount_point, mounts_under, tear_down, unmount_under};
pub use payload::{File, Payload};
pub use setup::{Host, Mounted, Objects, Token, TokenRequest, objects_of, plugin, set_up, volume_dir};
