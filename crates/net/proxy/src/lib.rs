//! Services as nftables rules.
//!
//! - [`spec`] is the input: Services, EndpointSlices and the node as plain structs.

pub mod spec;

pub use spec::{
    EndpointPort, EndpointSpec, NodeSpec, Protocol, ServicePort, ServiceSpec, SliceSpec, Snapshot,
    TrafficPolicy,
};
