//! ResourceClaims, ResourceClaimTemplates and DeviceClasses.

use super::{claim_status, fully_qualified, opaque, selectors};
use crate::check::{Errs, IMMUTABLE, Raw, dns_label, metadata, name_subdomain, qualified_name};
use crate::rule::{spec_and_status, spec_only};
use crate::{Context, Path, Rules, diff};
use meta::{List, Str};
use std::collections::BTreeSet;
use types::resource::v1::{
    DeviceClaim, DeviceClass, DeviceConstraint, DeviceRequest, DeviceSubRequest, DeviceToleration,
    ResourceClaim, ResourceClaimSpec, ResourceClaimTemplate,
};

const REQUESTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;

fn default_spec(spec: &mut ResourceClaimSpec) {
    let fill = |mode: &mut Str, count: &mut i64| {
        crate::fill::text(mode, "ExactCount");
        if mode == "ExactCount" && *count == 0 {
            *count = 1;
        }
    };
    let tolerate = |tolerations: &mut List<DeviceToleration>| {
        tolerations.iter_mut().for_each(|t| crate::fill::text(&mut t.operator, "Equal"));
    };
    for request in spec.devices.requests.iter_mut() {
        if let Some(r) = &mut request.exactly {
            fill(&mut r.allocation_mode, &mut r.count);
            tolerate(&mut r.tolerations);
        }
        for r in request.first_available.iter_mut() {
            fill(&mut r.allocation_mode, &mut r.count);
            tolerate(&mut r.tolerations);
        }
    }
}

impl Rules for ResourceClaim {
    const REVALIDATES_METADATA: u8 = 1;
    spec_and_status!();

    fn default(&mut self) {
        default_spec(&mut self.spec);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        devices(e, &Path::root("spec").child("devices"), &self.spec.devices);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        if self.spec != old.spec {
            let shown = diff::internal_json(&self.spec);
            e.invalid(&Path::root("spec"), Raw(shown), IMMUTABLE);
        }
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        metadata::keep_described(&mut self.metadata, &old.metadata);
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        claim_status::status(e, self, old);
    }
}

impl Rules for ResourceClaimTemplate {
    const REVALIDATES_METADATA: u8 = 1;
    fn default(&mut self) {
        default_spec(&mut self.spec.spec);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        metadata::of_template(e, &spec.child("metadata"), &self.spec.metadata);
        let inner = spec.child("spec");
        devices(e, &inner.child("devices"), &self.spec.spec.devices);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        if self.spec != old.spec {
            e.invalid(&Path::root("spec"), Raw(diff::internal_json(&*self.spec)), IMMUTABLE);
        }
    }
}

impl Rules for DeviceClass {
    const REVALIDATES_METADATA: u8 = 1;
    const CHECKS_GENERATE_NAME: bool = false;
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
        request(e, &requests.index(i), r);
    }
    for (i, r) in claim.requests.iter().enumerate().filter(|(_, r)| !names.insert(&r.name)) {
        e.duplicate(&requests.index(i), &r.name);
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
pub(super) fn known_names(claim: &DeviceClaim) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for r in claim.requests.iter() {
        known.insert(r.name.to_string());
        known.extend(r.first_available.iter().map(|s| format!("{}/{}", r.name, s.name)));
    }
    known
}

fn request(e: &mut Errs, at: &Path<'_>, r: &DeviceRequest) {
    e.each(&at.child("name"), &r.name, dns_label(&r.name));
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    match (&r.exactly, r.first_available.is_empty()) {
        (None, true) => e.required(at, ONE),
        (Some(_), false) => {
            e.invalid(at, Raw("null".into()), format!("{ONE}, but multiple fields are set"));
        }
        (None, false) => alternatives(e, &at.child("firstAvailable"), &r.first_available),
        (Some(x), true) => {
            let at = at.child("exactly");
            class(e, &at.child("deviceClassName"), &x.device_class_name);
            selectors(e, &at.child("selectors"), &x.selectors);
            part(e, &at, &x.allocation_mode, x.count, &x.tolerations);
        }
    }
}

fn alternatives(e: &mut Errs, list: &Path<'_>, alternatives: &List<DeviceSubRequest>) {
    if alternatives.len() > ALTERNATIVES_MAX {
        return e.too_many(list, alternatives.len(), ALTERNATIVES_MAX);
    }
    for (i, s) in alternatives.iter().enumerate() {
        let at = list.index(i);
        e.each(&at.child("name"), &s.name, dns_label(&s.name));
        class(e, &at.child("deviceClassName"), &s.device_class_name);
        selectors(e, &at.child("selectors"), &s.selectors);
        part(e, &at, &s.allocation_mode, s.count, &s.tolerations);
    }
    let mut names = BTreeSet::new();
    for (i, s) in alternatives.iter().enumerate().filter(|(_, s)| !names.insert(&s.name)) {
        e.duplicate(&list.index(i), &s.name);
    }
}

fn class(e: &mut Errs, at: &Path<'_>, class: &str) {
    if e.present(at, class) {
        e.each(at, class, name_subdomain(class, false));
    }
}

/// How many devices, and which taints they may have.
fn part(e: &mut Errs, at: &Path<'_>, mode: &str, count: i64, tolerations: &List<DeviceToleration>) {
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
                e.each(&at.child("value"), &t.value, crate::check::label_value(&t.value));
            }
            "" => e.required(&at.child("operator"), ""),
            other => e.unsupported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !t.effect.is_empty() {
            e.one_of(&at.child("effect"), &t.effect, &["NoExecute", "NoSchedule", "None"]);
        }
    }
}

pub(super) fn request_names(e: &mut Errs, at: &Path<'_>, names: &List<Str>, known: &BTreeSet<String>) {
    if names.len() > REQUESTS_MAX {
        e.too_many(at, names.len(), REQUESTS_MAX);
    }
    for (i, n) in names.iter().enumerate() {
        request_name(e, &at.index(i), n, known);
    }
    for (i, n) in names.iter().enumerate().filter(|(i, n)| names[..*i].contains(n)) {
        e.duplicate(&at.index(i), n);
    }
}

/// The name of a request, or of an alternative in one.
pub(super) fn request_name(e: &mut Errs, at: &Path<'_>, name: &str, known: &BTreeSet<String>) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() <= 2 {
        parts.iter().for_each(|part| e.each(at, part, dns_label(part)));
    }
    if !known.contains(name) {
        e.invalid(
            at,
            name,
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
        );
    }
}

fn constraint(e: &mut Errs, at: &Path<'_>, c: &DeviceConstraint, known: &BTreeSet<String>) {
    request_names(e, &at.child("requests"), &c.requests, known);
    if let Some(attribute) = &c.match_attribute {
        fully_qualified(e, &at.child("matchAttribute"), attribute);
    } else if let Some(attribute) = &c.distinct_attribute {
        fully_qualified(e, &at.child("distinctAttribute"), attribute);
    } else {
        // So says upstream, where no field is set.
        e.required(
            at,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        );
    }
}
