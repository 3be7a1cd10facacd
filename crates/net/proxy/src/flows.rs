//! UDP has no end of connection: the kernel keeps sending a client's packets to the endpoint of its flow even when that endpoint is
//! gone or the service had none when the flow began. So when UDP endpoints change, flows that lead elsewhere than the service
//! does now are forgotten, and their next packet is balanced anew.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use netlink::conntrack::Flow;
use netlink::{Error, Socket};

use crate::endpoints::choose;
use crate::spec::{NodeSpec, Protocol, SliceSpec, Snapshot};

/// Where the UDP flows of services may lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpView {
    fronts: HashMap<SocketAddr, HashSet<SocketAddr>>,
    node_ports: HashMap<u16, HashSet<SocketAddr>>,
}

impl UdpView {
    /// The view of a snapshot.
    pub fn new(snapshot: &Snapshot, node: &NodeSpec) -> UdpView {
        let mut view = UdpView::default();
        let mut by_service: HashMap<(&str, &str), Vec<&SliceSpec>> = HashMap::new();
        for slice in &snapshot.slices {
            by_service.entry((&slice.namespace, &slice.service)).or_default().push(slice);
        }
        for service in &snapshot.services {
            let slices = by_service.get(&(service.namespace.as_str(), service.name.as_str()));
            let slices = slices.map(Vec::as_slice).unwrap_or_default();
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
                for cluster_ip in &service.cluster_ips {
                    let is_v6 = cluster_ip.is_ipv6();
                    let chosen = choose(service, port, slices, node, is_v6);
                    let all: HashSet<_> = chosen.cluster.into_iter().chain(chosen.local).collect();
                    let more = service.external_ips.iter().chain(&service.load_balancer_ips);
                    for ip in std::iter::once(cluster_ip).chain(more.filter(|ip| ip.is_ipv6() == is_v6)) {
                        view.fronts.entry(SocketAddr::new(*ip, port.port)).or_insert_with(|| all.clone());
                    }
                    if let Some(node_port) = port.node_port {
                        view.node_ports.entry(node_port).or_default().extend(&all);
                    }
                }
            }
        }
        view
    }

    /// Whether a flow goes to a service, but not to an endpoint that it has. `own` are this node's addresses.
    pub fn is_stale(&self, flow: &Flow, own: &HashSet<IpAddr>) -> bool {
        let target = SocketAddr::new(flow.original.destination, flow.original.destination_port);
        let endpoint = SocketAddr::new(flow.reply.source, flow.reply.source_port);
        let node_port = || self.node_ports.get(&target.port()).filter(|_| own.contains(&target.ip()));
        self.fronts.get(&target).or_else(node_port).is_some_and(|endpoints| !endpoints.contains(&endpoint))
    }

    /// Makes the kernel forget stale flows.
    pub fn forget_stale(&self) -> Result<(), Error> {
        if self.fronts.is_empty() {
            return Ok(());
        }
        let own = Socket::route()?.addresses()?.iter().map(|address| address.net.addr()).collect();
        let mut socket = Socket::netfilter()?;
        for flow in socket.flows(Protocol::Udp.number())?.iter().filter(|flow| self.is_stale(flow, &own)) {
            socket.delete_flow(flow)?;
        }
        Ok(())
    }
}
