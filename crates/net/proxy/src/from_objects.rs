//! From the API's Services and EndpointSlices to the proxy's input. Objects that are not this proxy's business (headless and
//! ExternalName services, those given to another proxy by label) give nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use informer::{Cache, Change};
use parking_lot::Mutex;
use tokio::sync::watch;
use types::core::v1::Service;
use types::discovery::v1::{Endpoint, EndpointSlice};

use crate::spec::{
    EndpointPort, EndpointSpec, Protocol, ServicePort, ServiceSpec, SliceSpec, Snapshot, TrafficPolicy,
};

/// Label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label that hands a service to another proxy.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// Label of slices of headless services.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// What `ClientIP` affinity lasts by default, in seconds.
const AFFINITY_SECS: i32 = 10800;

/// The proxy's view of a Service; `None` if it is not to be proxied.
pub fn service(object: &Service) -> Option<ServiceSpec> {
    let (meta, spec) = (&object.metadata, &object.spec);
    if spec.type_ == "ExternalName" || meta.labels.contains_key(OTHER_PROXY) {
        return None;
    }
    let mut cluster_ips = addresses(spec.cluster_ips.iter().map(|ip| ip.as_str()));
    if cluster_ips.is_empty() {
        cluster_ips = addresses(std::iter::once(spec.cluster_ip.as_str()));
    }
    if cluster_ips.is_empty() {
        return None;
    }
    let ingress = object.status.load_balancer.ingress.iter();
    let vip = ingress.filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    let timeout = || {
        let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let secs = client_ip.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECS);
        u32::try_from(secs).unwrap_or(AFFINITY_SECS.unsigned_abs())
    };
    let ports = spec.ports.iter().filter_map(|port| {
        Some(ServicePort {
            name: port.name.to_string(),
            protocol: Protocol::parse(&port.protocol)?,
            port: number(port.port)?,
            node_port: number(port.node_port),
        })
    });
    let ranges = spec.load_balancer_source_ranges.iter().filter_map(|range| range.trim().parse().ok());
    Some(ServiceSpec {
        namespace: meta.namespace.to_string(),
        name: meta.name.to_string(),
        cluster_ips,
        ports: ports.collect(),
        external_ips: addresses(spec.external_ips.iter().map(|ip| ip.as_str())),
        load_balancer_ips: addresses(vip.map(|ingress| ingress.ip.as_str())),
        load_balancer_source_ranges: ranges.collect(),
        affinity_timeout_secs: (spec.session_affinity == "ClientIP").then(timeout),
        internal_traffic_policy: policy(spec.internal_traffic_policy.as_deref().unwrap_or_default()),
        external_traffic_policy: policy(&spec.external_traffic_policy),
        health_check_node_port: number(spec.health_check_node_port),
        // Hints are there only where the service asked for them.
        use_hints: true,
    })
}

/// The proxy's view of an EndpointSlice; `None` if no proxied service can use it.
pub fn slice(object: &EndpointSlice) -> Option<SliceSpec> {
    let labels = &object.metadata.labels;
    let service = labels.get(SERVICE_NAME)?;
    if object.address_type == "FQDN" || labels.contains_key(OTHER_PROXY) || labels.contains_key(HEADLESS) {
        return None;
    }
    let ports = object.ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.as_deref().unwrap_or_default().to_owned(),
            protocol: Protocol::parse(port.protocol.as_deref().unwrap_or_default())?,
            port: number(port.port?)?,
        })
    });
    Some(SliceSpec {
        namespace: object.metadata.namespace.to_string(),
        name: object.metadata.name.to_string(),
        service: service.to_string(),
        ports: ports.collect(),
        endpoints: object.endpoints.iter().filter_map(endpoint).collect(),
    })
}

fn endpoint(object: &Endpoint) -> Option<EndpointSpec> {
    let conditions = &object.conditions;
    let ready = conditions.ready.unwrap_or(true);
    let hints = object.hints.as_deref();
    Some(EndpointSpec {
        address: object.addresses.first()?.parse().ok()?,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node_name: object.node_name.as_deref().unwrap_or_default().to_owned(),
        zone_hints: hints
            .map(|h| h.for_zones.iter().map(|zone| zone.name.to_string()).collect())
            .unwrap_or_default(),
        node_hints: hints
            .map(|h| h.for_nodes.iter().map(|node| node.name.to_string()).collect())
            .unwrap_or_default(),
    })
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn policy(word: &str) -> TrafficPolicy {
    if word == "Local" { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

/// All objects seen so far, from which snapshots are taken.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    services: BTreeMap<(String, String), ServiceSpec>,
    slices: BTreeMap<(String, String), SliceSpec>,
}

impl Objects {
    /// Adds or replaces a Service. Tells whether anything changed for the proxy.
    pub fn set_service(&mut self, object: &Service) -> bool {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        replace(&mut self.services, namespace, name, service(object))
    }

    /// Removes a Service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) -> bool {
        replace(&mut self.services, namespace, name, None)
    }

    /// Adds or replaces an EndpointSlice.
    pub fn set_slice(&mut self, object: &EndpointSlice) -> bool {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        replace(&mut self.slices, namespace, name, slice(object))
    }

    /// Removes an EndpointSlice.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) -> bool {
        replace(&mut self.slices, namespace, name, None)
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            services: self.services.values().cloned().collect(),
            slices: self.slices.values().cloned().collect(),
        }
    }
}

/// Objects that change while a proxy reads them; it hears of changes through a channel, however many, once.
#[derive(Debug)]
pub struct SharedObjects {
    objects: Mutex<Objects>,
    changes: watch::Sender<u64>,
}

impl SharedObjects {
    /// No objects.
    pub fn new() -> Arc<SharedObjects> {
        Arc::new(SharedObjects { objects: Mutex::default(), changes: watch::Sender::new(0) })
    }

    /// Objects that follow the caches for as long as somebody holds them. They are whole once both caches are in sync.
    pub fn follow(services: &Cache<Service>, slices: &Cache<EndpointSlice>) -> Arc<SharedObjects> {
        let shared = SharedObjects::new();
        let weak = Arc::downgrade(&shared);
        services.subscribe(move |change| {
            let Some(shared) = weak.upgrade() else { return };
            shared.change(|objects| match change {
                Change::Deleted(gone) => {
                    objects.remove_service(&gone.metadata.namespace, &gone.metadata.name)
                }
                Change::Added(now) | Change::Updated { new: now, .. } => objects.set_service(now),
            });
        });
        let weak = Arc::downgrade(&shared);
        slices.subscribe(move |change| {
            let Some(shared) = weak.upgrade() else { return };
            shared.change(|objects| match change {
                Change::Deleted(gone) => objects.remove_slice(&gone.metadata.namespace, &gone.metadata.name),
                Change::Added(now) | Change::Updated { new: now, .. } => objects.set_slice(now),
            });
        });
        shared
    }

    /// Changes the objects; `change` tells whether it matters to the proxy.
    pub fn change(&self, change: impl FnOnce(&mut Objects) -> bool) {
        if change(&mut self.objects.lock()) {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.objects.lock().snapshot()
    }

    /// Tells of changes from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn replace<T: PartialEq>(
    map: &mut BTreeMap<(String, String), T>,
    namespace: &str,
    name: &str,
    new: Option<T>,
) -> bool {
    let key = (namespace.to_owned(), name.to_owned());
    match new {
        Some(new) if map.get(&key) == Some(&new) => false,
        Some(new) => {
            map.insert(key, new);
            true
        }
        None => map.remove(&key).is_some(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use meta::Codec;

    fn read<T: Codec>(json: serde_json::Value) -> T {
        meta::from_value(json).expect("a valid object")
    }

    #[test]
    fn services() {
        let object: Service = read(serde_json::json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"],
                "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
                "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
                "loadBalancerSourceRanges": ["192.0.2.0/24"], "externalIPs": ["198.51.100.1"],
            },
            "status": {"loadBalancer": {"ingress": [
                {"ip": "203.0.113.1", "ipMode": "VIP"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}, {"hostname": "lb.example"}, {"ip": "203.0.113.3"},
            ]}},
        }));
        let spec = service(&object).expect("proxied");
        assert_eq!(spec.cluster_ips.len(), 2);
        assert_eq!(spec.load_balancer_ips, addresses(["203.0.113.1", "203.0.113.3"].into_iter()));
        assert_eq!((spec.affinity_timeout_secs, spec.health_check_node_port), (Some(10800), Some(31000)));
        assert_eq!(spec.external_traffic_policy, TrafficPolicy::Local);
        assert_eq!((spec.ports[0].node_port, spec.ports[1].node_port), (Some(30080), None));
        assert_eq!(spec.ports[1].protocol, Protocol::Udp);
        for not_ours in [
            serde_json::json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
            serde_json::json!({"spec": {"type": "ExternalName", "externalName": "example.org"}}),
            serde_json::json!({"spec": {"ports": [{"port": 80}]}}),
            serde_json::json!({"metadata": {"labels": {OTHER_PROXY: "x"}}, "spec": {"clusterIP": "10.96.0.2"}}),
        ] {
            assert_eq!(service(&read(not_ours.clone())), None, "{not_ours}");
        }
    }

    #[test]
    fn slices() {
        let object: EndpointSlice = read(serde_json::json!({
            "metadata": {"namespace": "default", "name": "web-x", "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "none"}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "a", "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "a"}]}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["not an address"]},
            ],
        }));
        let spec = slice(&object).expect("used");
        assert_eq!((spec.service.as_str(), spec.ports.len(), spec.endpoints.len()), ("web", 1, 2));
        let [first, second] = spec.endpoints.as_slice() else { panic!("two endpoints") };
        assert!(first.ready && first.serving && !first.terminating && first.node_name == "a");
        assert_eq!(
            (first.zone_hints.as_slice(), first.node_hints.as_slice()),
            (&["z".to_owned()][..], &["a".to_owned()][..])
        );
        assert!(!second.ready && second.serving && second.terminating);
        let mut objects = Objects::default();
        assert!(objects.set_slice(&object));
        assert!(!objects.set_slice(&object), "nothing new");
        assert!(objects.remove_slice("default", "web-x"));
        assert!(!objects.remove_slice("default", "web-x"));
        let mut other = object.clone();
        other.metadata.labels = Default::default();
        assert_eq!(slice(&other), None);
    }
}
