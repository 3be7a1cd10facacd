//! Cluster IPs and node ports: sets of numbers that are taken and given back.
//!
//! Both are kept in memory and rebuilt from the Services in the store at start. Taking is atomic under one lock, so
//! two racing creates never get the same address; a create that fails afterwards gives back what it took, by dropping
//! its [`Lease`].

mod addresses;
mod metrics;
mod numbers;
mod ports;
mod taking;

pub use addresses::{AddressError, Addresses};
pub(crate) use metrics::forget_range;
pub use numbers::Lease;
pub use ports::Ports;
pub use taking::Taking;
