//! NetworkPolicies.

use crate::check::{Errs, ip, labels, port_name, port_number};
use crate::fill::text_opt;
use crate::{Context, Path, Rules};
use meta::{BadValue, IntOrString, List, thin_vec};
use types::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};

impl Rules for NetworkPolicy {
    const GENERATION: bool = true;

    fn spec_differs(&self, old: &Self) -> bool {
        self.spec != old.spec || crate::diff::holds_empty(&self.spec)
    }

    fn default(&mut self) {
        let spec = &mut self.spec;
        let ports =
            spec.ingress.iter_mut().map(|r| &mut r.ports).chain(spec.egress.iter_mut().map(|r| &mut r.ports));
        for port in ports.flatten() {
            text_opt(&mut port.protocol, "TCP");
        }
        if spec.policy_types.is_empty() {
            spec.policy_types = thin_vec!["Ingress".into()];
            if !spec.egress.is_empty() {
                spec.policy_types.push("Egress".into());
            }
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        labels::selector(e, &at.child("podSelector"), &spec.pod_selector);
        let list = at.child("ingress");
        for (i, rule) in spec.ingress.iter().enumerate() {
            let at = list.index(i);
            ports(e, &at.child("ports"), &rule.ports);
            peers(e, &at.child("from"), &rule.from);
        }
        let list = at.child("egress");
        for (i, rule) in spec.egress.iter().enumerate() {
            let at = list.index(i);
            ports(e, &at.child("ports"), &rule.ports);
            peers(e, &at.child("to"), &rule.to);
        }
        let types = at.child("policyTypes");
        if spec.policy_types.len() > 2 {
            return e.invalid(
                &types,
                BadValue::of(&spec.policy_types),
                "may not specify more than two policyTypes",
            );
        }
        for (i, kind) in spec.policy_types.iter().enumerate() {
            e.one_of(&types.index(i), kind, &["Ingress", "Egress"]);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let spec = Path::root("spec");
        let mut out = Vec::new();
        let mut blocks = |at: &Path<'_>, peers: &List<NetworkPolicyPeer>| {
            for (i, block) in peers.iter().enumerate().filter_map(|(i, p)| Some((i, p.ip_block.as_ref()?))) {
                let item = at.index(i);
                let at = item.child("ipBlock");
                out.extend(ip::range_warnings(&at.child("cidr"), &block.cidr));
                let list = at.child("except");
                for (i, range) in block.except.iter().enumerate() {
                    out.extend(ip::range_warnings(&list.index(i), range));
                }
            }
        };
        for (i, rule) in self.spec.ingress.iter().enumerate() {
            blocks(&spec.child("ingress").index(i).child("from"), &rule.from);
        }
        for (i, rule) in self.spec.egress.iter().enumerate() {
            blocks(&spec.child("egress").index(i).child("to"), &rule.to);
        }
        out
    }
}

fn ports(e: &mut Errs, at: &Path<'_>, ports: &List<NetworkPolicyPort>) {
    for (i, p) in ports.iter().enumerate() {
        let at = at.index(i);
        if let Some(protocol) = &p.protocol {
            e.one_of(&at.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
        }
        match &p.port {
            Some(IntOrString::Int(n)) => {
                let number_at = at.child("port");
                for message in port_number((*n).into()) {
                    e.invalid(&number_at, *n, message);
                }
                if let Some(end) = p.end_port {
                    if end < *n {
                        e.invalid(&at.child("endPort"), *n, "must be greater than or equal to `port`");
                    }
                    for message in port_number(end.into()) {
                        e.invalid(&at.child("endPort"), end, message);
                    }
                }
            }
            Some(IntOrString::String(name)) => {
                if let Some(end) = p.end_port {
                    e.invalid(&at.child("endPort"), end, "may not be specified when `port` is non-numeric");
                }
                e.each(&at.child("port"), name, port_name(name));
            }
            None => {
                if let Some(end) = p.end_port {
                    e.invalid(&at.child("endPort"), end, "may not be specified when `port` is not specified");
                }
            }
        }
    }
}

fn peers(e: &mut Errs, at: &Path<'_>, peers: &List<NetworkPolicyPeer>) {
    for (i, p) in peers.iter().enumerate() {
        let at = at.index(i);
        labels::selector_opt(e, &at.child("podSelector"), p.pod_selector.as_deref());
        labels::selector_opt(e, &at.child("namespaceSelector"), p.namespace_selector.as_deref());
        if let Some(b) = &p.ip_block {
            block(e, &at.child("ipBlock"), b);
        }
        let by_labels = p.pod_selector.is_some() || p.namespace_selector.is_some();
        match (by_labels, p.ip_block.is_some()) {
            (false, false) => e.required(&at, "must specify a peer"),
            (true, true) => e.forbidden(&at, "may not specify both ipBlock and another peer"),
            _ => {}
        }
    }
}

fn block(e: &mut Errs, at: &Path<'_>, block: &IPBlock) {
    if !e.present(&at.child("cidr"), &block.cidr) {
        return;
    }
    let Some(whole) = ip::range(e, &at.child("cidr"), &block.cidr) else { return };
    let list = at.child("except");
    for (i, value) in block.except.iter().enumerate() {
        if let Some(part) = ip::range(e, &list.index(i), value)
            && (!whole.contains(part.network) || whole.prefix >= part.prefix)
        {
            e.invalid(&list.index(i), value, "must be a strict subset of `cidr`");
        }
    }
}
