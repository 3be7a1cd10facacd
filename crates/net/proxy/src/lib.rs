//! Services as nftables rules.
//!
//! - [`spec`] is the input: Services, EndpointSlices and the node as plain structs.
//! - [`from_objects`] makes that of the API's objects.
//! - [`endpoints`] chooses which endpoints a service port uses on this node, by the API's rules (pure).
//! - [`plan`](mod@plan) turns all of it into one nftables table (pure); [`picks`] has the rules that choose an endpoint.
//! - [`proxy`] applies plans to the kernel, and [`flows`] forgets UDP flows whose endpoint is gone.
//! - [`guard`] hears when somebody else removes the table.
//! - [`health`] answers load balancers that ask whether this node has endpoints.
//!
//! Known limit: rules that look up what another lookup gave (node ports, affinity) are fine for the kernel, but `nft list` up to at least
//! 1.0.6 cannot print them and stops with an assertion; `Display` of [`Proxy::applied`] shows the same table.

pub mod endpoints;
pub mod flows;
pub mod from_objects;
pub mod guard;
pub mod health;
pub mod picks;
pub mod plan;
pub mod proxy;
pub mod spec;

pub use from_objects::{Objects, SharedObjects};
pub use plan::plan;
pub use proxy::{Error, Proxy, follow, run};
pub use spec::{
    EndpointPort, EndpointSpec, NodeSpec, Protocol, ServicePort, ServiceSpec, SliceSpec, Snapshot,
    TrafficPolicy,
};
