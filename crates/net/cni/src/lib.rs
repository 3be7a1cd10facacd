//! The pod network: each pod gets a veth pair whose host side is a plain routed link (no bridge), an address of the node's
//! pod range, and a default route to a link-local gateway.
//!
//! ```text
//!   pod namespace                      node namespace
//!   eth0 10.244.1.7/32 ──────veth────── fk3f9a1c22e0   route 10.244.1.7 dev fk3f9a1c22e0
//!   default via 169.254.1.1 (fixed MAC) │              lo: 10.244.1.1/32, the node's own address in its range
//!                                       └ other nodes: route 10.244.2.0/24 via their node address ([`Backend`])
//! ```
//!
//! Addresses of neighbours are fixed on both sides, so no packet ever waits for ARP or neighbour discovery, and traffic
//! between pods of a node takes the same path as any other: the node routes it, nftables sees it.
//!
//! - [`config`] is what the node decides; [`network`] is the entry: [`Network::open`], [`Network::add`], [`Network::remove`].
//! - [`ipam`] hands out addresses durably; [`link`](mod@link) makes and adopts veth pairs; [`sysctl`] turns routing on.
//! - [`backend`] makes routes to the pods of other nodes.
//! - [`from_objects`] reads the API's Nodes and Pods; [`from_objects::follow_nodes`] keeps the routes to other nodes.
//! - [`rules`] plans masquerading and host ports as nftables rules, pure.
//!
//! Everything made in the kernel is findable by name (link prefix, table name, route protocol), so [`Network::reset`] removes
//! it without knowing what a former process did.

pub mod backend;
pub mod config;
pub mod from_objects;
pub mod ipam;
pub mod link;
pub mod network;
pub mod rules;
pub mod sysctl;

pub use backend::{Backend, HostGateway, Peer};
pub use config::{Config, HostPort, PodRequest, Protocol};
pub use network::{Error, Network, PodNetwork};
