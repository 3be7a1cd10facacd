//! Cluster DNS: names of services, endpoints and pods by the Kubernetes DNS specification 1.1, everything else from the node's own name
//! servers.
//!
//! Every node runs it, inside the process that runs the node. It listens on port 53 of the node's own address in its pod range (such as
//! `10.244.1.1`, which the pod network puts on `lo`): every pod and every node can reach that address, nobody outside the cluster's
//! routes can, and the API accepts it as an endpoint, as it would not a link-local one. Pods use the address of the Service
//! `kube-system/kube-dns`, whose EndpointSlice lists these addresses with a hint for each node ([`objects`]): a pod's
//! query is answered by its own node, without crossing the network, and by another node while its own is not ready.
//!
//! - [`zone`] is what the cluster has, kept one object at a time; [`answer`](mod@answer) decides the answer to a question, pure.
//! - [`from_objects`] keeps the zone like the API's objects.
//! - [`wire`] reads and writes messages; [`name`] are domain names.
//! - [`server`] listens on UDP and TCP; [`forward`] asks the node's name servers, with a [`cache`].
//! - [`resolv`] decides what `/etc/resolv.conf` of a pod says.

pub mod answer;
pub mod cache;
pub mod forward;
pub mod from_objects;
pub mod name;
pub mod objects;
pub mod resolv;
pub mod server;
pub mod wire;
pub mod zone;

pub use server::{Config, Server, SharedZone, Upstream};
pub use zone::Zone;
