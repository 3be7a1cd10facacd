//! The core group, and the parts of it that other groups build on: pod templates, volumes, resource names.

pub(crate) mod claim;
mod config;
pub(crate) mod controller;
mod endpoints;
pub(crate) mod event;
pub(crate) mod names;
mod node;
pub(crate) mod persistent_volume;
pub(crate) mod pod;
mod quota;
pub(crate) mod service;
pub(crate) mod volume_source;

pub use service::service_addresses;
