//! Extended resources that devices stand behind (KEP-5004): a pod asks for `example.com/gpu: 2`, a DeviceClass says that
//! its devices are that resource, and on nodes which do not offer it themselves the pod gets a claim of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use meta::{ObjectMeta, OwnerReference, Str};
use types::core::v1::{Container, ContainerExtendedResourceRequest, Pod};
use types::resource::v1::{DeviceClaim, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec};

use crate::cluster::Cluster;
use crate::plugins::fit::is_extended;
use crate::pod_info::PodInfo;
use crate::snapshot::NodeRow;

/// The resource that every class is, without being asked: this and its name.
pub const CLASS_PREFIX: &str = "deviceclass.resource.kubernetes.io/";
/// Marks the claims that are made for extended resources.
pub const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";

/// Whether devices may stand behind a resource of this name.
pub fn is_eligible(name: &str) -> bool {
    is_extended(name) || name.starts_with(CLASS_PREFIX)
}

/// Whether the node leaves the resource to devices.
pub fn is_delegated(cluster: &Cluster, row: &NodeRow, name: &str) -> bool {
    may_be_devices(cluster, row.allocatable.scalar(name), name)
}

/// The same for a node that has so much of the resource itself.
pub fn may_be_devices(cluster: &Cluster, offered: i64, name: &str) -> bool {
    offered == 0 && is_eligible(name) && cluster.extended_class(name).is_some()
}

/// Whether devices stand behind something that the pod asks for.
pub fn concerns(pod: &PodInfo, cluster: &Cluster) -> bool {
    let mut asked = pod.requests.scalars.iter().filter(|(_, amount)| *amount != 0);
    asked.any(|(name, _)| is_eligible(name) && cluster.extended_class(name).is_some())
}

/// The resources that devices have to provide on a node.
///
/// # Errors
/// The node has nothing of a resource, and no device stands behind it.
pub(super) fn wanted(pod: &PodInfo, cluster: &Cluster, row: &NodeRow) -> Result<BTreeSet<Str>, &'static str> {
    let mut names = BTreeSet::new();
    for (name, _) in pod.requests.scalars.iter().filter(|(name, amount)| *amount != 0 && is_eligible(name)) {
        if is_delegated(cluster, row, name) {
            names.insert(name.clone());
        } else if !row.allocatable.scalars.iter().any(|(other, _)| other == name) {
            return Err("cannot fit resource");
        }
    }
    Ok(names)
}

/// The claim that the pod gets for these resources, as it is before it is created. Its name is no name that the API
/// takes: until then it exists here only.
pub(super) fn claim(pod: &Pod, names: &BTreeSet<Str>, cluster: &Cluster) -> ResourceClaim {
    let metadata = ObjectMeta {
        name: format!("<extended-resources>{}", pod.metadata.uid).into(),
        uid: format!("<extended-resources>{}", pod.metadata.uid).into(),
        generate_name: format!("{}-extended-resources-", pod.metadata.name).into(),
        namespace: pod.metadata.namespace.clone(),
        annotations: [(Str::from(ANNOTATION), Str::from("true"))].into_iter().collect(),
        owner_references: [OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            controller: Some(true),
            ..OwnerReference::default()
        }]
        .into_iter()
        .collect(),
        ..ObjectMeta::default()
    };
    let (requests, _) = requests(pod, names, cluster);
    let devices = DeviceClaim { requests: requests.into_iter().collect(), ..DeviceClaim::default() };
    ResourceClaim { metadata, spec: ResourceClaimSpec { devices }, ..ResourceClaim::default() }
}

/// Whether the claim exists here only.
pub fn is_unborn(claim: &ResourceClaim) -> bool {
    claim.metadata.name.starts_with('<')
}

/// Which request of the claim each container's resource is met by.
pub fn mappings(
    pod: &Pod,
    claim: &ResourceClaim,
    cluster: &Cluster,
) -> Vec<ContainerExtendedResourceRequest> {
    let wanted = |class: &Str| {
        claim.spec.devices.requests.iter().any(|request| {
            request.exactly.as_ref().is_some_and(|exactly| exactly.device_class_name == *class)
        })
    };
    let containers = pod.spec.init_containers.iter().chain(pod.spec.containers.iter());
    let names: BTreeSet<Str> = containers
        .flat_map(|container| container.resources.requests.iter().map(|(name, _)| name.clone()))
        .filter(|name| {
            is_eligible(name)
                && cluster.extended_class(name).is_some_and(|class| wanted(&class.metadata.name))
        })
        .collect();
    requests(pod, &names, cluster).1
}

type Mapping = ContainerExtendedResourceRequest;

/// What one container needs of a resource: whole devices, those of `reusable` requests first.
fn container_request(
    at: usize,
    container: &Container,
    resource: &Str,
    class: &Arc<types::resource::v1::DeviceClass>,
    reusable: &[Option<DeviceRequest>],
) -> (Option<DeviceRequest>, Vec<Mapping>) {
    let requests = &container.resources.requests;
    let Some(count) = requests.get(resource).map(|amount| amount.value()).filter(|count| *count != 0) else {
        return (None, Vec::new());
    };
    let mapping = |request: &Str| Mapping {
        container_name: container.name.clone(),
        resource_name: resource.clone(),
        request_name: request.clone(),
    };
    let mut mappings = Vec::new();
    let mut reused = 0;
    for request in reusable.iter().flatten() {
        reused += request.exactly.as_ref().map_or(0, |exactly| exactly.count);
        mappings.push(mapping(&request.name));
        if reused >= count {
            return (None, mappings);
        }
    }
    let mut names: Vec<&Str> = requests.iter().map(|(name, _)| name).collect();
    names.sort();
    let place = names.iter().position(|name| *name == resource).unwrap_or(0);
    let name = Str::from(format!("container-{at}-request-{place}"));
    mappings.push(mapping(&name));
    let exactly = ExactDeviceRequest {
        device_class_name: class.metadata.name.clone(),
        allocation_mode: "ExactCount".into(),
        count: count - reused,
        ..ExactDeviceRequest::default()
    };
    let request = DeviceRequest { name, exactly: Some(Box::new(exactly)), ..DeviceRequest::default() };
    (Some(request), mappings)
}

/// The requests for all containers, and which request meets what. Init containers that end before the others start share
/// the devices of later containers, and one request among themselves.
fn requests(pod: &Pod, names: &BTreeSet<Str>, cluster: &Cluster) -> (Vec<DeviceRequest>, Vec<Mapping>) {
    let first = pod.spec.init_containers.len();
    let containers: Vec<&Container> =
        pod.spec.init_containers.iter().chain(pod.spec.containers.iter()).collect();
    let is_brief = |at: usize| at < first && !rules::amounts::is_sidecar(containers[at]);
    let (mut all, mut mappings) = (Vec::new(), Vec::new());
    for resource in names {
        let Some(class) = cluster.extended_class(resource) else { continue };
        let mut lasting: Vec<Option<DeviceRequest>> = vec![None; containers.len()];
        for at in (0..containers.len()).filter(|at| !is_brief(*at)) {
            let (request, own) = container_request(at, containers[at], resource, class, &[]);
            lasting[at] = request;
            mappings.extend(own);
        }
        let mut largest: Option<DeviceRequest> = None;
        let (mut brief_names, mut brief) = (BTreeSet::new(), Vec::new());
        let count = |request: &DeviceRequest| request.exactly.as_ref().map_or(0, |exactly| exactly.count);
        for at in (0..containers.len()).filter(|at| is_brief(*at)) {
            let (request, own) = container_request(at, containers[at], resource, class, &lasting[at..]);
            brief.extend(own);
            let Some(request) = request else { continue };
            brief_names.insert(request.name.clone());
            if largest.as_ref().is_none_or(|largest| count(largest) < count(&request)) {
                largest = Some(request);
            }
        }
        if let Some(largest) = &largest {
            for mapping in brief.iter_mut().filter(|one| brief_names.contains(&one.request_name)) {
                mapping.request_name = largest.name.clone();
            }
        }
        mappings.extend(brief);
        all.extend(largest);
        all.extend(lasting.into_iter().flatten());
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    (all, mappings)
}
