//! IPAddresses and ServiceCIDRs: which addresses services may have, and who has them.

use crate::check::{Errs, Messages, dns_subdomain, ip, metadata, path_segment};
use crate::diff;
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::BadValue;
use types::networking::v1::{IPAddress, ServiceCIDR};

/// The name of an IPAddress is the address in its canonical form.
fn address_name(name: &str, _prefix: bool) -> Messages {
    let mut e = Errs::new();
    ip::strict_address(&mut e, &Path::root("metadata"), name);
    e.into_vec().into_iter().map(|e| e.detail.into()).collect()
}

impl Rules for IPAddress {
    const REVALIDATES_METADATA: u8 = 1;
    const NAME: crate::check::NameCheck = address_name;
    const FIELD_LABELS: &'static [&'static str] = &[];

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        let at = spec.child("parentRef");
        let Some(parent) = &self.spec.parent_ref else { return e.required(&at, "") };
        if !parent.group.is_empty() {
            e.each(&at.child("group"), &parent.group, dns_subdomain(&parent.group));
        }
        for (field, value) in [("resource", &parent.resource), ("name", &parent.name)] {
            if e.present(&at.child(field), value) {
                e.each(&at.child(field), value, path_segment(value, false));
            }
        }
        if !parent.namespace.is_empty() {
            e.each(&at.child("namespace"), &parent.namespace, path_segment(&parent.namespace, false));
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        e.immutable(
            &Path::root("spec").child("parentRef"),
            &self.spec.parent_ref,
            &old.spec.parent_ref,
            || diff::shown_option(self.spec.parent_ref.as_deref()),
        );
    }
}

impl Rules for ServiceCIDR {
    spec_and_status!();

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        metadata::keep_described(&mut self.metadata, &old.metadata);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        let at = spec.child("cidrs");
        let ranges = &self.spec.cidrs;
        if ranges.is_empty() {
            return e.required(&at, "at least one CIDR required");
        }
        if ranges.len() > 2 {
            return e.invalid(&at, BadValue::of(ranges), "may only hold up to 2 values");
        }
        let v6: Vec<bool> =
            ranges.iter().filter_map(|r| ip::Cidr::parse(r)).map(|c| c.network.is_ipv6()).collect();
        if ranges.len() == 2 && v6.len() == 2 && v6[0] == v6[1] {
            e.invalid(
                &at,
                BadValue::of(ranges),
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            );
        }
        for (i, range) in ranges.iter().enumerate() {
            ip::strict_range(e, &at.index(i), range);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        let spec = Path::root("spec");
        let at = spec.child("cidrs");
        // A second family may be added once; what is there stays.
        let (now, then) = (&self.spec.cidrs, &old.spec.cidrs);
        let grows = then.len() == 1 && now.len() == 2;
        if now.first() != then.first()
            || (now.len() != then.len() && !grows)
            || now.get(1) != then.get(1) && !grows
        {
            e.invalid(&at, BadValue::of(now), crate::check::IMMUTABLE);
        }
        if grows {
            self.check(e, cx);
        }
    }
}
