//! What a pod's status says of the health of resources (KEP-4680), and which fields of the status are off.

use crate::Path;
use crate::check::Errs;
use meta::List;
use std::collections::BTreeSet;
use types::core::v1::*;

/// How long the text about one device may be.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The health of what the containers have.
pub(super) fn check(e: &mut Errs, at: &Path<'_>, pod: &Pod) {
    let (spec, status) = (&pod.spec, &pod.status);
    health(e, &at.child("containerStatuses"), &status.container_statuses, &spec.containers);
    health(e, &at.child("initContainerStatuses"), &status.init_container_statuses, &spec.init_containers);
    let list = at.child("ephemeralContainerStatuses");
    for (i, status) in status.ephemeral_container_statuses.iter().enumerate() {
        if !status.allocated_resources_status.is_empty() {
            let item = list.index(i);
            e.forbidden(&item.child("allocatedResourcesStatus"), "must not be specified in container status");
        }
    }
}

fn health(e: &mut Errs, at: &Path<'_>, statuses: &List<ContainerStatus>, containers: &List<Container>) {
    for (i, status) in statuses.iter().enumerate() {
        let item = at.index(i);
        let list = item.child("allocatedResourcesStatus");
        let container = containers.iter().find(|c| c.name == status.name);
        for (j, resource) in status.allocated_resources_status.iter().enumerate() {
            let at = list.index(j);
            if let Some(problem) = container.and_then(|c| unknown(c, &resource.name)) {
                e.invalid(&at.child("name"), &resource.name, problem);
            }
            devices(e, &at.child("resources"), &resource.resources);
        }
    }
}

/// Why a container does not have a resource of that name.
fn unknown(container: &Container, name: &str) -> Option<&'static str> {
    let Some(claim) = name.strip_prefix("claim:") else {
        let known = container.resources.requests.contains_key(name);
        return (!known).then_some("must match one of the container's resource requests");
    };
    let names = |c: &ResourceClaim| match c.request.as_str() {
        "" => c.name == claim,
        request => claim.split_once('/') == Some((c.name.as_str(), request)),
    };
    let known = container.resources.claims.iter().any(names);
    (!known).then_some("must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")
}

fn devices(e: &mut Errs, at: &Path<'_>, devices: &List<ResourceHealth>) {
    let mut seen = BTreeSet::new();
    for (i, device) in devices.iter().enumerate() {
        let at = at.index(i);
        e.one_of(&at.child("health"), &device.health, &["Healthy", "Unhealthy", "Unknown"]);
        match &device.message {
            Some(message) if message.is_empty() => {
                e.required(&at.child("message"), "must be non-empty if specified");
            }
            Some(message) if message.len() > MESSAGE_BYTES_MAX => {
                e.too_long(&at.child("message"), MESSAGE_BYTES_MAX);
            }
            _ => {}
        }
        if !seen.insert(&device.resource_id) {
            e.duplicate(&at.child("resourceID"), &device.resource_id);
        }
    }
}

/// Takes the fields of disabled features out of a status: DRANodeAllocatableResources and ImageVolumeWithDigest.
pub(super) fn drop_disabled(status: &mut PodStatus) {
    status.node_allocatable_resource_claim_statuses = List::new();
    let lists = [
        &mut status.container_statuses,
        &mut status.init_container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    for mount in lists.into_iter().flatten().flat_map(|status| status.volume_mounts.iter_mut()) {
        mount.volume_status = None;
    }
}
