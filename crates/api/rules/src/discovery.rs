//! The group `discovery.k8s.io`: EndpointSlice.

use crate::check::{Errs, IMMUTABLE, dns_label, ip, labels, name_subdomain, qualified_name};
use crate::core::pod::container::PROTOCOLS;
use crate::fill::text_opt;
use crate::{Context, Path, Rules};
use meta::List;
use std::collections::BTreeSet;
use std::net::IpAddr;
use types::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20000;
const HINTS_MAX: usize = 8;
const TOPOLOGY_MAX: usize = 16;

impl Rules for EndpointSlice {
    const RECHECKS_UPDATED_METADATA: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const GENERATION: bool = true;

    fn default(&mut self) {
        for port in self.ports.iter_mut() {
            text_opt(&mut port.name, "");
            text_opt(&mut port.protocol, "TCP");
        }
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.metadata.generation = 1;
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.deprecated_topology.clear());
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.count_generation(old);
        // The field can no longer be written; what is there stays as long as nothing else changes.
        if self.endpoints != old.endpoints {
            self.endpoints.iter_mut().for_each(|endpoint| endpoint.deprecated_topology.clear());
        }
    }

    fn spec_differs(&self, old: &Self) -> bool {
        (&self.endpoints, &self.ports, &self.address_type) != (&old.endpoints, &old.ports, &old.address_type)
            || self.metadata.labels != old.metadata.labels
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        e.required_one_of(&Path::root("addressType"), &self.address_type, &["FQDN", "IPv4", "IPv6"]);
        endpoints(e, self);
        ports(e, &self.ports);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        if self.address_type != old.address_type {
            e.invalid(&Path::root("addressType"), &self.address_type, IMMUTABLE);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut out = Vec::new();
        if self.address_type == "FQDN" && old.is_none() {
            out.push("spec.addressType: FQDN endpoints are deprecated".into());
        }
        let list = Path::root("endpoints");
        for (i, endpoint) in self.endpoints.iter().enumerate().filter(|_| self.address_type != "FQDN") {
            let at = list.index(i);
            let addresses = at.child("addresses");
            out.extend(
                endpoint
                    .addresses
                    .iter()
                    .enumerate()
                    .filter_map(|(i, a)| ip::address_warning(&addresses.index(i), a)),
            );
        }
        out
    }
}

fn endpoints(e: &mut Errs, slice: &EndpointSlice) {
    let list = Path::root("endpoints");
    if slice.endpoints.len() > ENDPOINTS_MAX {
        return e.too_many(&list, slice.endpoints.len(), ENDPOINTS_MAX);
    }
    for (i, endpoint) in slice.endpoints.iter().enumerate() {
        self::endpoint(e, &list.index(i), endpoint, &slice.address_type);
    }
}

fn endpoint(e: &mut Errs, at: &Path<'_>, endpoint: &Endpoint, kind: &str) {
    let addresses = at.child("addresses");
    match endpoint.addresses.len() {
        0 => e.required(&addresses, "must contain at least 1 address"),
        n if n > ADDRESSES_MAX => e.too_many(&addresses, n, ADDRESSES_MAX),
        _ => {}
    }
    for (i, address) in endpoint.addresses.iter().enumerate() {
        match kind {
            "IPv4" | "IPv6" => {
                // The list is named when the address is of the wrong family, the element when it is no address.
                let before = e.len();
                let check = if kind == "IPv6" { ip::strict_address } else { ip::address };
                let parsed = check(e, &addresses.index(i), address);
                if e.len() == before {
                    let right = matches!(
                        (kind, parsed),
                        ("IPv4", Some(IpAddr::V4(_))) | ("IPv6", Some(IpAddr::V6(_)))
                    );
                    if !right {
                        e.invalid(&addresses, address, format!("must be an {kind} address"));
                    } else {
                        ip::reachable(e, &addresses.index(i), address);
                    }
                }
            }
            "FQDN" => fqdn(e, &addresses.index(i), address),
            _ => {}
        }
    }
    if let Some(node) = &endpoint.node_name {
        e.each(&at.child("nodeName"), node, name_subdomain(node, false));
    }
    let topology = at.child("deprecatedTopology");
    if endpoint.deprecated_topology.len() > TOPOLOGY_MAX {
        e.too_many(&topology, endpoint.deprecated_topology.len(), TOPOLOGY_MAX);
    }
    labels::labels(e, &topology, &endpoint.deprecated_topology);
    if endpoint.deprecated_topology.contains_key("topology.kubernetes.io/zone") {
        e.invalid(
            &topology.key("topology.kubernetes.io/zone"),
            endpoint.deprecated_topology.get("topology.kubernetes.io/zone").map_or("", |v| v.as_str()),
            "use zone instead",
        );
    }
    if let Some(hostname) = &endpoint.hostname {
        e.each(&at.child("hostname"), hostname, dns_label(hostname));
    }
    if let Some(h) = &endpoint.hints {
        hints(e, &at.child("hints"), h);
    }
}

fn fqdn(e: &mut Errs, at: &Path<'_>, name: &str) {
    let trimmed = name.strip_suffix('.').unwrap_or(name);
    let messages = crate::check::dns_subdomain(trimmed);
    if name.is_empty() {
        e.required(at, "");
    } else if !messages.is_empty() {
        e.invalid(at, trimmed, messages.join(","));
    } else if trimmed.split('.').count() < 2 {
        e.invalid(at, trimmed, "should be a domain with at least two segments separated by dots");
    }
}

fn hints(e: &mut Errs, at: &Path<'_>, hints: &EndpointHints) {
    let groups = [
        ("forZones", hints.for_zones.iter().map(|z| &z.name).collect::<Vec<_>>()),
        ("forNodes", hints.for_nodes.iter().map(|n| &n.name).collect::<Vec<_>>()),
    ];
    for (field, names) in groups {
        let list = at.child(field);
        if names.len() > HINTS_MAX {
            e.too_many(&list, names.len(), HINTS_MAX);
            continue;
        }
        let mut seen = BTreeSet::new();
        for (i, name) in names.into_iter().enumerate() {
            let item = list.index(i);
            let at = item.child("name");
            if !seen.insert(name) {
                e.duplicate(&at, name);
            } else if field == "forZones" {
                e.each(&at, name, crate::check::label_value(name));
            } else {
                e.each(&at, name, name_subdomain(name, false));
            }
        }
    }
}

fn ports(e: &mut Errs, ports: &List<EndpointPort>) {
    let list = Path::root("ports");
    if ports.len() > PORTS_MAX {
        return e.too_many(&list, ports.len(), PORTS_MAX);
    }
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = list.index(i);
        let name = port.name.clone().unwrap_or_default();
        if !name.is_empty() {
            e.each(&at.child("name"), &name, dns_label(&name));
        }
        if !names.insert(name.clone()) {
            e.duplicate(&at.child("name"), &name);
        }
        match port.protocol.as_deref() {
            None => e.required(&at.child("protocol"), ""),
            Some(protocol) => e.one_of(&at.child("protocol"), protocol, &PROTOCOLS),
        }
        if let Some(protocol) = &port.app_protocol {
            e.each(&at.child("appProtocol"), protocol, qualified_name(protocol));
        }
    }
}
