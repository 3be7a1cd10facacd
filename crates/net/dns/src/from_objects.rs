//! From the API's Services, EndpointSlices and Namespaces to the zone.

use std::net::IpAddr;
use std::sync::Arc;

use informer::{Cache, Change};
use types::core::v1 as core;
use types::discovery::v1::EndpointSlice;

use crate::server::SharedZone;
use crate::zone::{Endpoint, Port, Service, Slice, Zone};

/// Label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// `clusterIP` of a headless service.
const HEADLESS: &str = "None";

/// Keeps `zone` like the caches, for as long as somebody holds it. It is whole once they are in sync.
pub fn follow(
    zone: &SharedZone,
    services: &Cache<core::Service>,
    slices: &Cache<EndpointSlice>,
    namespaces: &Cache<core::Namespace>,
) {
    let weak = Arc::downgrade(zone);
    services.subscribe(move |change| {
        let Some(zone) = weak.upgrade() else { return };
        match change {
            Change::Deleted(gone) => {
                zone.write().remove_service(&gone.metadata.namespace, &gone.metadata.name)
            }
            Change::Added(now) | Change::Updated { new: now, .. } => zone.write().apply_service(now),
        }
    });
    let weak = Arc::downgrade(zone);
    slices.subscribe(move |change| {
        let Some(zone) = weak.upgrade() else { return };
        match change {
            Change::Deleted(gone) => zone.write().remove_slice(&gone.metadata.namespace, &gone.metadata.name),
            Change::Added(now) | Change::Updated { new: now, .. } => zone.write().apply_slice(now),
        }
    });
    let weak = Arc::downgrade(zone);
    namespaces.subscribe(move |change| {
        let Some(zone) = weak.upgrade() else { return };
        match change {
            Change::Deleted(gone) => zone.write().remove_namespace(&gone.metadata.name),
            Change::Added(now) | Change::Updated { new: now, .. } => {
                zone.write().set_namespace(&now.metadata.name)
            }
        }
    });
}

impl Zone {
    /// Takes over a Service as it is now.
    pub fn apply_service(&mut self, object: &core::Service) {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        match service(object) {
            Some(service) => self.set_service(namespace, name, service),
            None => self.remove_service(namespace, name),
        }
    }

    /// Takes over an EndpointSlice as it is now.
    pub fn apply_slice(&mut self, object: &EndpointSlice) {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        match slice(object) {
            Some(slice) => self.set_slice(namespace, name, slice),
            None => self.remove_slice(namespace, name),
        }
    }
}

/// What DNS says of a Service; `None` while it has no address yet.
pub fn service(object: &core::Service) -> Option<Service> {
    let spec = &object.spec;
    let ports = spec.ports.iter().filter_map(|port| named_port(&port.name, &port.protocol, port.port));
    let mut service = Service {
        cluster_ips: spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        ports: ports.collect(),
        external_name: None,
        publish_not_ready: spec.publish_not_ready_addresses,
    };
    if spec.type_ == "ExternalName" {
        service.cluster_ips.clear();
        service.external_name = Some(spec.external_name.to_string());
        return Some(service);
    }
    if service.cluster_ips.is_empty() {
        service.cluster_ips.extend(spec.cluster_ip.parse::<IpAddr>().ok());
    }
    (spec.cluster_ip == HEADLESS || !service.cluster_ips.is_empty()).then_some(service)
}

/// What DNS says of an EndpointSlice; `None` if it belongs to no service.
pub fn slice(object: &EndpointSlice) -> Option<Slice> {
    let service = object.metadata.labels.get(SERVICE_NAME)?.to_string();
    let ports = object.ports.iter().filter_map(|port| {
        named_port(
            port.name.as_deref().unwrap_or_default(),
            port.protocol.as_deref().unwrap_or_default(),
            port.port?,
        )
    });
    let endpoints = object.endpoints.iter().map(|endpoint| Endpoint {
        addresses: endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        hostname: endpoint.hostname.as_deref().filter(|name| !name.is_empty()).map(str::to_owned),
        ready: endpoint.conditions.ready.unwrap_or(true),
    });
    Some(Slice { service, ports: ports.collect(), endpoints: endpoints.collect() })
}

fn named_port(name: &str, protocol: &str, port: i32) -> Option<Port> {
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    Some(Port { name: name.to_owned(), protocol, port: u16::try_from(port).ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn read<T: meta::Codec>(json: serde_json::Value) -> T {
        meta::from_value(json).expect("a valid object")
    }

    #[test]
    fn objects_become_entries_and_go_again() {
        let mut zone = Zone::new("cluster.local", 5).expect("a domain");
        let object = |spec| {
            read::<core::Service>(
                serde_json::json!({"metadata": {"namespace": "a", "name": "s"}, "spec": spec}),
            )
        };
        zone.apply_service(&object(
            serde_json::json!({"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]}),
        ));
        let entry = zone.entry("a", "s").and_then(|entry| entry.service.clone()).expect("a service");
        assert_eq!((entry.cluster_ips.len(), entry.ports[0].protocol.as_str()), (1, "tcp"));
        zone.apply_service(&object(
            serde_json::json!({"type": "ExternalName", "externalName": "example.org"}),
        ));
        let entry = zone.entry("a", "s").and_then(|entry| entry.service.clone()).expect("a service");
        assert_eq!((entry.external_name.as_deref(), entry.cluster_ips.len()), (Some("example.org"), 0));
        zone.apply_service(&object(serde_json::json!({"clusterIP": ""})));
        assert!(zone.entry("a", "s").is_none(), "not allocated yet");
        zone.apply_service(&object(serde_json::json!({"clusterIP": "None"})));
        zone.apply_slice(&read(serde_json::json!({
            "metadata": {"namespace": "a", "name": "s-1", "labels": {SERVICE_NAME: "s"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "hostname": "h"}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}],
        })));
        assert_eq!(zone.entry("a", "s").map(|entry| entry.endpoints().count()), Some(1));
        zone.apply_slice(&read(serde_json::json!({"metadata": {"namespace": "a", "name": "s-1"}})));
        assert_eq!(zone.entry("a", "s").map(|entry| entry.endpoints().count()), Some(0));
    }
}
