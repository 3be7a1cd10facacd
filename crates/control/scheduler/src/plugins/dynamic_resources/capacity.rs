//! Consumable capacity (KEP-5075): how much of a device a request takes, and whether so much is left.

use meta::{Map, Quantity, Str};
use types::resource::v1::{CapacityRequestPolicy, CapacityRequestPolicyRange, Device};

use crate::devices::{Amounts, short_name};

/// What a request takes of a device beside what others have; `None` when the device has not so much left, or does not give
/// it in such a portion. A device that nobody may share only needs to have what is asked.
pub(super) fn take(
    driver: &str,
    device: &Device,
    asked: &Map<Quantity>,
    in_use: &[&Amounts],
) -> Option<Amounts> {
    let requests: Vec<(Str, Quantity)> =
        asked.iter().map(|(name, amount)| (short_name(driver, name), *amount)).collect();
    let mut taken = Amounts::new();
    let mut known = Vec::new();
    for (name, capacity) in &device.capacity {
        let name = short_name(driver, name);
        let request = requests.iter().find(|(other, _)| *other == name).map(|(_, amount)| *amount);
        let policy = capacity.request_policy.as_deref();
        let portion = portion(request, capacity.value, policy)?;
        let used: i128 = in_use.iter().filter_map(|amounts| amounts.get(&name)).sum();
        let shared = device.allow_multiple_allocations == Some(true);
        let too_much = if shared {
            violates(portion, policy) || used + portion > capacity.value.nanos()
        } else {
            request.is_some_and(|request| request > capacity.value)
        };
        if too_much {
            return None;
        }
        known.push(name.clone());
        taken.insert(name, portion);
    }
    requests.iter().all(|(name, _)| known.contains(name)).then_some(taken)
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

fn round_up(request: i128, range: &CapacityRequestPolicyRange) -> Option<i128> {
    let min = range.min?.nanos();
    if request < min {
        return Some(min);
    }
    match range.step.map(Quantity::nanos) {
        Some(step) if step > 0 => {
            let steps = (request - min).checked_add(step - 1)? / step;
            min.checked_add(steps.checked_mul(step)?)
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
        let min = range.min.map_or(0, Quantity::nanos);
        let uneven =
            range.step.map(Quantity::nanos).is_some_and(|step| step > 0 && (portion - min) % step != 0);
        return too_large || uneven;
    }
    !policy.valid_values.is_empty() && !policy.valid_values.iter().any(|value| value.nanos() == portion)
}

#[cfg(test)]
mod tests {
    use meta::Codec;

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
        take("d", device, &request, &[&others]).map(|amounts| amounts["memory"] / 1_000_000_000)
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
        assert_eq!((taken(&whole, Some("10"), 9), taken(&whole, Some("11"), 0)), (Some(10), None));
        let asked = Map::from_iter([(Str::from("cores"), "1".parse().unwrap())]);
        assert!(take("d", &plain, &asked, &[]).is_none());
    }
}
