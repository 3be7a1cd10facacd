//! Which pods stand behind a Service: EndpointSlices, and Endpoints for those who still read them.

mod address;
mod legacy;
mod metrics;
mod mirror;
mod slices;
mod slicing;
mod trigger;

#[cfg(test)]
mod tests;

use informer::Key;
use reconcile::World;
use types::core::v1::{Pod, Service};

use crate::common::selector::selects_map;

pub(crate) use legacy::start as start_endpoints;
pub(crate) use mirror::start as start_mirroring;
pub(crate) use slices::start as start_slices;

/// The Services that select `pod`.
fn services_of(pod: &Pod, world: &World) -> Vec<Key> {
    let mut services = world.list::<Service>(&pod.metadata.namespace);
    services.retain(|service| selects_map(&service.spec.selector, &pod.metadata.labels));
    services.iter().map(|service| Key::of(&**service)).collect()
}

/// Whether the Service has an address of its own.
fn has_ip(service: &Service) -> bool {
    !matches!(service.spec.cluster_ip.as_str(), "" | "None")
}
