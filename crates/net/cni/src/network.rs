//! The pod network of one node: opening it, adding and removing pods, taking all of it down. Every step is repeatable: after a
//! crash anywhere, doing it again ends in the same state.
//!
//! Calls block for about a millisecond (netlink and one small file); async callers use `spawn_blocking`.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use netlink::Socket;
use netlink::route::{Link, Route};
use parking_lot::Mutex;

use crate::backend::{self, Backend, Peer};
use crate::config::{Config, MAX_PREFIX, PodRequest};
use crate::ipam::{self, Ipam, Lease};
use crate::link::{self, ROUTE_PROTOCOL};
use crate::{rules, sysctl};

/// Packet size when no link tells a better one, in bytes.
const DEFAULT_MTU: u32 = 1500;

/// Why the network could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work; retrying does not help.
    #[error("pod network: {0}")]
    Config(String),
    /// An address could not be given or its file not written.
    #[error(transparent)]
    Ipam(#[from] ipam::Error),
    /// The kernel refused.
    #[error("pod network: {action}: {source}")]
    Kernel {
        /// What was being done.
        action: String,
        /// Why not.
        source: netlink::Error,
    },
    /// A setting under `/proc/sys/net` could not be written (no root, or a read-only `/proc/sys`).
    #[error("pod network: {action}: {source}")]
    Sysctl {
        /// What was being done.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Another pod of this node holds the host port. Helps: removing that pod.
    #[error("host port {protocol} {port} is in use by pod {holder}")]
    HostPortTaken {
        /// Protocol.
        protocol: crate::Protocol,
        /// The port.
        port: u16,
        /// `namespace/name` of the pod that has it.
        holder: String,
    },
}

fn kernel(action: impl Into<String>) -> impl FnOnce(netlink::Error) -> Error {
    let action = action.into();
    move |source| Error::Kernel { action, source }
}

/// The network of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// Its addresses, in the order of the node's ranges (`status.podIPs`).
    pub ips: Vec<IpAddr>,
    /// Its link's name inside, `eth0`.
    pub interface: &'static str,
    /// Its link's name on the node.
    pub node_link: String,
    /// Largest packet in bytes.
    pub mtu: u32,
}

/// The pod network of this node.
pub struct Network {
    config: Config,
    mtu: u32,
    backend: Box<dyn Backend>,
    state: Mutex<State>,
}

/// What changes; held while the kernel is told, so that two changes never interleave.
struct State {
    ipam: Ipam,
    applied: Option<netlink::nft::Ruleset>,
    peers: Vec<Peer>,
}

impl Network {
    /// Prepares the node in the calling thread's network namespace: forwarding, the node's own address in each range, the route
    /// to Services, masquerading; and adopts what an earlier process left.
    pub fn open(config: Config, backend: Box<dyn Backend>) -> Result<Network, Error> {
        check(&config)?;
        let mut socket = Socket::route().map_err(kernel("open netlink"))?;
        let v6 = config.pod_cidrs.iter().any(|net| net.addr().is_ipv6());
        let sysctl = |action| move |source| Error::Sysctl { action, source };
        if config.pod_cidrs.iter().any(|net| net.addr().is_ipv4()) {
            sysctl::enable_ipv4_forwarding()
                .map_err(sysctl("turn on IPv4 forwarding (net.ipv4.ip_forward)"))?;
        }
        if v6 {
            sysctl::enable_ipv6_forwarding()
                .map_err(sysctl("turn on IPv6 forwarding (net.ipv6.conf.all.forwarding)"))?;
        }
        let links = socket.links().map_err(kernel("list links"))?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => default_mtu(&links, &socket.routes().map_err(kernel("list routes"))?),
        };
        prepare_loopback(&mut socket, &config, &links)?;
        let ipam = Ipam::open(&config.state_dir, &config.pod_cidrs)?;
        let state = Mutex::new(State { ipam, applied: None, peers: Vec::new() });
        let network = Network { config, mtu, backend, state };
        network.apply_rules(&mut network.state.lock())?;
        Ok(network)
    }

    /// Gives a sandbox its network. Asking again with the same `sandbox_id` returns (and repairs) what it has.
    pub fn add(&self, request: &PodRequest) -> Result<PodNetwork, Error> {
        let mut state = self.state.lock();
        let name = link::name(&self.config.link_prefix, &request.sandbox_id);
        let lease = match state.ipam.get(&request.sandbox_id) {
            Some(lease) => lease.clone(),
            None => {
                for port in &request.host_ports {
                    if let Some(holder) = state.ipam.host_port_holder(&request.sandbox_id, port) {
                        return Err(Error::HostPortTaken {
                            protocol: port.protocol,
                            port: port.host_port,
                            holder: format!("{}/{}", holder.namespace, holder.name),
                        });
                    }
                }
                let pod = (request.namespace.as_str(), request.name.as_str());
                state.ipam.allocate(&request.sandbox_id, pod, &name, &request.host_ports)?
            }
        };
        let result = self.connect(request, &lease).and_then(|()| self.apply_rules(&mut state));
        if let Err(error) = result {
            // Nothing half-made stays behind; failing to clean up is worth less than the first error.
            if let Err(more) = self.take_down(&mut state, &request.sandbox_id) {
                tracing::warn!(sandbox = %request.sandbox_id, error = %more, "cleaning up a failed pod network");
            }
            return Err(error);
        }
        Ok(PodNetwork { ips: lease.ips, interface: link::POD_LINK, node_link: lease.link, mtu: self.mtu })
    }

    /// Takes a sandbox's network away and frees its addresses. Fine when there is nothing, or when its namespace is gone.
    pub fn remove(&self, sandbox_id: &str) -> Result<(), Error> {
        self.take_down(&mut self.state.lock(), sandbox_id)
    }

    /// What sandboxes hold, for adoption after a restart: whoever is not wanted any more is to be removed.
    pub fn leases(&self) -> Vec<Lease> {
        self.state.lock().ipam.leases().cloned().collect()
    }

    /// The node's own address in each of its ranges: reachable from every pod and every node, where node services such as
    /// cluster DNS listen.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.config.pod_cidrs.iter().map(|range| ipam::gateway(*range)).collect()
    }

    /// Largest packet of pods in bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Makes the pods of the other nodes reachable, and those of nodes not listed unreachable. Call again when the node's own
    /// addresses change.
    pub fn set_peers(&self, peers: &[Peer]) -> Result<(), Error> {
        let mut state = self.state.lock();
        let mut socket = Socket::route().map_err(kernel("open netlink"))?;
        let own = socket.addresses().map_err(kernel("list addresses"))?;
        backend::sync(&mut socket, &self.backend.routes(peers, &own))
            .map_err(kernel("set routes to other nodes"))?;
        state.peers = peers.to_vec();
        Ok(())
    }

    /// Removes everything that a network with this configuration made in the calling thread's network namespace, whether or
    /// not it is open: links, routes, addresses, rules and address files. Forwarding stays as it is, for others may rely on it.
    pub fn reset(config: &Config) -> Result<(), Error> {
        check(config)?;
        let mut socket = Socket::route().map_err(kernel("open netlink"))?;
        for link in socket.links().map_err(kernel("list links"))? {
            if link.kind == "veth" && is_ours(&link.name, &config.link_prefix) {
                socket.delete_link(link.index).map_err(kernel(format!("delete link {}", link.name)))?;
            }
        }
        for route in socket.routes().map_err(kernel("list routes"))? {
            if route.protocol == ROUTE_PROTOCOL {
                socket.delete_route(&route).map_err(kernel(format!("delete route {}", route.destination)))?;
            }
        }
        if let Some(lo) = socket.link("lo").map_err(kernel("find lo"))? {
            // The node may have forgotten its own ranges by now: what is single and inside the cluster's is ours as well.
            let ranges: Vec<_> = config.pod_cidrs.iter().chain(&config.cluster_cidrs).collect();
            for own in socket.addresses().map_err(kernel("list addresses"))? {
                let single = own.net.prefix_len() == own.net.max_prefix_len();
                if own.link == lo.index && single && ranges.iter().any(|range| range.contains(&own.net)) {
                    let action = format!("delete address {}", own.net);
                    socket.delete_address(lo.index, own.net).map_err(kernel(action))?;
                }
            }
        }
        let mut netfilter = Socket::netfilter().map_err(kernel("open netlink"))?;
        netlink::nft::delete_table(&mut netfilter, &config.table).map_err(kernel("delete rules"))?;
        match std::fs::remove_dir_all(&config.state_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ipam::Error::Io { path: config.state_dir.clone(), source: error }.into())
            }
            _ => Ok(()),
        }
    }

    fn connect(&self, request: &PodRequest, lease: &Lease) -> Result<(), Error> {
        let mut socket = Socket::route().map_err(kernel("open netlink"))?;
        link::connect(&mut socket, &request.netns, &lease.link, &lease.ips, self.mtu)
            .map_err(kernel(format!("connect pod {}/{}", request.namespace, request.name)))
    }

    fn take_down(&self, state: &mut State, sandbox_id: &str) -> Result<(), Error> {
        let mut socket = Socket::route().map_err(kernel("open netlink"))?;
        let name = link::name(&self.config.link_prefix, sandbox_id);
        link::disconnect(&mut socket, &name).map_err(kernel(format!("delete link {name}")))?;
        // The address is freed last: nobody else may get it while a link still carries it.
        if state.ipam.release(sandbox_id)?.is_some_and(|lease| !lease.host_ports.is_empty()) {
            self.apply_rules(state)?;
        }
        Ok(())
    }

    fn apply_rules(&self, state: &mut State) -> Result<(), Error> {
        let wanted = rules::plan(&self.config, state.ipam.leases());
        if state.applied.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let mut socket = Socket::netfilter().map_err(kernel("open netlink"))?;
        netlink::nft::apply(&mut socket, state.applied.as_ref(), &wanted)
            .map_err(kernel("set nftables rules"))?;
        state.applied = Some(wanted);
        Ok(())
    }
}

fn check(config: &Config) -> Result<(), Error> {
    let refuse = |text: String| Err(Error::Config(text));
    let prefix = &config.link_prefix;
    if prefix.is_empty()
        || prefix.len() > MAX_PREFIX
        || !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return refuse(format!("link prefix {prefix:?} must be 1 to {MAX_PREFIX} letters, digits or '-'"));
    }
    if config.state_dir == PathBuf::new() {
        return refuse("no directory for addresses".to_owned());
    }
    for (v4, family) in [(true, "IPv4"), (false, "IPv6")] {
        if config.pod_cidrs.iter().filter(|net| net.addr().is_ipv4() == v4).count() > 1 {
            return refuse(format!("more than one {family} range for pods"));
        }
    }
    match config.pod_cidrs.iter().find(|net| net.max_prefix_len() - net.prefix_len() < 2) {
        Some(small) => refuse(format!("range {small} has no room for pods")),
        None => Ok(()),
    }
}

/// Whether a link's name has the form that [`link::name`] gives.
fn is_ours(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn default_mtu(links: &[Link], routes: &[Route]) -> u32 {
    let default = routes.iter().find(|route| route.destination.prefix_len() == 0);
    let carrier = default.and_then(|route| links.iter().find(|link| link.index == route.link));
    // Without a default route the smallest physical link decides, because that is where packets may have to go.
    let smallest = || links.iter().filter(|link| link.name != "lo" && link.up).map(|link| link.mtu).min();
    carrier.map(|link| link.mtu).or_else(smallest).unwrap_or(DEFAULT_MTU)
}

/// `lo` carries the node's own address in each range.
fn prepare_loopback(socket: &mut Socket, config: &Config, links: &[Link]) -> Result<(), Error> {
    let lo = links.iter().find(|link| link.name == "lo");
    let lo = lo.ok_or_else(|| Error::Config("this network namespace has no loopback link".to_owned()))?.index;
    socket.set_up(lo).map_err(kernel("bring up lo"))?;
    for range in &config.pod_cidrs {
        let own = IpNet::from(ipam::gateway(*range));
        socket.add_address(lo, own).map_err(kernel(format!("add address {own}")))?;
    }
    for services in &config.service_cidrs {
        // An IPv6 route needs IPv6 in the kernel, which a node with only IPv4 pods may lack.
        let is_v4 = services.addr().is_ipv4();
        if is_v4 || config.pod_cidrs.iter().any(|net| net.addr().is_ipv6()) {
            route_services(socket, config, services.trunc(), lo)?;
        }
    }
    Ok(())
}

/// A route to Services, on the link with the node's address. No packet really leaves by it: rules change its destination or reject
/// it first. The route is what lets a node without a default route send such packets at all. (A route on `lo` would do for that,
/// but the kernel takes its destinations for local ones and then cannot send rejections.)
fn route_services(socket: &mut Socket, config: &Config, services: IpNet, lo: u32) -> Result<(), Error> {
    let same_family = |ip: &IpAddr| ip.is_ipv4() == services.addr().is_ipv4();
    let addresses = socket.addresses().map_err(kernel("list addresses"))?;
    let node_ip = config.node_ips.iter().copied().find(same_family);
    let carrier = addresses.iter().find(|address| Some(address.net.addr()) == node_ip);
    let route = Route {
        destination: services,
        gateway: None,
        link: carrier.map_or(lo, |address| address.link),
        source: carrier.map(|address| address.net.addr()),
        protocol: ROUTE_PROTOCOL,
    };
    socket.set_route(&route).map_err(kernel(format!("set route to services {services}")))
}
