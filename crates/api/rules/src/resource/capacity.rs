//! How much of a device's capacity may be asked for: the request policies of capacities that several claims share.

use crate::Path;
use crate::check::Errs;
use meta::{Map, Quantity};
use std::collections::BTreeSet;
use types::resource::v1::{CapacityRequestPolicy, CapacityRequestPolicyRange, DeviceCapacity};

const OPTIONS_MAX: usize = 10;

/// The capacities of a device, of which names are checked elsewhere; `shared` when several claims may get the device.
pub(super) fn capacity(e: &mut Errs, at: &Path<'_>, capacity: &DeviceCapacity, shared: bool) {
    let Some(policy) = &capacity.request_policy else { return };
    let at = at.child("requestPolicy");
    if !shared {
        return e.forbidden(&at, "allowMultipleAllocations must be true");
    }
    request_policy(e, &at, &capacity.value, policy);
}

fn request_policy(e: &mut Errs, at: &Path<'_>, all: &Quantity, policy: &CapacityRequestPolicy) {
    match (policy.valid_values.is_empty(), &policy.valid_range) {
        (false, Some(_)) => e.forbidden(
            at,
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ),
        (false, None) => match &policy.default {
            None => e.required(&at.child("default"), "required when validValues is defined"),
            Some(default) => options(e, &at.child("validValues"), default, all, &policy.valid_values),
        },
        (true, Some(range)) => match &policy.default {
            None => e.required(&at.child("default"), "required when validRange is defined"),
            Some(default) => within(e, &at.child("validRange"), default, all, range),
        },
        (true, None) => {}
    }
}

fn options(e: &mut Errs, at: &Path<'_>, default: &Quantity, all: &Quantity, values: &[Quantity]) {
    for (i, pair) in values.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        e.invalid(&at.index(i + 1), &pair[1], "values must be sorted in ascending order");
    }
    if values.len() > OPTIONS_MAX {
        e.too_many(at, values.len(), OPTIONS_MAX);
    } else {
        for (i, value) in values.iter().enumerate().filter(|(_, value)| *value > all) {
            e.invalid(&at.index(i), value, format!("option is larger than capacity value: {all}"));
        }
        let mut seen = BTreeSet::new();
        for (i, value) in values.iter().enumerate() {
            if !seen.insert(value.value()) {
                e.duplicate(&at.index(i), value.value().to_string());
            }
        }
    }
    if !values.contains(default) {
        e.invalid(at, default, "default value is not valid according to the requestPolicy");
    }
}

fn within(
    e: &mut Errs,
    at: &Path<'_>,
    default: &Quantity,
    all: &Quantity,
    range: &CapacityRequestPolicyRange,
) {
    let min_at = at.child("min");
    let Some(min) = &range.min else { return e.required(&min_at, "required when validRange is defined") };
    if min > all {
        e.invalid(&min_at, min, format!("min is larger than capacity value: {all}"));
    }
    if default < min {
        e.invalid(&min_at, default, format!("default is less than min: {min}"));
    }
    if let Some(max) = &range.max {
        let at = at.child("max");
        if min > max {
            e.invalid(&at, min, format!("min is larger than max: {max}"));
        }
        if max > all {
            e.invalid(&at, max, format!("max is larger than capacity value: {all}"));
        }
        if default > max {
            e.invalid(&at, default, format!("default is more than max: {max}"));
        }
    }
    if let Some(step) = &range.step {
        let at = at.child("step");
        let first = *min + *step;
        if first > *all {
            e.invalid(&at, step, format!("one step {first} is larger than capacity value: {all}"));
        }
        for value in std::iter::once(default).chain(range.max.as_ref()) {
            // A step of nothing leads nowhere; upstream divides by it.
            let steps = value.value().wrapping_sub(min.value()).checked_rem(step.value());
            if steps != Some(0) {
                let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
                e.invalid(&at, value, detail);
            }
        }
    }
}

/// Counters by name.
pub(super) fn counters<V>(e: &mut Errs, at: &Path<'_>, counters: &Map<V>) {
    const COUNTERS_MAX: usize = 32;
    if counters.is_empty() {
        return e.required(at, "");
    }
    if counters.len() > COUNTERS_MAX {
        return e.too_many(at, counters.len(), COUNTERS_MAX);
    }
    for name in counters.keys() {
        e.each(at, name, crate::check::dns_label(name));
    }
}
