//! Tracked flows (`nfnetlink_conntrack`): list those of a protocol and delete single ones, so that packets of long-lived
//! UDP flows do not keep going to an endpoint that is gone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::message::{self, DUMP};
use crate::socket::{Error, Socket};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const ID: u16 = 12;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Number of the protocol.
    pub protocol: u8,
    /// Source port, 0 for protocols without.
    pub source_port: u16,
    /// Destination port, 0 for protocols without.
    pub destination_port: u16,
}

/// A tracked flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As the client sent it.
    pub original: Tuple,
    /// As answers come back: its source is the endpoint.
    pub reply: Tuple,
    raw_original: Vec<u8>,
    id: Vec<u8>,
}

fn header(family: i32) -> [u8; 4] {
    [u8::try_from(family).unwrap_or_default(), 0, 0, 0]
}

impl Socket {
    /// All flows of a protocol in both families.
    pub fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>, Error> {
        let mut flows = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.query(
                GET,
                DUMP,
                |builder| {
                    builder.raw(&header(family));
                },
                |message| {
                    flows.extend(read_flow(message.payload).filter(|flow| flow.original.protocol == protocol))
                },
            )?;
        }
        Ok(flows)
    }

    /// Forgets a flow; its next packet goes through the rules again.
    pub fn delete_flow(&mut self, flow: &Flow) -> Result<(), Error> {
        let family = if flow.original.source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let result = self.request(DELETE, 0, |builder| {
            builder.raw(&header(family)).attr(TUPLE_ORIGINAL | 0x8000, &flow.raw_original).attr(ID, &flow.id);
        });
        match result {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

fn read_flow(payload: &[u8]) -> Option<Flow> {
    let attrs = payload.get(4..)?;
    let original = message::find(attrs, TUPLE_ORIGINAL)?;
    Some(Flow {
        original: read_tuple(original)?,
        reply: read_tuple(message::find(attrs, TUPLE_REPLY)?)?,
        raw_original: original.to_vec(),
        id: message::find(attrs, ID)?.to_vec(),
    })
}

fn read_tuple(bytes: &[u8]) -> Option<Tuple> {
    let (ip, proto) = (message::find(bytes, TUPLE_IP)?, message::find(bytes, TUPLE_PROTO)?);
    let v4 = |kind| {
        let bytes: [u8; 4] = message::find(ip, kind)?.try_into().ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(bytes)))
    };
    let v6 = |kind| {
        let bytes: [u8; 16] = message::find(ip, kind)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    let port = |kind| {
        let bytes: Option<[u8; 2]> = message::find(proto, kind).and_then(|value| value.try_into().ok());
        bytes.map(u16::from_be_bytes).unwrap_or_default()
    };
    Some(Tuple {
        source: v4(1).or_else(|| v6(3))?,
        destination: v4(2).or_else(|| v6(4))?,
        protocol: *message::find(proto, 1)?.first()?,
        source_port: port(2),
        destination_port: port(3),
    })
}
