//! The API objects by which pods find cluster DNS: Service `kube-system/kube-dns`, and EndpointSlices that list the nodes' addresses, each
//! hinted for its own node, so that queries stay on the node where they are asked.

use std::net::IpAddr;

use meta::{Map, ObjectMeta, Str};
use types::core::v1::{Service, ServicePort};
use types::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice, ForNode};

/// Namespace of Service and slices.
pub const NAMESPACE: &str = "kube-system";
/// Name of the Service.
pub const NAME: &str = "kube-dns";
/// Who manages the slices (label `endpointslice.kubernetes.io/managed-by`).
pub const MANAGED_BY: &str = "dns.ferrokube.io";
/// Port of the Service.
const PORT: i32 = 53;

/// A node that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsNode {
    /// Name of the Node object.
    pub name: String,
    /// Where its server listens: its own address in each of its pod ranges.
    pub addresses: Vec<IpAddr>,
    /// Port of its server.
    pub port: u16,
    /// Whether it answers now.
    pub ready: bool,
}

fn labels(pairs: &[(&str, &str)]) -> Map<Str> {
    pairs.iter().map(|(key, value)| (Str::from(*key), Str::from(*value))).collect()
}

/// The Service, at `cluster_ips` (the first is `clusterIP`).
pub fn service(cluster_ips: &[IpAddr]) -> Service {
    let mut service = Service::default();
    service.metadata.namespace = NAMESPACE.into();
    service.metadata.name = NAME.into();
    service.metadata.labels = labels(&[
        ("k8s-app", NAME),
        ("kubernetes.io/cluster-service", "true"),
        ("kubernetes.io/name", "CoreDNS"),
    ]);
    let port = |name: &str, protocol: &str| ServicePort {
        name: name.into(),
        protocol: protocol.into(),
        port: PORT,
        target_port: meta::IntOrString::Int(PORT),
        ..ServicePort::default()
    };
    let spec = &mut service.spec;
    spec.type_ = "ClusterIP".into();
    spec.cluster_ips = cluster_ips.iter().map(|ip| Str::from(ip.to_string())).collect();
    spec.cluster_ip = spec.cluster_ips.first().cloned().unwrap_or_default();
    spec.ports = [port("dns", "UDP"), port("dns-tcp", "TCP")].into_iter().collect();
    spec.traffic_distribution = Some("PreferSameNode".into());
    service
}

/// The slices: one for each address family and port in use, in a stable order.
pub fn slices(nodes: &[DnsNode]) -> Vec<EndpointSlice> {
    let mut groups: Vec<(bool, u16)> =
        nodes.iter().flat_map(|node| node.addresses.iter().map(|ip| (ip.is_ipv6(), node.port))).collect();
    groups.sort_unstable();
    groups.dedup();
    groups.into_iter().map(|(is_v6, port)| slice(nodes, is_v6, port)).collect()
}

fn slice(nodes: &[DnsNode], is_v6: bool, port: u16) -> EndpointSlice {
    let family = if is_v6 { "ipv6" } else { "ipv4" };
    let metadata = ObjectMeta {
        namespace: NAMESPACE.into(),
        name: format!("{NAME}-{family}-{port}").into(),
        labels: labels(&[
            ("kubernetes.io/service-name", NAME),
            ("endpointslice.kubernetes.io/managed-by", MANAGED_BY),
        ]),
        ..ObjectMeta::default()
    };
    let one = |name: &str, protocol: &str| EndpointPort {
        name: Some(name.into()),
        protocol: Some(protocol.into()),
        port: Some(i32::from(port)),
        app_protocol: None,
    };
    let mut sorted: Vec<&DnsNode> = nodes.iter().filter(|node| node.port == port).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let endpoints = sorted.into_iter().filter_map(|node| {
        let address = node.addresses.iter().find(|ip| ip.is_ipv6() == is_v6)?;
        let mut endpoint = Endpoint {
            addresses: [Str::from(address.to_string())].into_iter().collect(),
            node_name: Some(node.name.as_str().into()),
            ..Endpoint::default()
        };
        endpoint.conditions.ready = Some(node.ready);
        endpoint.conditions.serving = Some(node.ready);
        endpoint.conditions.terminating = Some(false);
        let mut hints = EndpointHints::default();
        hints.for_nodes.push(ForNode { name: node.name.as_str().into() });
        endpoint.hints = Some(Box::new(hints));
        Some(endpoint)
    });
    EndpointSlice {
        metadata,
        address_type: if is_v6 { "IPv6".into() } else { "IPv4".into() },
        endpoints: endpoints.collect(),
        ports: [one("dns", "UDP"), one("dns-tcp", "TCP")].into_iter().collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::from_objects;

    #[test]
    fn every_node_is_an_endpoint_for_itself() {
        let node = |name: &str, addresses: &[&str]| DnsNode {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
            port: 53,
            ready: name != "c",
        };
        let nodes =
            [node("b", &["10.244.1.1", "fd00:1::1"]), node("a", &["10.244.0.1"]), node("c", &["10.244.2.1"])];
        let all = slices(&nodes);
        let names: Vec<_> =
            all.iter().map(|slice| (slice.metadata.name.as_str(), slice.endpoints.len())).collect();
        assert_eq!(names, [("kube-dns-ipv4-53", 3), ("kube-dns-ipv6-53", 1)]);
        let first = &all[0].endpoints[0];
        assert_eq!((first.node_name.as_deref(), first.addresses[0].as_str()), (Some("a"), "10.244.0.1"));
        assert_eq!(first.hints.as_ref().map(|hints| hints.for_nodes[0].name.as_str()), Some("a"));
        assert_eq!(all[0].endpoints[2].conditions.ready, Some(false));
        let seen =
            from_objects::service(&service(&["10.96.0.10".parse().expect("an address")])).expect("a service");
        assert_eq!((seen.cluster_ips.len(), seen.ports.len()), (1, 2));
    }
}
