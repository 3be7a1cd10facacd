//! ResourceSlices.

use super::{driver, fully_qualified, identifier};
use crate::check::{BadValue, Errs, IMMUTABLE, dns_label, dns_subdomain, name_subdomain, qualified_name};
use crate::core::pod::scheduling::node_selector;
use crate::diff;
use crate::rule::spec_only;
use crate::{Context, Path, Rules};
use meta::{Quantity, Str};
use std::collections::BTreeSet;
use types::resource::v1::{Device, DeviceAttribute, ResourceSlice};

const DEVICES_MAX: usize = 128;
const ATTRIBUTES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const VALUE_BYTES_MAX: usize = 64;

impl Rules for ResourceSlice {
    const FIELD_LABELS: &'static [&'static str] = &["spec.nodeName", "spec.driver"];
    spec_only!();

    fn default(&mut self) {
        for mapping in
            self.spec.devices.iter_mut().flat_map(|d| d.node_allocatable_resource_mappings.values_mut())
        {
            crate::fill::set(&mut mapping.allocation_multiplier, Quantity::from_millis(1000));
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        driver(e, &at.child("driver"), &spec.driver);
        let pool = at.child("pool");
        pool_name(e, &pool.child("name"), &spec.pool.name);
        if spec.pool.resource_slice_count <= 0 {
            e.invalid(
                &pool.child("resourceSliceCount"),
                spec.pool.resource_slice_count,
                crate::check::NOT_POSITIVE,
            );
        }
        e.non_negative(&pool.child("generation"), spec.pool.generation);
        let chosen = [
            ("nodeName", spec.node_name.as_ref().is_some_and(|n| !n.is_empty())),
            ("nodeSelector", spec.node_selector.is_some()),
            ("allNodes", spec.all_nodes == Some(true)),
            ("perDeviceNodeSelection", spec.per_device_node_selection == Some(true)),
        ];
        const FIELDS: &str =
            "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        match chosen.iter().filter(|(_, set)| *set).count() {
            0 => e.required(&at, FIELDS),
            1 => {}
            _ => {
                let set: Vec<String> =
                    chosen.iter().filter(|(_, set)| *set).map(|(f, _)| format!("`{f}`")).collect();
                e.invalid(
                    &at,
                    BadValue::Plain(format!("{{{}}}", set.join(", "))),
                    format!("{FIELDS}, but multiple fields are set"),
                );
            }
        }
        if let Some(name) = spec.node_name.as_ref().filter(|n| !n.is_empty()) {
            e.each(&at.child("nodeName"), name, name_subdomain(name, false));
        }
        if let Some(selector) = &spec.node_selector {
            let selector_at = at.child("nodeSelector");
            node_selector(e, &selector_at, selector);
            if selector.node_selector_terms.len() != 1 {
                e.invalid(
                    &selector_at.child("nodeSelectorTerms"),
                    diff::shown_list(&selector.node_selector_terms),
                    "must have exactly one node selector term",
                );
            }
        }
        let list = at.child("devices");
        if spec.devices.len() > DEVICES_MAX {
            e.too_many(&list, spec.devices.len(), DEVICES_MAX);
        }
        let mut names = BTreeSet::new();
        for (i, d) in spec.devices.iter().enumerate() {
            let at = list.index(i);
            device(e, &at, d);
            if !names.insert(&d.name) {
                e.duplicate(&at, &d.name);
            }
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        let at = Path::root("spec");
        for (field, new, old) in [
            ("driver", BadValue::from(&self.spec.driver), BadValue::from(&old.spec.driver)),
            ("nodeName", BadValue::of(&self.spec.node_name), BadValue::of(&old.spec.node_name)),
        ] {
            if new != old {
                e.invalid(&at.child(field), new, IMMUTABLE);
            }
        }
        let pool = at.child("pool");
        e.immutable(&pool.child("name"), &self.spec.pool.name, &old.spec.pool.name, || {
            (&self.spec.pool.name).into()
        });
    }

    fn field(&self, label: &str) -> Option<Str> {
        match label {
            "spec.nodeName" => Some(self.spec.node_name.clone().unwrap_or_default()),
            "spec.driver" => Some(self.spec.driver.clone()),
            _ => None,
        }
    }
}

/// One or more DNS subdomains joined by slashes.
fn pool_name(e: &mut Errs, at: &Path<'_>, name: &str) {
    if !e.present(at, name) {
        return;
    }
    if name.len() > 253 {
        e.too_long(at, 253);
    }
    for part in name.split('/') {
        e.each(at, part, dns_subdomain(part));
    }
}

fn device(e: &mut Errs, at: &Path<'_>, d: &Device) {
    if e.present(&at.child("name"), &d.name) {
        e.each(&at.child("name"), &d.name, dns_label(&d.name));
    }
    if d.attributes.len() + d.capacity.len() > ATTRIBUTES_MAX {
        e.invalid(
            at,
            d.attributes.len() + d.capacity.len(),
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"),
        );
    }
    let attributes = at.child("attributes");
    for (name, value) in d.attributes.iter() {
        key(e, &attributes, name);
        attribute(e, &attributes.key(name), value);
    }
    let capacity = at.child("capacity");
    for (name, _) in d.capacity.iter() {
        key(e, &capacity, name);
    }
    let taints = at.child("taints");
    if d.taints.len() > TAINTS_MAX {
        e.too_many(&taints, d.taints.len(), TAINTS_MAX);
    }
    for (i, taint) in d.taints.iter().enumerate() {
        let at = taints.index(i);
        if e.present(&at.child("key"), &taint.key) {
            e.each(&at.child("key"), &taint.key, qualified_name(&taint.key));
        }
        if !taint.value.is_empty() {
            e.each(&at.child("value"), &taint.value, crate::check::label_value(&taint.value));
        }
        e.required_one_of(&at.child("effect"), &taint.effect, &["NoExecute", "NoSchedule", "None"]);
    }
}

/// The name of an attribute, with or without a domain.
fn key(e: &mut Errs, at: &Path<'_>, name: &str) {
    if name.contains('/') { fully_qualified(e, at, name) } else { identifier(e, at, name) }
}

fn attribute(e: &mut Errs, at: &Path<'_>, a: &DeviceAttribute) {
    let set = [a.bool.is_some(), a.int.is_some(), a.string.is_some(), a.version.is_some()];
    let lists = [!a.bools.is_empty(), !a.ints.is_empty(), !a.strings.is_empty(), !a.versions.is_empty()];
    match set.iter().chain(lists.iter()).filter(|s| **s).count() {
        0 => e.required(at, "exactly one value must be specified"),
        1 => {}
        _ => e.invalid(at, super::quoted(a), "exactly one value must be specified"),
    }
    for (field, value) in [("string", &a.string), ("version", &a.version)] {
        if value.as_ref().is_some_and(|v| v.len() > VALUE_BYTES_MAX) {
            e.too_long(&at.child(field), VALUE_BYTES_MAX);
        }
    }
}
