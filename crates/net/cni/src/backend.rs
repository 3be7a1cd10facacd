//! Routes to the pods of other nodes. Which routes there should be is decided by a [`Backend`] (pure); the difference to what
//! the kernel has is applied in one place ([`sync`]). [`HostGateway`] serves nodes that share a network segment; an
//! encapsulating backend has the same shape with another link and gateway.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink::route::{Address, Route};
use netlink::{Error, Socket};

use crate::link::ROUTE_PROTOCOL;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name of the Node object.
    pub name: String,
    /// Its internal addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ranges of pod addresses.
    pub pod_cidrs: Vec<IpNet>,
}

/// A way to reach the pods of other nodes.
pub trait Backend: Send + Sync {
    /// The routes for `peers`, given this node's addresses. Peers that cannot be reached this way are left out.
    fn routes(&self, peers: &[Peer], own: &[Address]) -> Vec<Route>;
}

/// Routes with the other node itself as next hop: no encapsulation, full packet size; nodes must share a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostGateway;

impl Backend for HostGateway {
    fn routes(&self, peers: &[Peer], own: &[Address]) -> Vec<Route> {
        let mut routes = Vec::new();
        for peer in peers {
            for destination in &peer.pod_cidrs {
                let is_v4 = destination.addr().is_ipv4();
                // A next hop must be a direct neighbour: inside the network of one of this node's addresses.
                let hop =
                    peer.addresses.iter().filter(|address| address.is_ipv4() == is_v4).find_map(|address| {
                        let shared =
                            own.iter().find(|own| own.net.contains(address) && own.net.addr() != *address)?;
                        Some((*address, shared.link))
                    });
                match hop {
                    Some((gateway, link)) => routes.push(Route {
                        destination: destination.trunc(),
                        gateway: Some(gateway),
                        link,
                        source: None,
                        protocol: ROUTE_PROTOCOL,
                    }),
                    None => tracing::warn!(
                        node = %peer.name, range = %destination,
                        "no route to the pods of this node: none of its addresses is on a network of this one"
                    ),
                }
            }
        }
        routes
    }
}

/// Makes the kernel's routes through gateways equal `wanted`, touching none that others made.
pub fn sync(socket: &mut Socket, wanted: &[Route]) -> Result<(), Error> {
    let have: Vec<Route> = socket
        .routes()?
        .into_iter()
        .filter(|r| r.protocol == ROUTE_PROTOCOL && r.gateway.is_some())
        .collect();
    for route in
        have.iter().filter(|route| !wanted.iter().any(|wanted| wanted.destination == route.destination))
    {
        socket.delete_route(route)?;
    }
    for route in wanted.iter().filter(|route| !have.contains(route)) {
        socket.set_route(route)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn neighbours_get_routes_and_strangers_do_not() {
        let own = [
            Address { link: 1, net: "127.0.0.1/8".parse().unwrap(), scope: 254 },
            Address { link: 2, net: "192.0.2.1/24".parse().unwrap(), scope: 0 },
            Address { link: 2, net: "2001:db8::1/64".parse().unwrap(), scope: 0 },
        ];
        let peer = |name: &str, addresses: &[&str], ranges: &[&str]| Peer {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            pod_cidrs: ranges.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let peers = [
            peer("b", &["192.0.2.2", "2001:db8::2"], &["10.244.1.0/24", "fd00:1::/64"]),
            peer("far", &["198.51.100.1"], &["10.244.2.0/24"]),
            peer("self", &["192.0.2.1"], &["10.244.0.0/24"]),
        ];
        let shown: Vec<_> = HostGateway
            .routes(&peers, &own)
            .iter()
            .map(|route| format!("{} via {} dev {}", route.destination, route.gateway.unwrap(), route.link))
            .collect();
        assert_eq!(shown, ["10.244.1.0/24 via 192.0.2.2 dev 2", "fd00:1::/64 via 2001:db8::2 dev 2"]);
    }
}
