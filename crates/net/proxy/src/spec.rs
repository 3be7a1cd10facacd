//! What the proxy needs to know of Services, EndpointSlices and its node: small plain structs, so that planning depends on
//! no API type and tests write them by hand.

use std::net::IpAddr;

use ipnet::IpNet;
pub use netlink::Protocol;

/// `internalTrafficPolicy` and `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficPolicy {
    /// Any endpoint.
    #[default]
    Cluster,
    /// Endpoints on the node that got the packet.
    Local,
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, empty when the service has a single unnamed port. Endpoint ports are matched by it.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port on the service's addresses.
    pub port: u16,
    /// Port on every node, if allocated.
    pub node_port: Option<u16>,
}

/// One Service with at least one cluster address. Headless and ExternalName services are not proxied: leave them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// At most one address of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses in `status.loadBalancer.ingress` whose `ipMode` is VIP.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Clients that may use the load balancer's addresses; empty means all.
    pub load_balancer_source_ranges: Vec<IpNet>,
    /// Time for which a client keeps its endpoint, in seconds, when `sessionAffinity` is `ClientIP`.
    pub affinity_timeout_secs: Option<u32>,
    /// For cluster addresses.
    pub internal_traffic_policy: TrafficPolicy,
    /// For node ports, external and load balancer addresses.
    pub external_traffic_policy: TrafficPolicy,
    /// Port that tells load balancers whether this node has endpoints (`externalTrafficPolicy: Local`).
    pub health_check_node_port: Option<u16>,
    /// Whether `trafficDistribution` (or the topology annotation) asks to heed the hints of endpoints.
    pub use_hints: bool,
}

/// One port of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointPort {
    /// Name of the service port.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port on the pod.
    pub port: u16,
}

/// One endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// First address; proxies use no other.
    pub address: IpAddr,
    /// `conditions.ready`, absent meaning true.
    pub ready: bool,
    /// `conditions.serving`, absent meaning `ready`.
    pub serving: bool,
    /// `conditions.terminating`, absent meaning false.
    pub terminating: bool,
    /// Node on which the endpoint runs, empty when unknown.
    pub node_name: String,
    /// `hints.forZones`.
    pub zone_hints: Vec<String>,
    /// `hints.forNodes`.
    pub node_hints: Vec<String>,
}

impl EndpointSpec {
    /// A ready endpoint without hints.
    pub fn ready(address: IpAddr, node_name: &str) -> EndpointSpec {
        EndpointSpec {
            address,
            ready: true,
            serving: true,
            terminating: false,
            node_name: node_name.to_owned(),
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
        }
    }
}

/// One EndpointSlice of address type IPv4 or IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceSpec {
    /// Namespace of slice and service.
    pub namespace: String,
    /// Name of the slice.
    pub name: String,
    /// Service that the label `kubernetes.io/service-name` names.
    pub service: String,
    /// Ports that every endpoint of the slice has.
    pub ports: Vec<EndpointPort>,
    /// Endpoints.
    pub endpoints: Vec<EndpointSpec>,
}

/// The node that runs this proxy, and the names it uses in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Name of the Node object.
    pub name: String,
    /// Label `topology.kubernetes.io/zone`, empty when unset.
    pub zone: String,
    /// Addresses of all pods of the cluster; traffic from elsewhere to a cluster address is masqueraded.
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges of cluster addresses; what is not a service there is rejected instead of leaving the node.
    pub service_cidrs: Vec<IpNet>,
    /// Name of the nftables table (family inet).
    pub table: String,
    /// Bit of the packet mark that asks for masquerading.
    pub masquerade_mark: u32,
    /// Whether node ports answer on 127.0.0.1 too; sets `route_localnet` and guards it.
    pub localhost_node_ports: bool,
}

impl Default for NodeSpec {
    fn default() -> NodeSpec {
        NodeSpec {
            name: String::new(),
            zone: String::new(),
            pod_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            table: "ferrokube-proxy".to_owned(),
            masquerade_mark: 0x4000,
            localhost_node_ports: true,
        }
    }
}

/// Everything the proxy acts on, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Services.
    pub services: Vec<ServiceSpec>,
    /// Their slices.
    pub slices: Vec<SliceSpec>,
}
