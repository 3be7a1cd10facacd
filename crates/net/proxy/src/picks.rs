//! The chains that choose an endpoint. There is one chain for each way of choosing (how the packet got here, among how many
//! endpoints, with which affinity), not for each service: all that differs between services are elements of maps.
//!
//! A service port is known by its cluster address: wherever a packet came in, the maps of endpoints are keyed by
//! `scope . clusterIP . protocol . port . index`. For a packet to another front (node port, external address) the map `alias`
//! gives that key first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink::nft::expr::{DynamicOp, LookupInto, Register};
use netlink::nft::rule::Part;
use netlink::nft::{Field, Rule};

use crate::plan::Names;
use crate::spec::NodeSpec;

/// Through which kind of address a packet came to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    /// The cluster address itself.
    ClusterIp,
    /// An external or load balancer address.
    External,
    /// A port of the node.
    NodePort,
}

/// Among which endpoints to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Those of traffic policy `Cluster`.
    Cluster,
    /// Those on this node.
    Local,
}

impl Scope {
    /// Number that stands for the scope in keys.
    pub fn number(self) -> u32 {
        match self {
            Scope::Cluster => 1,
            Scope::Local => 2,
        }
    }
}

/// Which packets get this node's address as source, so that answers come back through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Masquerade {
    /// None.
    Never,
    /// Those that no pod sent.
    Outsiders,
    /// All.
    Always,
}

/// One way of choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pick {
    /// Family.
    pub is_v6: bool,
    /// Where the packet came in.
    pub front: Front,
    /// Among which endpoints.
    pub scope: Scope,
    /// How many there are, at least 1.
    pub count: u32,
    /// Seconds for which a client keeps its endpoint, 0 for no affinity.
    pub affinity_secs: u32,
    /// Whose source to change.
    pub masquerade: Masquerade,
}

impl Pick {
    /// Name of the chain.
    pub fn chain(&self) -> String {
        let front = match self.front {
            Front::ClusterIp => "cluster-ip",
            Front::External => "external",
            Front::NodePort => "node-port",
        };
        let scope = if self.scope == Scope::Cluster { "any" } else { "local" };
        let f = if self.is_v6 { 6 } else { 4 };
        let mut name = format!("{front}{f}-{scope}-{}", self.count);
        if self.affinity_secs > 0 {
            name.push_str(&format!("-sticky-{}s", self.affinity_secs));
        }
        match self.masquerade {
            Masquerade::Never => {}
            Masquerade::Outsiders => name.push_str("-masq-outsiders"),
            Masquerade::Always => name.push_str("-masq"),
        }
        name
    }

    /// Its rules.
    pub fn rules(&self, node: &NodeSpec) -> Vec<Rule> {
        let mut rules = Vec::new();
        match self.masquerade {
            Masquerade::Never => {}
            Masquerade::Always => rules.push(Rule::new().set_mark_bit(node.masquerade_mark)),
            Masquerade::Outsiders => rules.push(Rule::new().jump(Names::of(self.is_v6).mark_outsiders)),
        }
        if self.affinity_secs > 0 {
            rules.extend(self.sticky());
        }
        rules.push(self.plain(0));
        rules
    }

    /// Loads `scope . clusterIP . protocol . port` from register `at` on.
    fn key(&self, at: u8) -> Rule {
        let names = Names::of(self.is_v6);
        let is_v6 = self.is_v6;
        let rule = Rule::new();
        let first = match self.front {
            Front::ClusterIp => {
                let parts = [
                    Part::Number(self.scope.number()),
                    Part::Destination { is_v6 },
                    Part::Protocol,
                    Part::DestinationPort,
                ];
                return rule.load(at, &parts);
            }
            Front::External => Part::Destination { is_v6 },
            Front::NodePort => Part::Address(any_address(is_v6)),
        };
        let rule = rule.load(at + 1, &[first, Part::Protocol, Part::DestinationPort]);
        let rule = rule.lookup(names.alias, at + 1, LookupInto::Registers(Register(at + 1)));
        rule.load(at, &[Part::Number(self.scope.number())])
    }

    fn key_registers(&self) -> u8 {
        3 + Field::address(self.is_v6).registers()
    }

    /// Takes a random endpoint.
    fn plain(&self, at: u8) -> Rule {
        let index = at + self.key_registers();
        self.choose(at).dnat(self.is_v6, index)
    }

    /// Leaves a random endpoint right behind the key at `at`.
    fn choose(&self, at: u8) -> Rule {
        let index = at + self.key_registers();
        let which = if self.count == 1 { Part::Number(0) } else { Part::Random(self.count) };
        let names = Names::of(self.is_v6);
        self.key(at).load(index, &[which]).lookup(names.endpoint, at, LookupInto::Registers(Register(index)))
    }

    /// The endpoint that the client had, if it still is one of the service; else a new one, remembered. The registers hold
    /// `source . key . endpoint`, of which `source . key` is what is remembered; what must be a member is `key . endpoint` without the
    /// scope in front.
    fn sticky(&self) -> [Rule; 2] {
        let names = Names::of(self.is_v6);
        let source = [Part::Source { is_v6: self.is_v6 }];
        let key = Field::address(self.is_v6).registers();
        let endpoint = key + self.key_registers();
        let timeout_ms = u64::from(self.affinity_secs) * 1000;
        let update =
            |rule: Rule| rule.dynamic(DynamicOp::Update, names.affinity, 0, Some(endpoint), timeout_ms);
        let again = self
            .key(key)
            .load(0, &source)
            .lookup(names.affinity, 0, LookupInto::Registers(Register(endpoint)))
            .lookup(names.member, key + 1, LookupInto::Match);
        let first = self.choose(key).load(0, &source);
        // Updating an entry keeps its value: a stale one has to go first.
        let first = first.dynamic(DynamicOp::Delete, names.affinity, 0, Some(endpoint), 0);
        [update(again).dnat(self.is_v6, endpoint), update(first).dnat(self.is_v6, endpoint)]
    }
}

/// What stands for "any address of this node" in keys.
pub fn any_address(is_v6: bool) -> IpAddr {
    if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}
