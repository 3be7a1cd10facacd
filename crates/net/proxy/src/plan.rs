//! Services and endpoints as one nftables table. Pure: the same input gives the same table, and what differs between two tables
//! is what is sent to the kernel.
//!
//! ```text
//! prerouting, output ── services ── service{4,6}   : address . protocol . port            → chain that chooses
//!                              └─── (0 for the address: node ports)
//! chain that chooses ────────────── endpoint{4,6}  : scope . clusterIP . protocol . port . index → address . port
//! input, forward, output ───────── refused{4,6}    : address . protocol . port            → reject or drop
//! postrouting ───────────────────── mark, hairpin  → masquerade
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use netlink::nft::expr::{FibAddress, LookupInto};
use netlink::nft::rule::Part;
use netlink::nft::{ChainType, Data, Field, Hook, Rule, Ruleset, Set, Target, Value, Verdict};

use crate::endpoints::{Chosen, choose};
use crate::picks::{Front, Masquerade, Pick, Scope, any_address};
use crate::spec::{NodeSpec, ServicePort, ServiceSpec, SliceSpec, TrafficPolicy};

const PRIORITY_RAW: i32 = -300;
const PRIORITY_BEFORE_DNAT: i32 = -110;
const PRIORITY_DNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SNAT: i32 = 100;
/// Most clients whose endpoint is remembered, in each family.
const AFFINITY_ENTRIES_MAX: u32 = 1 << 18;

/// Names of chains and sets that exist once for each family.
pub struct Names {
    /// Front → chain.
    pub service: &'static str,
    /// Front → chain, for packets that ignore `externalTrafficPolicy: Local` because they come from this cluster.
    pub short_circuit: &'static str,
    /// Front → chain, for packets from outside with `externalTrafficPolicy: Local`.
    pub outside: &'static str,
    /// Other front → cluster address.
    pub alias: &'static str,
    /// Key and index → endpoint.
    pub endpoint: &'static str,
    /// Cluster address, protocol, port and endpoint, for services with affinity.
    pub member: &'static str,
    /// Client and key → endpoint.
    pub affinity: &'static str,
    /// Endpoint twice.
    pub hairpin: &'static str,
    /// Front → reject or drop.
    pub refused: &'static str,
    /// All cluster addresses.
    pub cluster_ip: &'static str,
    /// Fronts with source ranges.
    pub guarded: &'static str,
    /// Fronts and the sources they allow.
    pub allowed: &'static str,
    /// Chain that marks packets of others than pods.
    pub mark_outsiders: &'static str,
    /// Chain that tells insiders from outsiders.
    pub external_local: &'static str,
    /// The same for node ports.
    pub node_port_local: &'static str,
}

impl Names {
    /// The names of a family.
    pub fn of(is_v6: bool) -> &'static Names {
        if is_v6 { &NAMES_V6 } else { &NAMES_V4 }
    }
}

static NAMES_V4: Names = Names {
    service: "service4",
    short_circuit: "short-circuit4",
    outside: "outside4",
    alias: "alias4",
    endpoint: "endpoint4",
    member: "member4",
    affinity: "affinity4",
    hairpin: "hairpin4",
    refused: "refused4",
    cluster_ip: "cluster-ip4",
    guarded: "guarded4",
    allowed: "allowed4",
    mark_outsiders: "mark-outsiders4",
    external_local: "external-local4",
    node_port_local: "node-port-local4",
};

static NAMES_V6: Names = Names {
    service: "service6",
    short_circuit: "short-circuit6",
    outside: "outside6",
    alias: "alias6",
    endpoint: "endpoint6",
    member: "member6",
    affinity: "affinity6",
    hairpin: "hairpin6",
    refused: "refused6",
    cluster_ip: "cluster-ip6",
    guarded: "guarded6",
    allowed: "allowed6",
    mark_outsiders: "mark-outsiders6",
    external_local: "external-local6",
    node_port_local: "node-port-local6",
};

/// The table for `services` with the endpoints in `slices` on `node`. Where two services claim the same front, the first by
/// namespace and name has it.
pub fn plan(services: &[ServiceSpec], slices: &[SliceSpec], node: &NodeSpec) -> Ruleset {
    let mut planner = Planner { table: Ruleset::new(&node.table), node, picks: BTreeSet::new() };
    planner.frame();
    let mut by_service: HashMap<(&str, &str), Vec<&SliceSpec>> = HashMap::new();
    for slice in slices {
        by_service.entry((&slice.namespace, &slice.service)).or_default().push(slice);
    }
    let sorted: BTreeMap<_, _> =
        services.iter().map(|s| ((s.namespace.as_str(), s.name.as_str()), s)).collect();
    for (key, service) in sorted {
        let slices = by_service.get(&key).map(Vec::as_slice).unwrap_or_default();
        planner.service(service, slices);
    }
    for pick in std::mem::take(&mut planner.picks) {
        planner.table.chain(&pick.chain(), pick.rules(node));
    }
    planner.table
}

struct Planner<'a> {
    table: Ruleset,
    node: &'a NodeSpec,
    picks: BTreeSet<Pick>,
}

impl Planner<'_> {
    /// What is there with or without services.
    fn frame(&mut self) {
        let node = self.node;
        let bit = node.masquerade_mark;
        let table = &mut self.table;
        let new_only = |chain: &str| vec![Rule::new().new_flow().jump(chain)];
        table.base(
            "firewall-prerouting",
            ChainType::Filter,
            Hook::Prerouting,
            PRIORITY_BEFORE_DNAT,
            new_only("firewall"),
        );
        table.base(
            "firewall-output",
            ChainType::Filter,
            Hook::Output,
            PRIORITY_BEFORE_DNAT,
            new_only("firewall"),
        );
        let enter = vec![Rule::new().jump("services")];
        table.base("nat-prerouting", ChainType::Nat, Hook::Prerouting, PRIORITY_DNAT, enter.clone());
        table.base("nat-output", ChainType::Nat, Hook::Output, PRIORITY_DNAT, enter);
        for (name, hook) in [
            ("filter-input", Hook::Input),
            ("filter-forward", Hook::Forward),
            ("filter-output", Hook::Output),
        ] {
            table.base(name, ChainType::Filter, hook, PRIORITY_FILTER, new_only("refuse"));
        }
        table.chain("reject", vec![Rule::new().reset(), Rule::new().reject()]);
        let by_family = |name: &str| {
            [false, true].map(|v6| Rule::new().family(v6).goto(&format!("{name}{}", if v6 { 6 } else { 4 })))
        };
        for name in ["services", "refuse", "firewall", "hairpins"] {
            table.chain(name, by_family(name).to_vec());
        }
        let marked = Rule::new().marked(bit, true).clear_mark_bit(bit).masquerade();
        let hairpins = Rule::new().redirected().jump("hairpins");
        table.base(
            "nat-postrouting",
            ChainType::Nat,
            Hook::Postrouting,
            PRIORITY_SNAT,
            vec![marked, hairpins],
        );
        if node.localhost_node_ports {
            // `route_localnet` opens the way for neighbours to reach what listens on 127.0.0.1: closed again here.
            let loopback = IpNet::new(IpAddr::from([127, 0, 0, 0]), 8).expect("8 is a prefix length");
            let outside = || Rule::new().family(false).input_link("lo", false);
            let rules = vec![
                outside().destination_in(loopback, true).verdict(Verdict::Drop),
                outside().source_in(loopback, true).verdict(Verdict::Drop),
            ];
            table.base("guard-localhost", ChainType::Filter, Hook::Prerouting, PRIORITY_RAW, rules);
        }
        for is_v6 in [false, true] {
            self.sets(is_v6);
            self.family_chains(is_v6);
        }
    }

    fn sets(&mut self, is_v6: bool) {
        let names = Names::of(is_v6);
        let address = Field::address(is_v6);
        let front = || vec![address, Field::Protocol, Field::Port];
        let key = |more: &[Field]| {
            let mut fields = vec![Field::Number, address, Field::Protocol, Field::Port];
            fields.extend_from_slice(more);
            fields
        };
        let endpoint = || Target::Value(vec![address, Field::Port]);
        let table = &mut self.table;
        for name in [names.service, names.short_circuit, names.outside, names.refused] {
            table.set(name, Set::new(front(), Target::Verdict));
        }
        table.set(names.alias, Set::new(front(), Target::Value(front())));
        table.set(names.endpoint, Set::new(key(&[Field::Number]), endpoint()));
        table.set(
            names.member,
            Set::new(vec![address, Field::Protocol, Field::Port, address, Field::Port], Target::Member),
        );
        table.set(names.hairpin, Set::new(vec![address, address], Target::Member));
        table.set(names.cluster_ip, Set::new(vec![address], Target::Member));
        table.set(names.guarded, Set::new(front(), Target::Member));
        let mut allowed = front();
        allowed.push(address);
        table.set(names.allowed, Set { interval: true, ..Set::new(allowed, Target::Member) });
        let mut client = vec![address];
        client.extend(key(&[]));
        table
            .set(names.affinity, Set { dynamic: Some(AFFINITY_ENTRIES_MAX), ..Set::new(client, endpoint()) });
    }

    fn family_chains(&mut self, is_v6: bool) {
        let names = Names::of(is_v6);
        let f = if is_v6 { 6 } else { 4 };
        let of_family = |nets: &[IpNet]| -> Vec<IpNet> {
            nets.iter().filter(|net| net.addr().is_ipv6() == is_v6).map(IpNet::trunc).collect()
        };
        let pods = of_family(&self.node.pod_cidrs);
        let front = [Part::Destination { is_v6 }, Part::Protocol, Part::DestinationPort];
        let node_port = [Part::Address(any_address(is_v6)), Part::Protocol, Part::DestinationPort];
        let by_front = |set: &str| Rule::new().load(0, &front).lookup(set, 0, LookupInto::Verdict);
        // Only IPv4 loopback can be made routable.
        let loopback = if is_v6 {
            IpNet::from(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]))
        } else {
            IpNet::new(IpAddr::from([127, 0, 0, 0]), 8).expect("8 is a prefix length")
        };
        let local = || {
            let rule = Rule::new().local(FibAddress::Destination);
            if is_v6 || !self.node.localhost_node_ports { rule.destination_in(loopback, false) } else { rule }
        };
        let by_node_port = |set: &str| local().load(0, &node_port).lookup(set, 0, LookupInto::Verdict);

        let services = vec![by_front(names.service), by_node_port(names.service)];
        let mut refuse = vec![by_front(names.refused), by_node_port(names.refused)];
        let destination = [Part::Destination { is_v6 }];
        refuse.push(
            Rule::new().load(0, &destination).lookup(names.cluster_ip, 0, LookupInto::Match).goto("reject"),
        );
        refuse.extend(
            of_family(&self.node.service_cidrs)
                .iter()
                .map(|net| Rule::new().destination_in(*net, true).goto("reject")),
        );
        let mut with_source = front.to_vec();
        with_source.push(Part::Source { is_v6 });
        let firewall = vec![
            Rule::new()
                .load(0, &with_source)
                .lookup(names.allowed, 0, LookupInto::Match)
                .verdict(Verdict::Return),
            Rule::new().load(0, &front).lookup(names.guarded, 0, LookupInto::Match).verdict(Verdict::Drop),
        ];
        let pair = [Part::Source { is_v6 }, Part::Destination { is_v6 }];
        let hairpins =
            vec![Rule::new().load(0, &pair).lookup(names.hairpin, 0, LookupInto::Match).masquerade()];
        let mut outsiders: Vec<Rule> =
            pods.iter().map(|net| Rule::new().source_in(*net, true).verdict(Verdict::Return)).collect();
        outsiders.push(Rule::new().set_mark_bit(self.node.masquerade_mark));

        let locals = |key: &[Part]| {
            let vmap = |rule: Rule, set: &str| rule.load(0, key).lookup(set, 0, LookupInto::Verdict);
            let mut rules: Vec<Rule> =
                pods.iter().map(|net| vmap(Rule::new().source_in(*net, true), names.short_circuit)).collect();
            let own = Rule::new().local(FibAddress::Source).set_mark_bit(self.node.masquerade_mark);
            rules.push(vmap(own, names.short_circuit));
            rules.push(vmap(Rule::new(), names.outside));
            rules
        };
        let (external, node_port) = (locals(&front), locals(&node_port));
        let table = &mut self.table;
        table.chain(names.external_local, external);
        table.chain(names.node_port_local, node_port);
        table.chain(names.mark_outsiders, outsiders);
        table.chain(&format!("services{f}"), services);
        table.chain(&format!("refuse{f}"), refuse);
        table.chain(&format!("firewall{f}"), firewall);
        table.chain(&format!("hairpins{f}"), hairpins);
    }

    fn service(&mut self, service: &ServiceSpec, slices: &[&SliceSpec]) {
        for cluster_ip in &service.cluster_ips {
            let is_v6 = cluster_ip.is_ipv6();
            self.table.element(Names::of(is_v6).cluster_ip, Data::new().address(*cluster_ip), Value::Member);
            for port in &service.ports {
                let chosen = choose(service, port, slices, self.node, is_v6);
                Port { planner: self, service, port, cluster_ip: *cluster_ip, chosen }.plan();
            }
        }
    }
}

/// One service port in one family, on its way into the table.
struct Port<'p, 'n, 's> {
    planner: &'p mut Planner<'n>,
    service: &'s ServiceSpec,
    port: &'s ServicePort,
    cluster_ip: IpAddr,
    chosen: Chosen,
}

impl Port<'_, '_, '_> {
    fn plan(&mut self) {
        let is_v6 = self.cluster_ip.is_ipv6();
        let service = self.service;
        let internal_scope = scope(service.internal_traffic_policy);
        self.front(Front::ClusterIp, self.cluster_ip, self.port.port, internal_scope, Masquerade::Outsiders);
        let external =
            service.external_ips.iter().chain(&service.load_balancer_ips).filter(|ip| ip.is_ipv6() == is_v6);
        for ip in external {
            self.external(Front::External, *ip, self.port.port);
        }
        if let Some(node_port) = self.port.node_port {
            self.external(Front::NodePort, any_address(is_v6), node_port);
        }
        self.firewall(is_v6);
        self.endpoints(is_v6);
    }

    fn key(&self, address: IpAddr, port: u16) -> Data {
        Data::new().address(address).protocol(self.port.protocol.number()).port(port)
    }

    fn names(&self) -> &'static Names {
        Names::of(self.cluster_ip.is_ipv6())
    }

    fn list(&self, scope: Scope) -> &[SocketAddr] {
        match scope {
            Scope::Cluster => &self.chosen.cluster,
            Scope::Local => &self.chosen.local,
        }
    }

    /// The verdict that chooses among the endpoints of a scope, if it has any.
    fn pick(&mut self, front: Front, scope: Scope, masquerade: Masquerade) -> Option<Value> {
        let count = u32::try_from(self.list(scope).len()).ok().filter(|count| *count > 0)?;
        let affinity_secs = self.service.affinity_timeout_secs.unwrap_or_default();
        let pick = Pick { is_v6: self.cluster_ip.is_ipv6(), front, scope, count, affinity_secs, masquerade };
        self.planner.picks.insert(pick);
        Some(Value::Verdict(Verdict::Goto(pick.chain())))
    }

    /// A front whose traffic all goes to one scope; nothing to go to means refusal, silent where another node has endpoints.
    fn front(&mut self, front: Front, address: IpAddr, port: u16, scope: Scope, masquerade: Masquerade) {
        let (names, key) = (self.names(), self.key(address, port));
        match self.pick(front, scope, masquerade) {
            Some(verdict) => {
                self.alias(front, &key);
                self.planner.table.element(names.service, key, verdict);
            }
            None => self.refuse(names, key),
        }
    }

    fn refuse(&mut self, names: &Names, key: Data) {
        let verdict = if self.chosen.any { Verdict::Drop } else { Verdict::Goto("reject".to_owned()) };
        self.planner.table.element(names.refused, key, Value::Verdict(verdict));
    }

    fn alias(&mut self, front: Front, key: &Data) {
        if front != Front::ClusterIp {
            let target = Value::Data(self.key(self.cluster_ip, self.port.port));
            self.planner.table.element(self.names().alias, key.clone(), target);
        }
    }

    /// A front for clients outside the cluster.
    fn external(&mut self, front: Front, address: IpAddr, port: u16) {
        if self.service.external_traffic_policy == TrafficPolicy::Cluster {
            return self.front(front, address, port, Scope::Cluster, Masquerade::Always);
        }
        // `Local`: clients outside get this node's endpoints and are seen with their own address; those inside get any.
        let (names, key) = (self.names(), self.key(address, port));
        let inside = self.pick(front, Scope::Cluster, Masquerade::Never);
        let outside = self.pick(front, Scope::Local, Masquerade::Never);
        if outside.is_none() {
            self.refuse(names, key.clone());
        }
        if inside.is_none() && outside.is_none() {
            return;
        }
        self.alias(front, &key);
        let chain = if front == Front::NodePort { names.node_port_local } else { names.external_local };
        let table = &mut self.planner.table;
        if let Some(verdict) = inside {
            table.element(names.short_circuit, key.clone(), verdict);
        }
        if let Some(verdict) = outside {
            table.element(names.outside, key.clone(), verdict);
        }
        table.element(names.service, key, Value::Verdict(Verdict::Goto(chain.to_owned())));
    }

    /// `loadBalancerSourceRanges` guard the load balancer's addresses.
    fn firewall(&mut self, is_v6: bool) {
        let names = self.names();
        let ranges = merged(&self.service.load_balancer_source_ranges, is_v6);
        if self.service.load_balancer_source_ranges.is_empty() {
            return;
        }
        for ip in self.service.load_balancer_ips.iter().filter(|ip| ip.is_ipv6() == is_v6) {
            let key = self.key(*ip, self.port.port);
            let first_claim = self.planner.table.element(names.guarded, key.clone(), Value::Member);
            for range in ranges.iter().filter(|_| first_claim) {
                let end = key.clone().address(range.broadcast());
                self.planner.table.element(
                    names.allowed,
                    key.clone().address(range.network()),
                    Value::UpTo(end),
                );
            }
        }
    }

    fn endpoints(&mut self, is_v6: bool) {
        let names = Names::of(is_v6);
        let sticky = self.service.affinity_timeout_secs.is_some();
        let needs_local = self.service.internal_traffic_policy == TrafficPolicy::Local
            || self.service.external_traffic_policy == TrafficPolicy::Local;
        for scope in [Scope::Cluster, Scope::Local] {
            if scope == Scope::Local && !needs_local {
                continue;
            }
            for (index, endpoint) in (0..).zip(self.list(scope).to_vec()) {
                let key = Data::new().number(scope.number()).address(self.cluster_ip);
                let key = key.protocol(self.port.protocol.number()).port(self.port.port);
                let target = Data::new().address(endpoint.ip()).port(endpoint.port());
                let member =
                    self.key(self.cluster_ip, self.port.port).address(endpoint.ip()).port(endpoint.port());
                let table = &mut self.planner.table;
                if sticky {
                    table.element(names.member, member, Value::Member);
                }
                table.element(names.endpoint, key.number(index), Value::Data(target));
                let pair = Data::new().address(endpoint.ip()).address(endpoint.ip());
                table.element(names.hairpin, pair, Value::Member);
            }
        }
    }
}

fn scope(policy: TrafficPolicy) -> Scope {
    match policy {
        TrafficPolicy::Cluster => Scope::Cluster,
        TrafficPolicy::Local => Scope::Local,
    }
}

/// The ranges of one family without those that lie inside another: overlapping elements are refused by the kernel.
fn merged(ranges: &[IpNet], is_v6: bool) -> Vec<IpNet> {
    let family: Vec<IpNet> =
        ranges.iter().filter(|net| net.addr().is_ipv6() == is_v6).map(IpNet::trunc).collect();
    IpNet::aggregate(&family)
}
