//! Cluster DNS.
//!
//! - [`resolv`] decides what `/etc/resolv.conf` of a pod says.

pub mod resolv;
