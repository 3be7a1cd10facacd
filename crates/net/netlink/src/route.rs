//! Links, addresses, routes and neighbours (`rtnetlink(7)`): just what a routed pod network needs.
//! Adding what is there already and deleting what is gone both succeed, because every caller wants the state, not the act.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;

use crate::message::{self, CREATE, DUMP, EXCL, REPLACE};
use crate::socket::{Error, Socket};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const TABLE_MAIN: u8 = 254;
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 253;

/// A network link as the kernel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Index in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Hardware address.
    pub mac: Vec<u8>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Kind such as `veth`, empty for physical links and loopback.
    pub kind: String,
}

/// An address on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// Address with its prefix length.
    pub net: IpNet,
    /// `RT_SCOPE_*`: 0 is global.
    pub scope: u8,
}

/// A route in the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination; a prefix length of 0 is the default route.
    pub destination: IpNet,
    /// Next hop; absent for destinations on the link itself.
    pub gateway: Option<IpAddr>,
    /// Index of the link.
    pub link: u32,
    /// Source address for packets of this machine.
    pub source: Option<IpAddr>,
    /// `RTPROT_*`, by which its maker finds it again.
    pub protocol: u8,
}

/// The two ends of a veth pair to create.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// Name here.
    pub name: &'a str,
    /// Hardware address here.
    pub mac: [u8; 6],
    /// Name of the other end.
    pub peer_name: &'a str,
    /// Hardware address of the other end.
    pub peer_mac: [u8; 6],
    /// Namespace of the other end.
    pub peer_namespace: BorrowedFd<'a>,
    /// Largest packet of both in bytes.
    pub mtu: u32,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: message::u32_at(payload, 4)?,
        up: message::u32_at(payload, 8)? & 1 != 0,
        ..Link::default()
    };
    for (kind, value) in message::attrs(payload.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = message::text(value),
            IFLA_ADDRESS => link.mac = value.to_vec(),
            IFLA_MTU => link.mtu = message::u32_at(value, 0)?,
            IFLA_LINKINFO => {
                link.kind = message::find(value, INFO_KIND).map(message::text).unwrap_or_default()
            }
            _ => {}
        }
    }
    Some(link)
}

fn absent_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// How often a list is asked for that changes each time.
const ATTEMPTS: u32 = 20;

impl Socket {
    /// Everything of one kind. A list that changed while the kernel told it is asked for again.
    fn dump<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut attempts = 1;
        loop {
            let mut all = Vec::new();
            let told = self.query(
                kind,
                DUMP,
                |builder| {
                    builder.raw(header);
                },
                |message| all.extend(read(message.payload)),
            );
            match told {
                Err(Error::Kernel { errno: libc::EAGAIN, .. }) if attempts < ATTEMPTS => attempts += 1,
                told => return told.map(|()| all),
            }
        }
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.dump(GETLINK, &link_header(0, 0, 0), read_link)
    }

    /// The link of that name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut link = None;
        let result = self.query(
            GETLINK,
            message::ACK,
            |builder| {
                builder.raw(&link_header(0, 0, 0)).string(IFLA_IFNAME, name);
            },
            |message| link = read_link(message.payload),
        );
        absent_is_fine(result)?;
        Ok(link)
    }

    /// Creates a veth pair, one end here and one in the peer's namespace; both are down. Fails when either name is taken.
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), Error> {
        self.request(NEWLINK, CREATE | EXCL, |builder| {
            builder.raw(&link_header(0, 0, 0));
            builder.string(IFLA_IFNAME, veth.name).attr(IFLA_ADDRESS, &veth.mac).ne32(IFLA_MTU, veth.mtu);
            builder.nest(IFLA_LINKINFO, |info| {
                info.string(INFO_KIND, "veth").nest(INFO_DATA, |data| {
                    data.nest(VETH_PEER, |peer| {
                        peer.raw(&link_header(0, 0, 0));
                        peer.string(IFLA_IFNAME, veth.peer_name);
                        peer.attr(IFLA_ADDRESS, &veth.peer_mac).ne32(IFLA_MTU, veth.mtu);
                        peer.ne32(IFLA_NET_NS_FD, veth.peer_namespace.as_raw_fd().cast_unsigned());
                    });
                });
            });
        })
    }

    /// Brings a link up.
    pub fn set_up(&mut self, index: u32) -> Result<(), Error> {
        self.request(NEWLINK, 0, |builder| {
            builder.raw(&link_header(index, 1, 1));
        })
    }

    /// Deletes a link (a veth's other end goes with it).
    pub fn delete_link(&mut self, index: u32) -> Result<(), Error> {
        absent_is_fine(self.request(DELLINK, 0, |builder| {
            builder.raw(&link_header(index, 0, 0));
        }))
    }

    /// All addresses.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        self.dump(GETADDR, &[0; 8], read_address)
    }

    /// Adds an address, usable at once (no duplicate address detection).
    pub fn add_address(&mut self, link: u32, net: IpNet) -> Result<(), Error> {
        let result = self.request(NEWADDR, CREATE | EXCL, |builder| {
            builder.raw(&address_header(link, net));
            builder.attr(IFA_LOCAL, &octets(net.addr())).attr(IFA_ADDRESS, &octets(net.addr()));
            if net.addr().is_ipv6() {
                builder.ne32(IFA_FLAGS, IFA_F_NODAD);
            }
        });
        match result {
            Err(error) if error.is_exists() => Ok(()),
            other => other,
        }
    }

    /// Deletes an address.
    pub fn delete_address(&mut self, link: u32, net: IpNet) -> Result<(), Error> {
        absent_is_fine(self.request(DELADDR, 0, |builder| {
            builder.raw(&address_header(link, net)).attr(IFA_LOCAL, &octets(net.addr()));
        }))
    }

    /// All unicast routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        self.dump(GETROUTE, &[0; 12], read_route)
    }

    /// Adds or replaces a route of the main table.
    pub fn set_route(&mut self, route: &Route) -> Result<(), Error> {
        self.request(NEWROUTE, CREATE | REPLACE, |builder| write_route(builder, route))
    }

    /// Deletes a route.
    pub fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        absent_is_fine(self.request(DELROUTE, 0, |builder| write_route(builder, route)))
    }

    /// Sets the hardware address of a neighbour for good, so that nobody has to ask for it.
    pub fn set_neighbour(&mut self, link: u32, neighbour: IpAddr, mac: [u8; 6]) -> Result<(), Error> {
        self.request(NEWNEIGH, CREATE | REPLACE, |builder| {
            let mut header = [0; 12];
            header[0] = family(neighbour);
            header[4..8].copy_from_slice(&link.to_ne_bytes());
            header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
            builder.raw(&header).attr(NDA_DST, &octets(neighbour)).attr(NDA_LLADDR, &mac);
        })
    }
}

fn address_header(link: u32, net: IpNet) -> [u8; 8] {
    let mut header = [family(net.addr()), net.prefix_len(), 0, SCOPE_GLOBAL, 0, 0, 0, 0];
    if matches!(net.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        header[3] = SCOPE_LINK;
    }
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header
}

fn read_address(payload: &[u8]) -> Option<Address> {
    let attrs = payload.get(8..)?;
    let value = message::find(attrs, IFA_LOCAL).or_else(|| message::find(attrs, IFA_ADDRESS))?;
    Some(Address {
        link: message::u32_at(payload, 4)?,
        net: IpNet::new(address(value)?, payload[1]).ok()?,
        scope: payload[3],
    })
}

fn write_route(builder: &mut message::Builder, route: &Route) {
    const RTN_UNICAST: u8 = 1;
    let scope = match (route.gateway, route.destination) {
        (None, IpNet::V4(_)) => SCOPE_LINK,
        _ => SCOPE_GLOBAL,
    };
    let net = route.destination.trunc();
    let header = [family(net.addr()), net.prefix_len(), 0, 0, TABLE_MAIN, route.protocol, scope, RTN_UNICAST];
    builder.raw(&header).raw(&[0; 4]);
    if net.prefix_len() > 0 {
        builder.attr(RTA_DST, &octets(net.addr()));
    }
    if let Some(gateway) = route.gateway {
        builder.attr(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(source) = route.source {
        builder.attr(RTA_PREFSRC, &octets(source));
    }
    builder.ne32(RTA_OIF, route.link);
}

fn read_route(payload: &[u8]) -> Option<Route> {
    const RTN_UNICAST: u8 = 1;
    let (prefix, attrs) = (*payload.get(1)?, payload.get(12..)?);
    let table = message::find(attrs, RTA_TABLE).and_then(|value| message::u32_at(value, 0));
    if payload[7] != RTN_UNICAST || table.unwrap_or_else(|| u32::from(payload[4])) != u32::from(TABLE_MAIN) {
        return None;
    }
    let any: IpAddr = match i32::from(payload[0]) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let get = |kind| message::find(attrs, kind).and_then(address);
    Some(Route {
        destination: IpNet::new(get(RTA_DST).unwrap_or(any), prefix).ok()?,
        gateway: get(RTA_GATEWAY),
        link: message::find(attrs, RTA_OIF).and_then(|value| message::u32_at(value, 0))?,
        source: get(RTA_PREFSRC),
        protocol: payload[5],
    })
}
