//! nftables rules of the pod network, planned without touching anything: masquerading of what pods send outside, and host ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink::nft::expr::{FibAddress, LookupInto};
use netlink::nft::rule::Part;
use netlink::nft::{ChainType, Data, Field, Hook, Rule, Ruleset, Set, Target, Value, Verdict};

use crate::config::Config;
use crate::ipam::Lease;

/// Just before the Services' rules (which sit at -100): a node port and a host port of the same number never both apply.
const PRIORITY_DNAT: i32 = -101;
const PRIORITY_SNAT: i32 = 100;

/// The table that `config` and the pods in `leases` need.
pub fn plan<'a>(config: &Config, leases: impl Iterator<Item = &'a Lease>) -> Ruleset {
    let mut table = Ruleset::new(&config.table);
    let mut postrouting = Vec::new();
    let mut entry = Vec::new();
    for is_v6 in [false, true] {
        if !config.pod_cidrs.iter().any(|net| net.addr().is_ipv6() == is_v6) {
            continue;
        }
        let f = if is_v6 { 6 } else { 4 };
        postrouting.push(Rule::new().family(is_v6).jump(&format!("masquerade{f}")));
        table.chain(&format!("masquerade{f}"), masquerade(config, is_v6));
        host_ports(&mut table, is_v6);
        entry.push(Rule::new().family(is_v6).jump(&format!("host-ports{f}")));
    }
    table.base("prerouting", ChainType::Nat, Hook::Prerouting, PRIORITY_DNAT, entry.clone());
    table.base("output", ChainType::Nat, Hook::Output, PRIORITY_DNAT, entry);
    table.base("postrouting", ChainType::Nat, Hook::Postrouting, PRIORITY_SNAT, postrouting);
    for lease in leases {
        add_lease(&mut table, lease);
    }
    table
}

fn loopback(is_v6: bool) -> IpNet {
    let net = if is_v6 {
        IpNet::new(Ipv6Addr::LOCALHOST.into(), 128)
    } else {
        IpNet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8)
    };
    net.expect("both are prefix lengths of their family")
}

fn masquerade(config: &Config, is_v6: bool) -> Vec<Rule> {
    let of_family = |nets: &[IpNet]| -> Vec<IpNet> {
        nets.iter().filter(|net| net.addr().is_ipv6() == is_v6).map(IpNet::trunc).collect()
    };
    let f = if is_v6 { 6 } else { 4 };
    let pair = [Part::Source { is_v6 }, Part::Destination { is_v6 }];
    // A host port reached from the pod itself, or from the node's loopback: the answer must come back through the node.
    let mut rules = vec![
        Rule::new()
            .redirected()
            .load(0, &pair)
            .lookup(&format!("hairpin{f}"), 0, LookupInto::Match)
            .masquerade(),
        Rule::new().redirected().source_in(loopback(is_v6), true).masquerade(),
    ];
    for inside in of_family(&config.cluster_cidrs).into_iter().chain(of_family(&config.pod_cidrs)) {
        rules.push(Rule::new().destination_in(inside, true).verdict(Verdict::Return));
    }
    // Packets to a Service normally carry an endpoint's address by now; what still has the Service's is not to be masked.
    for services in of_family(&config.service_cidrs) {
        rules.push(Rule::new().destination_in(services, true).verdict(Verdict::Return));
    }
    for own in of_family(&config.pod_cidrs) {
        let node = IpNet::from(crate::ipam::gateway(own));
        rules.push(Rule::new().source_in(node, true).local(FibAddress::Destination).verdict(Verdict::Return));
        rules.push(Rule::new().source_in(own, true).masquerade());
    }
    rules
}

fn host_ports(table: &mut Ruleset, is_v6: bool) {
    let f = if is_v6 { 6 } else { 4 };
    let address = Field::address(is_v6);
    let any: IpAddr = if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let (ports, hairpin) = (format!("host-port{f}"), format!("hairpin{f}"));
    let target = Target::Value(vec![address, Field::Port]);
    table.set(&ports, Set::new(vec![address, Field::Protocol, Field::Port], target));
    table.set(&hairpin, Set::new(vec![address, address], Target::Member));
    let behind = address.registers() + 2;
    let find = |first| {
        let parts = [first, Part::Protocol, Part::DestinationPort];
        let to = LookupInto::Registers(netlink::nft::Register(behind));
        move |rule: Rule| rule.load(0, &parts).lookup(&ports, 0, to).dnat(is_v6, behind)
    };
    let exact = find.clone()(Part::Destination { is_v6 })(Rule::new());
    let all = find(Part::Address(any))(Rule::new().local(FibAddress::Destination));
    table.chain(&format!("host-ports{f}"), vec![exact, all]);
}

fn add_lease(table: &mut Ruleset, lease: &Lease) {
    for ip in &lease.ips {
        let is_v6 = ip.is_ipv6();
        let f = if is_v6 { 6 } else { 4 };
        let any: IpAddr = if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        if !table.sets.contains_key(&format!("host-port{f}")) {
            continue;
        }
        for port in &lease.host_ports {
            let on = match port.host_ip {
                Some(host) if host.is_unspecified() => any,
                Some(host) if host.is_ipv6() != is_v6 => continue,
                Some(host) => host,
                None => any,
            };
            let key = Data::new().address(on).protocol(port.protocol.number()).port(port.host_port);
            let value = Value::Data(Data::new().address(*ip).port(port.container_port));
            table.element(&format!("host-port{f}"), key, value);
            table.element(&format!("hairpin{f}"), Data::new().address(*ip).address(*ip), Value::Member);
        }
    }
}
