//! Veth pairs: make one for a sandbox, find it again, remove it. Names and hardware addresses follow from the sandbox and its
//! address, so that a second attempt after a crash meets the same ones.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;

use ipnet::IpNet;
use netlink::route::{Route, Veth};
use netlink::{Error, Socket};
use sha2::{Digest, Sha256};

use crate::sysctl;

/// Name of the link inside a pod.
pub const POD_LINK: &str = "eth0";
/// What pods use as IPv4 gateway; it exists only as a fixed neighbour.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// What pods use as IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Hardware address of the node's side of every pair (locally administered).
pub const NODE_MAC: [u8; 6] = [0xee, 0xee, 0xee, 0xee, 0xee, 0xee];
/// `rtm_protocol` of all routes made here, by which they are found again.
pub const ROUTE_PROTOCOL: u8 = 0xfb;

/// Name of the node's side of a sandbox's pair.
pub fn name(prefix: &str, sandbox_id: &str) -> String {
    format!("{prefix}{}", hex::encode(&Sha256::digest(sandbox_id)[..5]))
}

/// Hardware address of a pod: locally administered, made from its name on the node's side.
fn pod_mac(link: &str) -> [u8; 6] {
    let digest = Sha256::digest(link);
    [0x0a, 0x58, digest[0], digest[1], digest[2], digest[3]]
}

fn host_route(ip: IpAddr, link: u32) -> Route {
    Route { destination: IpNet::from(ip), gateway: None, link, source: None, protocol: ROUTE_PROTOCOL }
}

fn default_net(ip: IpAddr) -> IpNet {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    IpNet::new(any, 0).expect("0 is a prefix length")
}

/// Connects a sandbox: the pair, `lo`, addresses, neighbours and routes on both sides. Does what is missing, so that it also
/// repairs a half-made network.
pub fn connect(node: &mut Socket, netns: &Path, link: &str, ips: &[IpAddr], mtu: u32) -> Result<(), Error> {
    let io = |action| move |source| Error::Io { action, source };
    let namespace = File::open(netns).map_err(io("open network namespace"))?;
    let with_v6 = ips.iter().any(IpAddr::is_ipv6);
    // Settings of a namespace can be written only from inside; the socket stays bound to it and is used from here.
    let mut pod = netlink::socket::in_namespace(netns, || {
        if with_v6 {
            for key in ["ipv6/conf/default/accept_ra", "ipv6/conf/all/accept_ra"] {
                sysctl::set(key, "0").map_err(io("write sysctl accept_ra"))?;
            }
        }
        Socket::route()
    })
    .map_err(io("enter network namespace"))??;

    let pod_mac = pod_mac(link);
    let have = (node.link(link)?, pod.link(POD_LINK)?);
    let (node_link, pod_link) = match have {
        (Some(node_link), Some(pod_link)) if pod_link.mac == pod_mac => (node_link, pod_link),
        (stale, _) => {
            if let Some(stale) = stale {
                node.delete_link(stale.index)?;
            }
            node.add_veth(&Veth {
                name: link,
                mac: NODE_MAC,
                peer_name: POD_LINK,
                peer_mac: pod_mac,
                peer_namespace: namespace.as_fd(),
                mtu,
            })?;
            let missing = || Error::Malformed("a veth pair that vanished");
            (node.link(link)?.ok_or_else(missing)?, pod.link(POD_LINK)?.ok_or_else(missing)?)
        }
    };

    if let Some(lo) = pod.link("lo")? {
        pod.set_up(lo.index)?;
    }
    for ip in ips {
        pod.add_address(pod_link.index, IpNet::from(*ip))?;
    }
    node.set_up(node_link.index)?;
    pod.set_up(pod_link.index)?;
    for ip in ips {
        let gateway: IpAddr = if ip.is_ipv4() { GATEWAY_V4.into() } else { GATEWAY_V6.into() };
        pod.set_neighbour(pod_link.index, gateway, NODE_MAC)?;
        pod.set_route(&host_route(gateway, pod_link.index))?;
        pod.set_route(&Route {
            destination: default_net(*ip),
            gateway: Some(gateway),
            link: pod_link.index,
            source: None,
            protocol: ROUTE_PROTOCOL,
        })?;
        node.set_neighbour(node_link.index, *ip, pod_mac)?;
        node.set_route(&host_route(*ip, node_link.index))?;
    }
    // The kernel starts sending on a link some time after it came up, and drops what comes before. Asking for the link makes it
    // catch up (since 6.9), so that the first packet of a pod is not the one that gets lost.
    node.link(link)?;
    pod.link(POD_LINK)?;
    Ok(())
}

/// Removes the pair of a sandbox; routes and neighbours go with it.
pub fn disconnect(node: &mut Socket, link: &str) -> Result<(), Error> {
    match node.link(link)? {
        Some(found) => node.delete_link(found.index),
        None => Ok(()),
    }
}
