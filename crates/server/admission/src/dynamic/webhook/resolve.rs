//! Where the Service of a webhook is reached.

use meta::Str;
use types::core::v1::Service;
use types::discovery::v1::EndpointSlice;

use crate::world::{World, WorldExt};

/// The label of slices that names their Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Host and port: those of a ready endpoint, or the Service's own address where there is none.
pub(super) fn resolve(
    world: &dyn World,
    namespace: &str,
    name: &str,
    port: i32,
) -> Result<(String, u16), String> {
    let service =
        world.get::<Service>(namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    let number = |port: i32| u16::try_from(port).unwrap_or(0);
    if service.spec.type_ == "ExternalName" {
        return Ok((service.spec.external_name.to_string(), number(port)));
    }
    let found = service.spec.ports.iter().find(|candidate| candidate.port == port);
    let wanted = found.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let mut ready: Vec<(Str, i32)> = Vec::new();
    for slice in world.list::<EndpointSlice>(namespace) {
        if slice.metadata.labels.get(SERVICE_NAME).is_none_or(|label| label != name) {
            continue;
        }
        let target =
            slice.ports.iter().find(|port| port.name.as_deref().unwrap_or_default() == wanted.name.as_str());
        let Some(target) = target.and_then(|port| port.port) else { continue };
        for endpoint in slice.endpoints.iter().filter(|e| e.conditions.ready != Some(false)) {
            ready.extend(endpoint.addresses.first().map(|address| (address.clone(), target)));
        }
    }
    if !ready.is_empty() {
        let chosen = usize::try_from(world.random().u64() % ready.len() as u64).unwrap_or(0);
        let (address, port) = ready.swap_remove(chosen);
        return Ok((address.to_string(), number(port)));
    }
    match service.spec.cluster_ip.as_str() {
        "" | "None" => Err(format!("no endpoints available for service {name:?}")),
        address => Ok((address.to_owned(), number(port))),
    }
}
