//! ResourceClaims, ResourceClaimTemplates and DeviceClasses.

use super::{fully_qualified, opaque, quoted, selectors};
use crate::check::{Errs, IMMUTABLE, Raw, dns_label, name_subdomain, qualified_name};
use crate::rule::{spec_and_status, spec_only};
use crate::{Context, Path, Rules, diff};
use meta::{List, Str};
use std::collections::BTreeSet;
use types::resource::v1::{
    DeviceClaim, DeviceClass, DeviceConstraint, DeviceRequest, DeviceToleration, ResourceClaim,
    ResourceClaimSpec, ResourceClaimTemplate,
};

const REQUESTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;
const CONSUMERS_MAX: usize = 256;

fn default_spec(spec: &mut ResourceClaimSpec) {
    let fill = |mode: &mut Str, count: &mut i64| {
        crate::fill::text(mode, "ExactCount");
        if mode == "ExactCount" && *count == 0 {
            *count = 1;
        }
    };
    for request in spec.devices.requests.iter_mut() {
        if let Some(r) = &mut request.exactly {
            fill(&mut r.allocation_mode, &mut r.count);
        }
        for r in request.first_available.iter_mut() {
            fill(&mut r.allocation_mode, &mut r.count);
        }
    }
}

impl Rules for ResourceClaim {
    spec_and_status!();

    fn default(&mut self) {
        default_spec(&mut self.spec);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        devices(e, &Path::root("spec").child("devices"), &self.spec.devices);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        if self.spec != old.spec {
            let shown = diff::internal_json(&self.spec);
            e.invalid(&Path::root("spec"), Raw(shown), IMMUTABLE);
        }
        // What was accepted once and did not change is not judged again.
        if self.spec != old.spec && self.spec.devices.requests.is_empty() {
            self.check(e, cx);
        }
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        let list = status.child("reservedFor");
        if self.status.reserved_for.len() > CONSUMERS_MAX {
            e.too_many(&list, self.status.reserved_for.len(), CONSUMERS_MAX);
        }
        let mut uids = BTreeSet::new();
        for (i, consumer) in self.status.reserved_for.iter().enumerate() {
            let at = list.index(i);
            for (field, value) in
                [("resource", &consumer.resource), ("name", &consumer.name), ("uid", &consumer.uid)]
            {
                e.present(&at.child(field), value);
            }
            if !uids.insert(&consumer.uid) {
                e.duplicate(&at.child("uid"), &consumer.uid);
            }
        }
        if !self.status.reserved_for.is_empty() && self.status.allocation.is_none() {
            e.forbidden(&list, "may not be specified when `allocated` is not set");
        }
        let both = (&self.status.allocation, &old.status.allocation);
        if let (Some(new), Some(old)) = both
            && new != old
        {
            e.invalid(&status.child("allocation"), quoted(&**new), IMMUTABLE);
        }
    }
}

impl Rules for ResourceClaimTemplate {
    fn default(&mut self) {
        default_spec(&mut self.spec.spec);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        let inner = spec.child("spec");
        devices(e, &inner.child("devices"), &self.spec.spec.devices);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        if self.spec != old.spec {
            e.invalid(&Path::root("spec"), Raw(diff::internal_json(&*self.spec)), IMMUTABLE);
        }
    }
}

impl Rules for DeviceClass {
    spec_only!();

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        selectors(e, &at.child("selectors"), &self.spec.selectors);
        let list = at.child("config");
        if self.spec.config.len() > REQUESTS_MAX {
            e.too_many(&list, self.spec.config.len(), REQUESTS_MAX);
        }
        for (i, config) in self.spec.config.iter().enumerate() {
            opaque(e, &list.index(i), config.opaque.as_deref());
        }
        if let Some(name) = &self.spec.extended_resource_name
            && !crate::core::names::is_extended(name)
        {
            e.invalid(&at.child("extendedResourceName"), name, "must be a valid extended resource name");
        }
    }
}

fn devices(e: &mut Errs, at: &Path<'_>, claim: &DeviceClaim) {
    let requests = at.child("requests");
    if claim.requests.len() > REQUESTS_MAX {
        e.too_many(&requests, claim.requests.len(), REQUESTS_MAX);
    }
    let mut names = BTreeSet::new();
    for (i, r) in claim.requests.iter().enumerate() {
        let at = requests.index(i);
        request(e, &at, r);
        if !names.insert(&r.name) {
            e.duplicate(&at, &r.name);
        }
    }
    let known = known_names(claim);
    let list = at.child("constraints");
    if claim.constraints.len() > REQUESTS_MAX {
        e.too_many(&list, claim.constraints.len(), REQUESTS_MAX);
    }
    for (i, c) in claim.constraints.iter().enumerate() {
        constraint(e, &list.index(i), c, &known);
    }
    let list = at.child("config");
    if claim.config.len() > REQUESTS_MAX {
        e.too_many(&list, claim.config.len(), REQUESTS_MAX);
    }
    for (i, c) in claim.config.iter().enumerate() {
        let at = list.index(i);
        request_names(e, &at.child("requests"), &c.requests, &known);
        opaque(e, &at, c.opaque.as_deref());
    }
}

/// The names that constraints and configurations may refer to.
fn known_names(claim: &DeviceClaim) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for r in claim.requests.iter() {
        known.insert(r.name.to_string());
        known.extend(r.first_available.iter().map(|s| format!("{}/{}", r.name, s.name)));
    }
    known
}

fn name(e: &mut Errs, at: &Path<'_>, name: &str) {
    if e.present(at, name) {
        e.each(at, name, dns_label(name));
    }
}

fn request(e: &mut Errs, at: &Path<'_>, r: &DeviceRequest) {
    name(e, &at.child("name"), &r.name);
    let exactly = at.child("exactly");
    match (&r.exactly, r.first_available.is_empty()) {
        (None, true) => e.required(at, "exactly one of `exactly` or `firstAvailable` is required"),
        (Some(_), false) => {
            e.invalid(
                at,
                quoted(r),
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            );
        }
        _ => {}
    }
    if let Some(x) = &r.exactly {
        part(e, &exactly, &x.device_class_name, &x.allocation_mode, x.count, &x.tolerations);
        selectors(e, &exactly.child("selectors"), &x.selectors);
    }
    let list = at.child("firstAvailable");
    if r.first_available.len() > ALTERNATIVES_MAX {
        e.too_many(&list, r.first_available.len(), ALTERNATIVES_MAX);
    }
    let mut names = BTreeSet::new();
    for (i, s) in r.first_available.iter().enumerate() {
        let at = list.index(i);
        name(e, &at.child("name"), &s.name);
        if !names.insert(&s.name) {
            e.duplicate(&at, &s.name);
        }
        part(e, &at, &s.device_class_name, &s.allocation_mode, s.count, &s.tolerations);
        selectors(e, &at.child("selectors"), &s.selectors);
    }
}

fn part(
    e: &mut Errs,
    at: &Path<'_>,
    class: &Str,
    mode: &str,
    count: i64,
    tolerations: &List<DeviceToleration>,
) {
    if e.present(&at.child("deviceClassName"), class) {
        e.each(&at.child("deviceClassName"), class, name_subdomain(class, false));
    }
    let count_at = at.child("count");
    match mode {
        "All" if count != 0 => {
            e.invalid(&count_at, count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => e.invalid(&count_at, count, crate::check::NOT_POSITIVE),
        "All" | "ExactCount" => {}
        other => e.unsupported(&at.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    let list = at.child("tolerations");
    if tolerations.len() > TOLERATIONS_MAX {
        e.too_many(&list, tolerations.len(), TOLERATIONS_MAX);
    }
    for (i, t) in tolerations.iter().enumerate() {
        let at = list.index(i);
        if !t.key.is_empty() {
            e.each(&at.child("key"), &t.key, qualified_name(&t.key));
        }
        match t.operator.as_str() {
            "Exists" => {
                if !t.value.is_empty() {
                    e.invalid(&at.child("value"), &t.value, "must be empty for operator `Exists`");
                }
            }
            "Equal" => {
                if t.key.is_empty() {
                    e.required(&at.child("key"), "must not be empty for operator `Equal`");
                }
                e.each(&at.child("value"), &t.value, crate::check::label_value(&t.value));
            }
            "" => e.required(&at.child("operator"), ""),
            other => e.unsupported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !t.effect.is_empty() {
            e.one_of(&at.child("effect"), &t.effect, &["NoExecute", "NoSchedule"]);
        }
    }
}

fn request_names(e: &mut Errs, at: &Path<'_>, names: &List<Str>, known: &BTreeSet<String>) {
    if names.len() > REQUESTS_MAX {
        e.too_many(at, names.len(), REQUESTS_MAX);
    }
    for (i, n) in names.iter().enumerate() {
        let at = at.index(i);
        if names[..i].contains(n) {
            e.duplicate(&at, n);
        }
        if !known.contains(n.as_str()) {
            e.invalid(
                &at,
                n,
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            );
        }
    }
}

fn constraint(e: &mut Errs, at: &Path<'_>, c: &DeviceConstraint, known: &BTreeSet<String>) {
    request_names(e, &at.child("requests"), &c.requests, known);
    match (&c.match_attribute, &c.distinct_attribute) {
        (None, None) => e.required(at, "exactly one of: `distinctAttribute`, `matchAttribute` is required"),
        (matched, distinct) => {
            if let Some(attribute) = matched {
                fully_qualified(e, &at.child("matchAttribute"), attribute);
            }
            if let Some(attribute) = distinct {
                fully_qualified(e, &at.child("distinctAttribute"), attribute);
            }
        }
    }
}
