//! ResourceSlices.

use super::{capacity, device};
use crate::check::{BadValue, Errs, NOT_POSITIVE, dns_label, dns_subdomain, name_subdomain};
use crate::core::pod::scheduling::node_selector;
use crate::core::volume_source::csi_driver_name;
use crate::diff;
use crate::rule::spec_only;
use crate::{Context, Path, Rules};
use meta::{Quantity, Str, is_absent};
use std::collections::BTreeSet;
use types::resource::v1::{ResourcePool, ResourceSlice, ResourceSliceSpec};

const DEVICES_MAX: usize = 128;
/// How many devices a slice may have when one has taints or consumes counters.
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;

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

    fn prepare_create(&mut self, cx: &Context) {
        self.metadata.generation = 1;
        drop_disabled(&mut self.spec);
        date_taints(&mut self.spec, cx);
    }

    // What is off counts as a change before it goes.
    fn prepare_update(&mut self, old: &Self, cx: &Context) {
        date_taints(&mut self.spec, cx);
        self.count_generation(old);
        drop_disabled(&mut self.spec);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        judge(self, e, None);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        judge(self, e, Some(old));
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let driver = &self.spec.driver;
        let upper = driver.bytes().any(|b| b.is_ascii_uppercase());
        let text = format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        );
        upper.then_some(text).into_iter().collect()
    }

    fn field(&self, label: &str) -> Option<Str> {
        match label {
            "spec.nodeName" => Some(self.spec.node_name.clone().unwrap_or_default()),
            "spec.driver" => Some(self.spec.driver.clone()),
            _ => None,
        }
    }
}

/// A taint that does not say since when it is there is there since now.
fn date_taints(spec: &mut ResourceSliceSpec, cx: &Context) {
    for taint in spec.devices.iter_mut().flat_map(|device| device.taints.iter_mut()) {
        taint.time_added = taint.time_added.or(cx.now);
    }
}

/// Takes out what belongs to features that are off.
fn drop_disabled(spec: &mut ResourceSliceSpec) {
    for device in spec.devices.iter_mut() {
        // DRANodeAllocatableResources.
        device.node_allocatable_resource_mappings = Default::default();
        // DRAListTypeAttributes.
        for attribute in device.attributes.values_mut() {
            attribute.bools = Default::default();
            attribute.ints = Default::default();
            attribute.strings = Default::default();
            attribute.versions = Default::default();
        }
    }
}

/// Checks a slice, which replaces `old`.
fn judge(slice: &ResourceSlice, e: &mut Errs, old: Option<&ResourceSlice>) {
    let at = Path::root("spec");
    let spec = &slice.spec;
    csi_driver_name(e, &at.child("driver"), &spec.driver);
    pool(e, &at.child("pool"), &spec.pool);
    if let Some(old) = old {
        let pool = at.child("pool");
        e.immutable(&pool.child("name"), &spec.pool.name, &old.spec.pool.name, || (&spec.pool.name).into());
        e.immutable(&at.child("driver"), &spec.driver, &old.spec.driver, || (&spec.driver).into());
        let name = || BadValue::of(&spec.node_name);
        e.immutable(&at.child("nodeName"), &spec.node_name, &old.spec.node_name, name);
    }
    place(e, &at, spec);
    if !is_absent(&spec.shared_counters) && !is_absent(&spec.devices) {
        e.invalid(&at, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    devices(e, &at.child("devices"), spec);
    counters(e, &at.child("sharedCounters"), spec);
}

/// Where the devices of a slice can be reached: one way of four.
fn place(e: &mut Errs, at: &Path<'_>, spec: &ResourceSliceSpec) {
    let mut set: Vec<&str> = Vec::new();
    if let Some(name) = &spec.node_name {
        let at = at.child("nodeName");
        if name.is_empty() {
            e.invalid(&at, "", "must be either unset or set to a non-empty string");
        } else {
            set.push("`nodeName`");
            e.each(&at, name, name_subdomain(name, false));
        }
    }
    if let Some(selector) = &spec.node_selector {
        set.push("`nodeSelector`");
        let at = at.child("nodeSelector");
        node_selector(e, &at, selector);
        if selector.node_selector_terms.len() != 1 {
            e.invalid(
                &at.child("nodeSelectorTerms"),
                diff::shown_list(&selector.node_selector_terms),
                "must have exactly one node selector term",
            );
        }
    }
    for (field, shown, value) in [
        ("allNodes", "`allNodes`", spec.all_nodes),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`", spec.per_device_node_selection),
    ] {
        match value {
            Some(true) => set.push(shown),
            Some(false) => e.invalid(&at.child(field), false, "must be either unset or set to true"),
            None => {}
        }
    }
    const ONE: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => e.required(at, ONE),
        1 => {}
        _ => {
            e.invalid(at, format!("{{{}}}", set.join(", ")), format!("{ONE}, but multiple fields are set"));
        }
    }
}

fn devices(e: &mut Errs, list: &Path<'_>, spec: &ResourceSliceSpec) {
    let advanced = spec.devices.iter().any(|d| !d.taints.is_empty() || !d.consumes_counters.is_empty());
    let max = if advanced { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    if spec.devices.len() > max {
        return e.too_many(list, spec.devices.len(), max);
    }
    for (i, d) in spec.devices.iter().enumerate() {
        device::device(e, &list.index(i), d, spec.per_device_node_selection == Some(true));
    }
    let mut names = BTreeSet::new();
    for (i, d) in spec.devices.iter().enumerate().filter(|(_, d)| !names.insert(&d.name)) {
        e.duplicate(&list.index(i), &d.name);
    }
}

fn counters(e: &mut Errs, list: &Path<'_>, spec: &ResourceSliceSpec) {
    if spec.shared_counters.len() > COUNTER_SETS_MAX {
        return e.too_many(list, spec.shared_counters.len(), COUNTER_SETS_MAX);
    }
    for (i, set) in spec.shared_counters.iter().enumerate() {
        let at = list.index(i);
        if e.present(&at.child("name"), &set.name) {
            e.each(&at.child("name"), &set.name, dns_label(&set.name));
        }
        capacity::counters(e, &at.child("counters"), &set.counters);
    }
    let mut names = BTreeSet::new();
    for (i, set) in spec.shared_counters.iter().enumerate().filter(|(_, s)| !names.insert(&s.name)) {
        e.duplicate(&list.index(i), &set.name);
    }
}

fn pool(e: &mut Errs, at: &Path<'_>, pool: &ResourcePool) {
    pool_name(e, &at.child("name"), &pool.name);
    if pool.resource_slice_count <= 0 {
        e.invalid(&at.child("resourceSliceCount"), pool.resource_slice_count, NOT_POSITIVE);
    }
    if pool.generation < 0 {
        e.invalid(&at.child("generation"), pool.generation, "must be greater than or equal to zero");
    }
}

/// One or more DNS subdomains joined by slashes.
pub(super) fn pool_name(e: &mut Errs, at: &Path<'_>, name: &str) {
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
