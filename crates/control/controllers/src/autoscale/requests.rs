//! What pods request of a resource, which utilization is a percentage of.

use std::sync::Arc;

use meta::Map;
use rules::amounts::is_sidecar;
use types::core::v1::{Container, Pod};

/// The requests of each pod, or of its container of this name, in thousandths. A pod whose containers do not all request
/// the resource has no utilization.
pub(super) fn requests(pods: &[Arc<Pod>], resource: &str, container: &str) -> Result<Map<i64>, String> {
    let mut known = Map::new();
    for pod in pods {
        let whole = pod
            .spec
            .resources
            .as_ref()
            .filter(|resources| container.is_empty() && !resources.requests.is_empty());
        let request = match whole {
            Some(resources) => match resources.requests.get(resource) {
                Some(quantity) => quantity.milli_value(),
                None => of_pod(pod, resource)?,
            },
            None => of_containers(pod, resource, container)?,
        };
        known.insert(pod.metadata.name.clone(), request);
    }
    Ok(known)
}

/// What the containers request together, of a pod that has requests of its own, though not of this resource.
fn of_pod(pod: &Pod, resource: &str) -> Result<i64, String> {
    let asked: Vec<i64> = running(pod)
        .filter_map(|container| Some(container.resources.requests.get(resource)?.milli_value()))
        .collect();
    if asked.is_empty() {
        return Err(format!("missing pod-level request for {resource} in Pod {}", pod.metadata.name));
    }
    Ok(asked.iter().sum())
}

fn of_containers(pod: &Pod, resource: &str, name: &str) -> Result<i64, String> {
    let mut sum = 0;
    let mut found = false;
    for container in running(pod).filter(|container| name.is_empty() || container.name == name) {
        found = true;
        let Some(quantity) = container.resources.requests.get(resource) else {
            return Err(format!(
                "missing request for {resource} in container {} of Pod {}",
                container.name, pod.metadata.name
            ));
        };
        sum += quantity.milli_value();
    }
    if !found && !name.is_empty() {
        return Err(format!("container {name} not found in Pod {}", pod.metadata.name));
    }
    Ok(sum)
}

/// The containers that run for as long as the pod does.
fn running(pod: &Pod) -> impl Iterator<Item = &Container> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container));
    pod.spec.containers.iter().chain(sidecars)
}
