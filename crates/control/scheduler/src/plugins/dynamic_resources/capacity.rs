//! Consumable capacity (KEP-5075): how much of a device a request takes, and whether so much is left.

use meta::{Map, Quantity};
use types::resource::v1::{CapacityRequestPolicy, CapacityRequestPolicyRange, Device};

use crate::devices::{Amounts, short_name};

/// What a request takes of a device beside what others have; `None` when the device has not so much left, does not give
/// it in such a portion, or knows nothing of what is asked.
pub(super) fn take(
    device: &Device,
    asked: &Map<Quantity>,
    driver: &str,
    in_use: &[&Amounts],
) -> Option<Amounts> {
    if asked.iter().any(|(name, _)| !device.capacity.contains_key(name)) {
        return None;
    }
    let mut taken = Amounts::new();
    for (full, capacity) in &device.capacity {
        let name = short_name(driver, full);
        let policy = capacity.request_policy.as_deref();
        let portion = portion(asked.get(full).copied(), capacity.value, policy)?;
        let used: i128 = in_use.iter().filter_map(|amounts| amounts.get(&name)).sum();
        if violates(portion, policy) || used + portion > capacity.value.nanos() {
            return None;
        }
        taken.insert(name, portion);
    }
    Some(taken)
}

/// How much a request takes, rounded up as the capacity's policy says; without a request the default, or all of it.
fn portion(request: Option<Quantity>, all: Quantity, policy: Option<&CapacityRequestPolicy>) -> Option<i128> {
    let Some(request) = request else {
        let default = policy.and_then(|policy| policy.default);
        return Some(default.unwrap_or(all).nanos());
    };
    let request = request.nanos();
    let Some(policy) = policy else { return Some(request) };
    match &policy.valid_range {
        Some(range) if range.min.is_some() => round_up(request, range),
        _ if !policy.valid_values.is_empty() => {
            let larger =
                policy.valid_values.iter().map(|value| value.nanos()).find(|value| *value >= request);
            Some(larger.unwrap_or(request))
        }
        _ => Some(request),
    }
}

/// Thousand-millionths of a unit.
const UNIT: i128 = 1_000_000_000;

/// In whole units, rounded up.
fn whole(nanos: i128) -> i128 {
    nanos.div_euclid(UNIT) + i128::from(nanos.rem_euclid(UNIT) != 0)
}

fn round_up(request: i128, range: &CapacityRequestPolicyRange) -> Option<i128> {
    let min = range.min?.nanos();
    if request < min {
        return Some(min);
    }
    match range.step.map(|step| i128::from(step.value())) {
        Some(step) if step > 0 => {
            // Steps are counted in whole units.
            let (request, min) = (whole(request), whole(min));
            let steps = (request - min).checked_add(step - 1)? / step;
            min.checked_add(steps.checked_mul(step)?)?.checked_mul(UNIT)
        }
        _ => Some(request),
    }
}

/// Whether the policy does not allow such a portion.
fn violates(portion: i128, policy: Option<&CapacityRequestPolicy>) -> bool {
    let Some(policy) = policy else { return false };
    if policy.default.is_some_and(|default| default.nanos() == portion) {
        return false;
    }
    if let Some(range) = &policy.valid_range {
        let too_large = range.max.is_some_and(|max| portion > max.nanos());
        let min = range.min.map_or(0, |min| i128::from(min.value()));
        let step = range.step.map(|step| i128::from(step.value()));
        let uneven = step.is_some_and(|step| step > 0 && (whole(portion) - min) % step != 0);
        return too_large || uneven;
    }
    !policy.valid_values.is_empty() && !policy.valid_values.iter().any(|value| value.nanos() == portion)
}

#[cfg(test)]
mod tests {
    use meta::{Codec, Str};

    use super::*;

    fn device(shared: bool, policy: &str) -> Device {
        let text = format!(
            r#"{{"name":"x","allowMultipleAllocations":{shared},"capacity":{{"memory":{{"value":"10"{policy}}}}}}}"#
        );
        Device::from_json(text.as_bytes()).unwrap()
    }

    fn taken(device: &Device, asked: Option<&str>, used: i128) -> Option<i128> {
        let mut request = Map::new();
        if let Some(asked) = asked {
            request.insert("memory", asked.parse().unwrap());
        }
        let others = Amounts::from([("memory".into(), used * 1_000_000_000)]);
        take(device, &request, "d", &[&others]).map(|amounts| amounts["memory"] / 1_000_000_000)
    }

    #[test]
    fn portions_are_rounded_up_and_bounded() {
        let plain = device(true, "");
        assert_eq!((taken(&plain, Some("4"), 6), taken(&plain, Some("4"), 7)), (Some(4), None));
        assert_eq!((taken(&plain, None, 0), taken(&plain, None, 1)), (Some(10), None));
        let range =
            device(true, r#","requestPolicy":{"default":"2","validRange":{"min":"2","max":"6","step":"2"}}"#);
        assert_eq!((taken(&range, None, 8), taken(&range, Some("1"), 0)), (Some(2), Some(2)));
        assert_eq!((taken(&range, Some("3"), 0), taken(&range, Some("7"), 0)), (Some(4), None));
        let values = device(true, r#","requestPolicy":{"default":"5","validValues":["3","5"]}"#);
        assert_eq!((taken(&values, Some("4"), 0), taken(&values, Some("6"), 0)), (Some(5), None));
        let whole = device(false, "");
        assert_eq!((taken(&whole, Some("10"), 0), taken(&whole, Some("11"), 0)), (Some(10), None));
        let asked = Map::from_iter([(Str::from("cores"), "1".parse().unwrap())]);
        assert!(take(&plain, &asked, "d", &[]).is_none());
    }
}
