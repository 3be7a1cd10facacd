//! Endpoints.

use super::pod::container::{PROTOCOLS, number};
use crate::check::{Errs, dns_label, ip, name_subdomain, qualified_name};
use crate::fill::text;
use crate::{Context, Path, Rules};
use meta::List;
use types::core::v1::*;

impl Rules for Endpoints {
    const REVALIDATES_METADATA: u8 = 1;
    const CREATE_ON_UPDATE: bool = true;

    fn default(&mut self) {
        for port in self.subsets.iter_mut().flat_map(|s| s.ports.iter_mut()) {
            text(&mut port.protocol, "TCP");
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let subsets = Path::root("subsets");
        for (i, subset) in self.subsets.iter().enumerate() {
            let at = subsets.index(i);
            if subset.addresses.is_empty() && subset.not_ready_addresses.is_empty() {
                e.required(&at, "must specify `addresses` or `notReadyAddresses`");
            }
            addresses(e, &at.child("addresses"), &subset.addresses);
            addresses(e, &at.child("notReadyAddresses"), &subset.not_ready_addresses);
            let list = at.child("ports");
            for (i, port) in subset.ports.iter().enumerate() {
                let at = list.index(i);
                if !port.name.is_empty() {
                    e.each(&at.child("name"), &port.name, dns_label(&port.name));
                } else if subset.ports.len() > 1 {
                    e.required(&at.child("name"), "");
                }
                number(e, &at.child("port"), port.port);
                e.required_one_of(&at.child("protocol"), &port.protocol, &PROTOCOLS);
                if let Some(protocol) = &port.app_protocol {
                    e.each(&at.child("appProtocol"), protocol, qualified_name(protocol));
                }
            }
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let subsets = Path::root("subsets");
        let mut out = Vec::new();
        for (i, subset) in self.subsets.iter().enumerate() {
            let at = subsets.index(i);
            for (field, list) in
                [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)]
            {
                let list_at = at.child(field);
                out.extend(
                    list.iter()
                        .enumerate()
                        .filter_map(|(i, a)| ip::address_warning(&list_at.index(i).child("ip"), &a.ip)),
                );
            }
        }
        out
    }
}

fn addresses(e: &mut Errs, at: &Path<'_>, list: &List<EndpointAddress>) {
    for (i, address) in list.iter().enumerate() {
        let at = at.index(i);
        ip::address(e, &at.child("ip"), &address.ip);
        if !address.hostname.is_empty() {
            e.each(&at.child("hostname"), &address.hostname, dns_label(&address.hostname));
        }
        if let Some(node) = &address.node_name {
            e.each(&at.child("nodeName"), node, name_subdomain(node, false));
        }
        ip::reachable(e, &at.child("ip"), &address.ip);
    }
}
