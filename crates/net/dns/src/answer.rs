//! Which answer a question gets: the Kubernetes DNS specification 1.1 over a [`Zone`]. Pure, without I/O; what the zone does not
//! know is the caller's to forward.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::name::Name;
use crate::wire::{Answer, CLASS_IN, Code, Data, Question, Record, kind};
use crate::zone::{Endpoint, Entry, Port, Service, Zone};

/// Version of the specification, published as `dns-version`.
pub const SCHEMA_VERSION: &str = "1.1.0";
/// Priority of all SRV records.
const SRV_PRIORITY: u16 = 0;
/// Weights of the targets of one SRV answer add up to about this.
const SRV_WEIGHT: u16 = 100;

/// What to do with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The zone knows.
    Answer(Answer),
    /// The zone knows an alias whose target is outside; its addresses come from upstream and are added to the answer.
    Alias(Answer, Name),
    /// Not the cluster's business: ask upstream.
    Forward,
}

/// What is at a name.
enum Found {
    /// These records, of any type.
    Records(Vec<Record>, Vec<Record>),
    /// An alias to outside the zone or to another service.
    Alias(Name),
    /// The name exists only because there is something below it.
    Empty,
    /// No such name.
    Nothing,
}

/// Answers a question from the zone.
pub fn answer(question: &Question, zone: &Zone) -> Reply {
    if question.class != CLASS_IN {
        return Reply::Forward;
    }
    if let Some(address) = reverse_address(&question.name) {
        return reverse(question, zone, address);
    }
    let Some(labels) = question.name.within(&zone.domain) else { return Reply::Forward };
    finish(question, zone, find(question, zone, &labels))
}

fn finish(question: &Question, zone: &Zone, found: Found) -> Reply {
    let mut answer = Answer { authoritative: true, ..Answer::default() };
    match found {
        Found::Records(records, additional) => {
            answer.answers = records
                .into_iter()
                .filter(|r| question.kind == kind::ANY || r.data.kind() == question.kind)
                .collect();
            if !answer.answers.is_empty() {
                answer.additional = additional;
                return Reply::Answer(answer);
            }
        }
        Found::Alias(target) => {
            let data = Data::Cname(target.clone());
            answer.answers = vec![Record { name: question.name.clone(), ttl: zone.ttl, data }];
            if !matches!(question.kind, kind::A | kind::AAAA) {
                return Reply::Answer(answer);
            }
            return follow(question, zone, answer, target);
        }
        Found::Empty => {}
        Found::Nothing => answer.code = Code::NxDomain,
    }
    answer.authority = vec![soa(zone)];
    Reply::Answer(answer)
}

/// An alias inside the zone is followed here, a few times at most; one that leads outside is the caller's.
fn follow(question: &Question, zone: &Zone, mut answer: Answer, mut target: Name) -> Reply {
    const ALIASES_MAX: usize = 8;
    for _ in 0..ALIASES_MAX {
        let Some(labels) = target.within(&zone.domain) else { return Reply::Alias(answer, target) };
        match find(&Question { name: target.clone(), ..question.clone() }, zone, &labels) {
            // A circle of aliases is told as far as it goes.
            Found::Alias(next) if answer.answers.iter().any(|record| record.name == next) => break,
            Found::Alias(next) => {
                let data = Data::Cname(next.clone());
                answer.answers.push(Record { name: target, ttl: zone.ttl, data });
                target = next;
            }
            Found::Records(records, _) => {
                answer
                    .answers
                    .extend(records.into_iter().filter(|record| record.data.kind() == question.kind));
                break;
            }
            Found::Empty | Found::Nothing => break,
        }
    }
    Reply::Answer(answer)
}

fn find(question: &Question, zone: &Zone, labels: &[&str]) -> Found {
    let record = |data| Record { name: question.name.clone(), ttl: zone.ttl, data };
    match labels {
        [] => Found::Records(vec![soa(zone), record(Data::Ns(name_server(zone)))], Vec::new()),
        ["dns-version"] => Found::Records(vec![record(Data::Txt(SCHEMA_VERSION.to_owned()))], Vec::new()),
        ["svc" | "pod" | "dns"] | ["ns", "dns"] => Found::Empty,
        [namespace, "svc" | "pod"] if zone.has_namespace(namespace) => Found::Empty,
        [pod, namespace, "pod"] if zone.has_namespace(namespace) => match dashed_address(pod) {
            Some(address) => Found::Records(vec![record(Data::address(address))], Vec::new()),
            None => Found::Nothing,
        },
        [rest @ .., service, namespace, "svc"] => match zone.entry(namespace, service) {
            Some(entry) => find_service(question, zone, entry, rest),
            None => Found::Nothing,
        },
        _ => Found::Nothing,
    }
}

/// Names at and below a service.
fn find_service(question: &Question, zone: &Zone, entry: &Entry, labels: &[&str]) -> Found {
    let Some(service) = &entry.service else { return Found::Nothing };
    if let Some(target) = &service.external_name {
        return match (labels, Name::parse(target)) {
            ([], Some(target)) => Found::Alias(target),
            _ => Found::Nothing,
        };
    }
    let headless = service.cluster_ips.is_empty();
    let record = |data| Record { name: question.name.clone(), ttl: zone.ttl, data };
    let wants_srv = matches!(question.kind, kind::SRV | kind::ANY);
    match labels {
        [] => {
            let mut records: Vec<_> = match headless {
                true => endpoint_addresses(entry).into_iter().map(|ip| record(Data::address(ip))).collect(),
                false => service.cluster_ips.iter().map(|ip| record(Data::address(*ip))).collect(),
            };
            if headless && records.is_empty() {
                return Found::Nothing;
            }
            let (srv, additional) =
                if wants_srv { srv(question, zone, entry, service, |_| true) } else { Default::default() };
            records.extend(srv);
            Found::Records(records, additional)
        }
        [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
            let matches =
                |have: &Port| have.name.eq_ignore_ascii_case(&port[1..]) && have.protocol == protocol[1..];
            let (srv, additional) = srv(question, zone, entry, service, matches);
            if srv.is_empty() { Found::Nothing } else { Found::Records(srv, additional) }
        }
        [protocol] if protocol.starts_with('_') => {
            let exists = entry_ports(entry, service)
                .any(|port| port.protocol == protocol[1..] && !port.name.is_empty());
            if exists { Found::Empty } else { Found::Nothing }
        }
        // Endpoints have names below every service, as CoreDNS does it; the specification asks for them below headless ones.
        [host] => {
            let found = named_endpoints(entry, host).into_iter().map(|ip| record(Data::address(ip)));
            let found: Vec<_> = found.collect();
            if found.is_empty() { Found::Nothing } else { Found::Records(found, Vec::new()) }
        }
        _ => Found::Nothing,
    }
}

/// Addresses of the endpoint that is called `host`, by its own name or by its dashed address.
fn named_endpoints(entry: &Entry, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (endpoint, _) in entry.endpoints() {
        for address in &endpoint.addresses {
            if endpoint_label(endpoint, *address).eq_ignore_ascii_case(host) && !found.contains(address) {
                found.push(*address);
            }
        }
    }
    found
}

fn endpoint_addresses(entry: &Entry) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (endpoint, _) in entry.endpoints() {
        found.extend(endpoint.addresses.iter().copied().filter(|address| seen.insert(*address)));
    }
    found
}

/// The label of an endpoint below its service: its hostname, else its address with dashes.
fn endpoint_label(endpoint: &Endpoint, address: IpAddr) -> String {
    match &endpoint.hostname {
        Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
        _ => dashed(address),
    }
}

fn entry_ports<'a>(entry: &'a Entry, service: &'a Service) -> impl Iterator<Item = &'a Port> {
    entry.endpoints().flat_map(|(_, ports)| ports).chain(&service.ports)
}

/// SRV records of the ports that match, and the addresses of their targets.
fn srv(
    question: &Question,
    zone: &Zone,
    entry: &Entry,
    service: &Service,
    wanted: impl Fn(&Port) -> bool,
) -> (Vec<Record>, Vec<Record>) {
    let mut targets: Vec<(Name, u16, IpAddr)> = Vec::new();
    let base = service_name(question, zone);
    if service.cluster_ips.is_empty() {
        for (endpoint, ports) in entry.endpoints() {
            for (address, port) in
                endpoint.addresses.iter().flat_map(|a| ports.iter().map(move |port| (a, port)))
            {
                let name = base.child(&endpoint_label(endpoint, *address));
                if let Some(name) = name.filter(|_| wanted(port)) {
                    targets.push((name, port.port, *address));
                }
            }
        }
    } else {
        let wanted = service.ports.iter().filter(|port| wanted(port));
        let pairs = wanted.flat_map(|port| service.cluster_ips.iter().map(move |ip| (port.port, *ip)));
        targets.extend(pairs.map(|(port, ip)| (base.clone(), port, ip)));
    }
    let mut distinct: Vec<(&Name, u16)> = Vec::new();
    for (name, port, _) in &targets {
        if !distinct.contains(&(name, *port)) {
            distinct.push((name, *port));
        }
    }
    let weight = (SRV_WEIGHT / u16::try_from(distinct.len()).unwrap_or(u16::MAX).max(1)).max(1);
    let record = |name: &Name, data| Record { name: name.clone(), ttl: zone.ttl, data };
    let answers = distinct.iter().map(|(name, port)| {
        let target = (*name).clone();
        record(&question.name, Data::Srv { priority: SRV_PRIORITY, weight, port: *port, target })
    });
    let answers = answers.collect();
    let mut additional: Vec<Record> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (name, _, address) in &targets {
        if seen.insert((name, address)) {
            additional.push(record(name, Data::address(*address)));
        }
    }
    (answers, additional)
}

/// `service.namespace.svc.domain` of a name at or below it.
fn service_name(question: &Question, zone: &Zone) -> Name {
    let keep = zone.domain.labels().len() + 3;
    let all: Vec<_> = question.name.labels().collect();
    let end = &all[all.len().saturating_sub(keep)..];
    end.iter().try_fold(Name::default(), |name, label| name.push(label)).unwrap_or_default()
}

fn name_server(zone: &Zone) -> Name {
    zone.domain.child("dns").and_then(|dns| dns.child("ns")).unwrap_or_default()
}

/// The SOA of the zone.
fn soa(zone: &Zone) -> Record {
    const REFRESH_SECS: u32 = 7200;
    const RETRY_SECS: u32 = 1800;
    const EXPIRE_SECS: u32 = 86400;
    let data = Data::Soa {
        primary: name_server(zone),
        mailbox: zone.domain.child("hostmaster").unwrap_or_default(),
        serial: zone.serial,
        refresh: REFRESH_SECS,
        retry: RETRY_SECS,
        expire: EXPIRE_SECS,
        minimum: zone.ttl,
    };
    Record { name: zone.domain.clone(), ttl: zone.ttl, data }
}

/// Names of an address; addresses that no service has are upstream's.
fn reverse(question: &Question, zone: &Zone, address: IpAddr) -> Reply {
    let mut answers = Vec::new();
    for (namespace, service) in zone.by_address(address) {
        let Some(entry) = zone.entry(namespace, service) else { continue };
        let base = zone.domain.child("svc").and_then(|n| n.child(namespace)).and_then(|n| n.child(service));
        let Some(base) = base else { continue };
        if entry.service.as_ref().is_some_and(|service| service.cluster_ips.contains(&address)) {
            answers.push(base);
            continue;
        }
        let named = entry.endpoints().find(|(endpoint, _)| endpoint.addresses.contains(&address));
        answers.extend(named.and_then(|(endpoint, _)| base.child(&endpoint_label(endpoint, address))));
    }
    if answers.is_empty() {
        return Reply::Forward;
    }
    let record = |name| Record { name: question.name.clone(), ttl: zone.ttl, data: Data::Ptr(name) };
    finish(question, zone, Found::Records(answers.into_iter().map(record).collect(), Vec::new()))
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for.
pub fn reverse_address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&str> = name.labels().map(std::str::from_utf8).collect::<Result<_, _>>().ok()?;
    match labels.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => {
            let part = |text: &str| text.parse::<u8>().ok();
            Some(Ipv4Addr::new(part(a)?, part(b)?, part(c)?, part(d)?).into())
        }
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let digit =
                |text: &&str| (text.len() == 1).then(|| u128::from_str_radix(text, 16).ok()).flatten();
            let value = nibbles.iter().rev().try_fold(0, |value, nibble| Some(value << 4 | digit(nibble)?));
            value.map(|value| Ipv6Addr::from(value).into())
        }
        _ => None,
    }
}

/// An address with dashes for its dots or colons.
pub fn dashed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        IpAddr::V6(v6) => v6.to_string().replace(':', "-"),
    }
}

fn dashed_address(label: &str) -> Option<IpAddr> {
    let v4 = || label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::from);
    v4().or_else(|| label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::from))
}
