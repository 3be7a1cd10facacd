//! One device of a ResourceSlice.

use super::{capacity, identifier};
use crate::Path;
use crate::check::{BadValue, Errs, Raw, dns_label, label_value, name_subdomain, qualified_name};
use crate::core::pod::scheduling::node_selector;
use crate::core::volume_source::csi_driver_name;
use meta::{List, Str};
use std::collections::BTreeSet;
use types::resource::v1::{Device, DeviceAttribute, DeviceTaint};

const ATTRIBUTES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const CONSUMPTIONS_MAX: usize = 2;
const BINDING_CONDITIONS_MAX: usize = 4;
const VALUE_BYTES_MAX: usize = 64;
/// Longest key of an attribute that errors show whole: a domain, a slash and a name.
const KEY_BYTES_SHOWN: usize = 63 + 1 + 32;
const ONE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// Checks a device; `placed` when devices say for themselves where they can be reached.
pub(super) fn device(e: &mut Errs, at: &Path<'_>, d: &Device, placed: bool) {
    e.each(&at.child("name"), &d.name, dns_label(&d.name));
    let count = d.attributes.len() + d.capacity.len();
    if count > ATTRIBUTES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        e.invalid(at, count, detail);
    }
    let attributes = at.child("attributes");
    for (name, value) in d.attributes.iter() {
        key(e, &attributes, name);
        attribute(e, &attributes.key(&shortened(name)), value);
    }
    let capacities = at.child("capacity");
    let shared = d.allow_multiple_allocations == Some(true);
    for (name, value) in d.capacity.iter() {
        key(e, &capacities, name);
        capacity::capacity(e, &capacities.key(&shortened(name)), value, shared);
    }
    taints(e, &at.child("taints"), &d.taints);
    consumption(e, &at.child("consumesCounters"), d);
    if placed {
        place(e, at, d);
    } else if d.node_name.is_some() || d.node_selector.is_some() || d.all_nodes.is_some() {
        e.invalid(
            at,
            Raw("null".into()),
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        );
    }
    binding(e, at, d);
}

/// A long key without its middle.
fn shortened(key: &str) -> String {
    if key.len() <= KEY_BYTES_SHOWN {
        return key.to_owned();
    }
    let rest = KEY_BYTES_SHOWN - 3;
    let bytes = key.as_bytes();
    let head = String::from_utf8_lossy(&bytes[..rest.div_ceil(2)]);
    let tail = String::from_utf8_lossy(&bytes[bytes.len() - rest / 2..]);
    format!("{head}...{tail}")
}

/// The name of an attribute, with or without a domain.
pub(super) fn key(e: &mut Errs, at: &Path<'_>, name: &str) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [name] => identifier(e, at, name),
        [domain, name] => {
            if domain.is_empty() {
                e.invalid(at, "", "the domain must not be empty");
            } else {
                csi_driver_name(e, at, domain);
            }
            if name.is_empty() {
                e.invalid(at, "", "the name must not be empty");
            } else {
                identifier(e, at, name);
            }
        }
        // Upstream lets names with more slashes pass.
        _ => {}
    }
}

fn attribute(e: &mut Errs, at: &Path<'_>, a: &DeviceAttribute) {
    let too_long = |e: &mut Errs, at: &Path<'_>, value: &str| {
        if value.len() > VALUE_BYTES_MAX {
            e.too_long(at, VALUE_BYTES_MAX);
        }
    };
    if let Some(text) = &a.string {
        too_long(e, &at.child("string"), text);
    }
    if let Some(version) = &a.version {
        let at = at.child("version");
        if !is_semver(version) {
            e.invalid(&at, version, "must be a string compatible with semver.org spec 2.0.0");
        }
        too_long(e, &at, version);
    }
    // Lists are those of a feature that is off, see `drop_disabled`.
    let set = [a.bool.is_some(), a.int.is_some(), a.string.is_some(), a.version.is_some()];
    match set.iter().filter(|s| **s).count() {
        0 => e.invalid(at, "", "exactly one value must be specified"),
        1 => {}
        _ => e.invalid(at, super::quoted(a), "exactly one value must be specified"),
    }
}

/// `1.2.3-pre.4+build.5`.
fn is_semver(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let number = |s: &str| digits(s) && (s == "0" || !s.starts_with('0'));
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(|p| p.split('.').all(|s| word(s) && (!digits(s) || number(s))))
        && build.is_none_or(|b| b.split('.').all(word))
}

fn taints(e: &mut Errs, list: &Path<'_>, taints: &List<DeviceTaint>) {
    if taints.len() > TAINTS_MAX {
        return e.too_many(list, taints.len(), TAINTS_MAX);
    }
    for (i, taint) in taints.iter().enumerate() {
        let at = list.index(i);
        e.each(&at.child("key"), &taint.key, qualified_name(&taint.key));
        if !taint.value.is_empty() {
            e.each(&at.child("value"), &taint.value, label_value(&taint.value));
        }
        e.required_one_of(&at.child("effect"), &taint.effect, &["NoExecute", "NoSchedule", "None"]);
    }
}

fn consumption(e: &mut Errs, list: &Path<'_>, d: &Device) {
    if d.consumes_counters.len() > CONSUMPTIONS_MAX {
        return e.too_many(list, d.consumes_counters.len(), CONSUMPTIONS_MAX);
    }
    for (i, c) in d.consumes_counters.iter().enumerate() {
        let at = list.index(i);
        if e.present(&at.child("counterSet"), &c.counter_set) {
            e.each(&at.child("counterSet"), &c.counter_set, dns_label(&c.counter_set));
        }
        capacity::counters(e, &at.child("counters"), &c.counters);
    }
    let mut seen = BTreeSet::new();
    for (i, c) in d.consumes_counters.iter().enumerate() {
        if !seen.insert(&c.counter_set) {
            e.duplicate(&list.index(i), &c.counter_set);
        }
    }
}

/// Where a device can be reached, when each says so for itself.
fn place(e: &mut Errs, at: &Path<'_>, d: &Device) {
    let mut set: Vec<&str> = Vec::new();
    if let Some(name) = &d.node_name {
        let at = at.child("nodeName");
        if name.is_empty() {
            e.invalid(&at, "", "must not be empty");
        } else {
            set.push("`nodeName`");
            e.each(&at, name, name_subdomain(name, false));
        }
    }
    if let Some(selector) = &d.node_selector {
        set.push("`nodeSelector`");
        node_selector(e, &at.child("nodeSelector"), selector);
    }
    match d.all_nodes {
        Some(true) => set.push("`allNodes`"),
        Some(false) => e.invalid(&at.child("allNodes"), false, "must be either unset or set to true"),
        None => {}
    }
    match set.len() {
        0 => e.required(at, ONE_PLACE),
        1 => {}
        _ => e.invalid(at, format!("{{{}}}", set.join(", ")), ONE_PLACE),
    }
}

/// The conditions that tell whether a claimed device got ready, and failed to.
fn binding(e: &mut Errs, at: &Path<'_>, d: &Device) {
    conditions(e, at, &d.binding_conditions, &d.binding_failure_conditions);
}

/// As [`binding`], also of allocated devices.
pub(super) fn conditions(e: &mut Errs, at: &Path<'_>, ready: &List<Str>, failed: &List<Str>) {
    let (ready_at, failed_at) = (at.child("bindingConditions"), at.child("bindingFailureConditions"));
    for (list_at, list) in [(&ready_at, ready), (&failed_at, failed)] {
        if list.len() > BINDING_CONDITIONS_MAX {
            e.too_many(list_at, list.len(), BINDING_CONDITIONS_MAX);
            continue;
        }
        for (i, name) in list.iter().enumerate() {
            e.each(&list_at.index(i), name, qualified_name(name));
        }
    }
    for (i, name) in ready.iter().enumerate().filter(|(i, name)| ready[..*i].contains(name)) {
        e.duplicate(&ready_at.index(i), name);
    }
    for (i, name) in failed.iter().enumerate() {
        if failed[..i].contains(name) {
            e.duplicate(&failed_at.index(i), name);
        }
        if ready.contains(name) {
            let detail = "bindingFailureConditions must not overlap with bindingConditions";
            e.invalid(&failed_at.index(i), name, detail);
        }
    }
    if ready.is_empty() && !failed.is_empty() {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        e.invalid(&ready_at, BadValue::of(ready), detail);
    }
    if failed.is_empty() && !ready.is_empty() {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        e.invalid(&failed_at, BadValue::of(failed), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::is_semver;

    #[test]
    fn semantic_versions() {
        for good in ["0.0.0", "1.2.3", "1.2.3-alpha.1", "1.2.3+build.01", "1.0.0-0a.x-y+1"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3.4", "1.2.x"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
