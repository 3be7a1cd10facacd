//! From pods to addresses and ports.

use std::net::IpAddr;

use meta::{IntOrString, Str};
use types::core::v1::{ObjectReference, Pod, Service, ServicePort};

use crate::common::pods;

/// Whether the pod can stand behind a Service at all.
pub(super) fn takes_part(pod: &Pod, with_terminating: bool) -> bool {
    let addressed = !pod.status.pod_ip.is_empty() || !pod.status.pod_ips.is_empty();
    !pods::is_finished(pod) && addressed && (with_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses of one family, in the usual spelling.
pub(super) fn addresses(pod: &Pod, ipv6: bool) -> impl Iterator<Item = Str> {
    pod.status.pod_ips.iter().filter_map(move |address| {
        let ip: IpAddr = address.ip.parse().ok()?;
        (ip.is_ipv6() == ipv6).then(|| Str::from(ip.to_string()))
    })
}

/// Whether DNS gives the pod a name of its own below the Service.
pub(super) fn has_hostname(pod: &Pod, service: &Service) -> bool {
    !pod.spec.hostname.is_empty()
        && pod.spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace
}

/// The pod's port that the Service's port leads to; a name may stand for different numbers in different pods.
pub(super) fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(name) => name,
    };
    let sidecars = pod.spec.init_containers.iter().filter(|container| rules::amounts::is_sidecar(container));
    let mut ports = pod.spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter());
    ports
        .find(|found| found.name == *name && found.protocol == port.protocol)
        .map(|found| found.container_port)
}

/// The reference by which an address names its pod.
pub(super) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: "Pod".into(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
