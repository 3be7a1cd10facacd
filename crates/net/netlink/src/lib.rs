//! Netlink in one place: the few message kinds that pod network and service proxy need, encoded by hand, so that no program
//! (`ip`, `nft`, `conntrack`) has to be installed and each operation costs one or two system calls.
//!
//! - [`message`] builds and reads messages and attributes; [`socket`] sends them and waits for the kernel's verdict.
//! - [`route`] has links, addresses, routes and neighbours.
//! - [`nft`] has nftables: rules as data ([`nft::Ruleset`]), their difference, and one transaction that applies it.
//! - [`conntrack`] lists and deletes tracked flows.
//!
//! Calls block for microseconds (a large nftables transaction for a fraction of a second); async callers use
//! `spawn_blocking`. A socket belongs for life to the network namespace in which it was opened: see [`socket::Socket::open_in`].

pub mod conntrack;
pub mod message;
pub mod nft;
mod protocol;
pub mod route;
pub mod socket;

pub use protocol::Protocol;
pub use socket::{Error, Socket};
