//! DNS messages on the wire (RFC 1035, EDNS0 RFC 6891): the header, one question, and the record types that a cluster has. Answers
//! of upstream servers are passed on as bytes, with [`scan`] finding what has to be known of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::name::Name;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 12;
/// Most that a client without EDNS accepts over UDP, in bytes.
pub const PLAIN_UDP_BYTES: usize = 512;
/// Most that we send over UDP whatever a client says: what passes every link unfragmented.
pub const MAX_UDP_BYTES: usize = 1232;
/// Class Internet.
pub const CLASS_IN: u16 = 1;

/// Record types by number.
pub mod kind {
    #![allow(missing_docs, reason = "the names are those of the DNS")]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const ANY: u16 = 255;
}

/// Response codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    /// Answered, maybe with nothing.
    #[default]
    NoError,
    /// The query could not be read.
    FormErr,
    /// The answer could not be found out.
    ServFail,
    /// There is no such name.
    NxDomain,
    /// This kind of query is not supported.
    NotImp,
    /// Not answered on purpose.
    Refused,
}

impl Code {
    /// Number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Code::NoError => 0,
            Code::FormErr => 1,
            Code::ServFail => 2,
            Code::NxDomain => 3,
            Code::NotImp => 4,
            Code::Refused => 5,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// Record type.
    pub kind: u16,
    /// Class, 1 for Internet.
    pub class: u16,
}

/// A query as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Identity, repeated in the answer.
    pub id: u16,
    /// Whether the client wants names outside the cluster looked up.
    pub recursion_desired: bool,
    /// `CD` bit, passed on.
    pub checking_disabled: bool,
    /// The question.
    pub question: Question,
    /// The question's bytes as sent: clients may vary the case of letters and want it back unchanged.
    pub raw_question: Vec<u8>,
    /// Size of UDP answers that the client takes, in bytes, if it speaks EDNS.
    pub edns_bytes: Option<u16>,
    /// Whether the client wants DNSSEC records (passed on to upstream).
    pub dnssec: bool,
}

/// What is in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named as in the DNS")]
pub enum Data {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name for the name.
    Cname(Name),
    /// Name of an address.
    Ptr(Name),
    /// Name server.
    Ns(Name),
    /// Text.
    Txt(String),
    /// Where a service is.
    Srv { priority: u16, weight: u16, port: u16, target: Name },
    /// About a zone.
    Soa { primary: Name, mailbox: Name, serial: u32, refresh: u32, retry: u32, expire: u32, minimum: u32 },
}

impl Data {
    /// The address record of an address.
    pub fn address(address: IpAddr) -> Data {
        match address {
            IpAddr::V4(v4) => Data::A(v4),
            IpAddr::V6(v6) => Data::Aaaa(v6),
        }
    }

    /// Type by number.
    pub fn kind(&self) -> u16 {
        match self {
            Data::A(_) => kind::A,
            Data::Aaaa(_) => kind::AAAA,
            Data::Cname(_) => kind::CNAME,
            Data::Ptr(_) => kind::PTR,
            Data::Ns(_) => kind::NS,
            Data::Txt(_) => kind::TXT,
            Data::Srv { .. } => kind::SRV,
            Data::Soa { .. } => kind::SOA,
        }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: Name,
    /// Seconds for which it may be remembered.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// An answer to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Result.
    pub code: Code,
    /// Whether the answer is from the zone's own data.
    pub authoritative: bool,
    /// Records asked for.
    pub answers: Vec<Record>,
    /// The zone's SOA, where there is nothing.
    pub authority: Vec<Record>,
    /// Addresses of names in the answer.
    pub additional: Vec<Record>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads a name at `at`, following compression; gives it and where it ends there.
pub fn read_name(bytes: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut name = Name::default();
    let (mut at, mut end) = (at, None);
    // Pointers must lead backwards, so that no loop is possible.
    let mut limit = bytes.len();
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length & 0xc0 {
            0 if length == 0 => return Some((name, end.unwrap_or(at + 1))),
            0 => {
                name = name.push(bytes.get(at + 1..at + 1 + length)?)?;
                at += 1 + length;
            }
            0xc0 => {
                let target = usize::from(u16_at(bytes, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                if target >= limit.min(at) {
                    return None;
                }
                (limit, at) = (target, target);
            }
            _ => return None,
        }
    }
}

/// Reads a query. `Err` gives the code to answer with, or nothing where no answer is possible.
pub fn read_query(bytes: &[u8]) -> Result<Query, Option<Code>> {
    let (Some(id), Some(flags), Some(questions)) = (u16_at(bytes, 0), u16_at(bytes, 2), u16_at(bytes, 4))
    else {
        return Err(None);
    };
    if bytes.len() < HEADER_BYTES || flags & 0x8000 != 0 {
        return Err(None);
    }
    if flags >> 11 & 0xf != 0 {
        return Err(Some(Code::NotImp));
    }
    let body = || {
        let (name, end) = read_name(bytes, HEADER_BYTES)?;
        let question = Question { name, kind: u16_at(bytes, end)?, class: u16_at(bytes, end + 2)? };
        let raw_question = bytes.get(HEADER_BYTES..end + 4)?.to_vec();
        let mut query = Query {
            id,
            recursion_desired: flags & 0x0100 != 0,
            checking_disabled: flags & 0x0010 != 0,
            question,
            raw_question,
            edns_bytes: None,
            dnssec: false,
        };
        let records =
            [6, 8, 10].into_iter().map(|at| u16_at(bytes, at).unwrap_or_default()).map(usize::from).sum();
        let mut at = end + 4;
        for _ in 0..records {
            let raw = read_raw(bytes, at)?;
            if raw.kind == kind::OPT {
                query.edns_bytes = Some(raw.class);
                query.dnssec = raw.ttl & 0x8000 != 0;
            }
            at = raw.end;
        }
        Some(query)
    };
    match (questions, body()) {
        (1, Some(query)) => Ok(query),
        _ => Err(Some(Code::FormErr)),
    }
}

struct Raw {
    name: Name,
    kind: u16,
    class: u16,
    ttl: u32,
    ttl_at: usize,
    data: std::ops::Range<usize>,
    end: usize,
}

fn read_raw(bytes: &[u8], at: usize) -> Option<Raw> {
    let (name, at) = read_name(bytes, at)?;
    let length = usize::from(u16_at(bytes, at + 8)?);
    let data = at + 10..at + 10 + length;
    bytes.get(data.clone())?;
    let end = data.end;
    Some(Raw {
        name,
        kind: u16_at(bytes, at)?,
        class: u16_at(bytes, at + 2)?,
        ttl: u32_at(bytes, at + 4)?,
        ttl_at: at + 4,
        data,
        end,
    })
}

/// What has to be known of an upstream server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Identity of the query.
    pub id: u16,
    /// The question it answers.
    pub question: Question,
    /// Response code by number.
    pub code: u8,
    /// Whether it was cut to fit UDP.
    pub truncated: bool,
    /// Smallest time to live of its records (the SOA's minimum counts where there is no answer), in seconds.
    pub ttl: Option<u32>,
    /// Where times to live are in the bytes.
    pub ttl_offsets: Vec<usize>,
    /// Its addresses and aliases.
    pub answers: Vec<Record>,
    /// How many records of any kind answer the question.
    pub answer_count: u16,
}

impl Scan {
    /// Whether nothing answers the question.
    pub fn answers_empty(&self) -> bool {
        self.answer_count == 0
    }
}

/// Reads an upstream server's answer; `None` if it is malformed.
pub fn scan(bytes: &[u8]) -> Option<Scan> {
    let flags = u16_at(bytes, 2)?;
    if flags & 0x8000 == 0 || u16_at(bytes, 4)? != 1 {
        return None;
    }
    let (name, end) = read_name(bytes, HEADER_BYTES)?;
    let question = Question { name, kind: u16_at(bytes, end)?, class: u16_at(bytes, end + 2)? };
    let mut scan = Scan {
        id: u16_at(bytes, 0)?,
        question,
        code: (flags & 0xf) as u8,
        truncated: flags & 0x0200 != 0,
        ttl: None,
        ttl_offsets: Vec::new(),
        answers: Vec::new(),
        answer_count: u16_at(bytes, 6)?,
    };
    let mut at = end + 4;
    for section in [6, 8, 10] {
        for _ in 0..u16_at(bytes, section)? {
            let raw = read_raw(bytes, at)?;
            at = raw.end;
            if raw.kind == kind::OPT {
                continue;
            }
            scan.ttl_offsets.push(raw.ttl_at);
            let mut ttl = raw.ttl;
            if raw.kind == kind::SOA {
                let minimum = u32_at(bytes, raw.data.end.checked_sub(4)?)?;
                ttl = ttl.min(minimum);
            }
            scan.ttl = Some(scan.ttl.map_or(ttl, |least| least.min(ttl)));
            if section == 6 && raw.class == CLASS_IN {
                let data = bytes.get(raw.data.clone())?;
                let data = match raw.kind {
                    kind::A => <[u8; 4]>::try_from(data).ok().map(|octets| Data::A(octets.into())),
                    kind::AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| Data::Aaaa(octets.into())),
                    kind::CNAME => read_name(bytes, raw.data.start).map(|(name, _)| Data::Cname(name)),
                    _ => None,
                };
                scan.answers.extend(data.map(|data| Record { name: raw.name, ttl: raw.ttl, data }));
            }
        }
    }
    Some(scan)
}

/// Lowers every time to live in an answer by its age, so that nobody remembers it longer than its source allows.
pub fn age(bytes: &mut [u8], ttl_offsets: &[usize], age_secs: u32) {
    for at in ttl_offsets {
        if let (Some(ttl), Some(place)) = (u32_at(bytes, *at), bytes.get_mut(*at..*at + 4)) {
            place.copy_from_slice(&ttl.saturating_sub(age_secs).to_be_bytes());
        }
    }
}

/// Writes a query for an upstream server, with EDNS where the client speaks it and so can read an answer with it.
pub fn write_query(
    id: u16,
    question: &Question,
    checking_disabled: bool,
    edns: bool,
    dnssec: bool,
) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u16(id);
    writer.u16(0x0100 | if checking_disabled { 0x0010 } else { 0 });
    writer.bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    writer.name(&question.name);
    writer.u16(question.kind);
    writer.u16(question.class);
    if edns {
        writer.opt(dnssec);
        writer.count(10);
    }
    writer.bytes
}

/// Makes an upstream server's answer the answer to `query`: its identity, and the question in the client's spelling. What is too
/// long for the client is cut down to the question and marked, so that it asks again over TCP.
pub fn readdress(mut bytes: Vec<u8>, query: &Query, max_bytes: usize) -> Vec<u8> {
    let end = HEADER_BYTES + query.raw_question.len();
    if let Some(place) = bytes.get_mut(..2) {
        place.copy_from_slice(&query.id.to_be_bytes());
    }
    if let Some(place) = bytes.get_mut(HEADER_BYTES..end) {
        place.copy_from_slice(&query.raw_question);
    }
    if bytes.len() > max_bytes {
        bytes.truncate(end);
        bytes[2] |= 0x02;
        bytes[6..HEADER_BYTES].fill(0);
    }
    bytes
}

/// Writes a header-only answer to something that could not be read as a query.
pub fn write_error(query: &[u8], code: Code) -> Option<Vec<u8>> {
    let flags = u16_at(query, 2)?;
    let mut bytes = query.get(..2)?.to_vec();
    bytes.extend_from_slice(&(0x8000 | flags & 0x7900 | u16::from(code.number())).to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    Some(bytes)
}

/// Writes the answer to `query` in at most `max_bytes`; what does not fit is left out and the answer marked as cut.
pub fn write_answer(query: &Query, answer: &Answer, max_bytes: usize) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut flags = 0x8000 | 0x0080 | u16::from(answer.code.number());
    for (set, bit) in
        [(answer.authoritative, 0x0400), (query.recursion_desired, 0x0100), (query.checking_disabled, 0x0010)]
    {
        flags |= if set { bit } else { 0 };
    }
    writer.u16(query.id);
    writer.u16(flags);
    writer.bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    writer.names.insert(query.question.name.clone(), HEADER_BYTES);
    writer.bytes.extend_from_slice(&query.raw_question);
    let reserve = if query.edns_bytes.is_some() { 11 } else { 0 };
    let max = max_bytes.saturating_sub(reserve);
    let sections = [(6, &answer.answers), (8, &answer.authority), (10, &answer.additional)];
    'sections: for (at, records) in sections {
        for record in records {
            let before = writer.bytes.len();
            writer.record(record);
            if writer.bytes.len() > max {
                writer.bytes.truncate(before);
                // Addresses nobody asked for may be missing without anyone asking again.
                if at != 10 {
                    writer.bytes[2] |= 0x02;
                }
                break 'sections;
            }
            writer.count(at);
        }
    }
    if query.edns_bytes.is_some() {
        writer.opt(false);
        writer.count(10);
    }
    writer.bytes
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Where names were written, for compression.
    names: HashMap<Name, usize>,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn count(&mut self, at: usize) {
        let count = u16_at(&self.bytes, at).unwrap_or_default().saturating_add(1);
        self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Whole names are compressed (the ones in answers repeat the question's); shared ends are not worth the search.
    fn name(&mut self, name: &Name) {
        if let Some(at) = self.names.get(name).filter(|at| **at < self.bytes.len()) {
            return self.u16(0xc000 | *at as u16);
        }
        if self.bytes.len() < 0x3fff {
            self.names.insert(name.clone(), self.bytes.len());
        }
        self.plain_name(name);
    }

    fn plain_name(&mut self, name: &Name) {
        for label in name.labels() {
            self.bytes.push(label.len() as u8);
            self.bytes.extend_from_slice(label);
        }
        self.bytes.push(0);
    }

    fn opt(&mut self, dnssec: bool) {
        self.bytes.push(0);
        self.u16(kind::OPT);
        self.u16(MAX_UDP_BYTES as u16);
        self.u32(if dnssec { 0x8000 } else { 0 });
        self.u16(0);
    }

    fn record(&mut self, record: &Record) {
        self.name(&record.name);
        self.u16(record.data.kind());
        self.u16(CLASS_IN);
        self.u32(record.ttl);
        let at = self.bytes.len();
        self.u16(0);
        match &record.data {
            Data::A(address) => self.bytes.extend_from_slice(&address.octets()),
            Data::Aaaa(address) => self.bytes.extend_from_slice(&address.octets()),
            Data::Cname(name) | Data::Ptr(name) | Data::Ns(name) => self.name(name),
            Data::Txt(text) => {
                for part in text.as_bytes().chunks(255) {
                    self.bytes.push(part.len() as u8);
                    self.bytes.extend_from_slice(part);
                }
            }
            Data::Srv { priority, weight, port, target } => {
                for value in [priority, weight, port] {
                    self.u16(*value);
                }
                // RFC 2782 forbids compression here.
                self.plain_name(target);
            }
            Data::Soa { primary, mailbox, serial, refresh, retry, expire, minimum } => {
                self.name(primary);
                self.name(mailbox);
                for value in [serial, refresh, retry, expire, minimum] {
                    self.u32(*value);
                }
            }
        }
        let length = (self.bytes.len() - at - 2) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compression_loops_are_refused() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(&[0xc0, 12]);
        assert_eq!(read_name(&bytes, 12), None);
        // Two pointers at each other.
        bytes.extend_from_slice(&[0xc0, 12, 0]);
        bytes[12..14].copy_from_slice(&[0xc0, 14]);
        assert_eq!(read_name(&bytes, 12), None);
        assert_eq!(read_name(&bytes, 14), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (scan(&bytes), read_query(&bytes), write_error(&bytes, Code::FormErr));
        }

        #[test]
        fn damaged_messages_are_read_without_panic(at in 0usize..60, value in any::<u8>(), cut in 0usize..80) {
            let question = Question { name: Name::parse("a.bc.example").expect("a name"), kind: kind::A, class: CLASS_IN };
            let query = read_query(&write_query(1, &question, false, true, false)).expect("what we write we read");
            let record = |data| Record { name: question.name.clone(), ttl: 5, data };
            let answers = vec![record(Data::Cname(Name::parse("x.example").expect("a name"))), record(Data::A([1, 2, 3, 4].into()))];
            let mut bytes = write_answer(&query, &Answer { answers, ..Answer::default() }, 512);
            prop_assert!(scan(&bytes).is_some());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = scan(&bytes).map(|_| readdress(bytes.clone(), &query, 20));
            let _ = read_query(&bytes);
        }
    }
}
