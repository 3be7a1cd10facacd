//! What is allocated to a ResourceClaim, who may use it, and what drivers tell of its devices.

use super::claim::{known_names, request_name, request_names};
use super::{device, opaque, quoted, slice};
use crate::check::{Errs, IMMUTABLE, Raw, conditions, dns_label, json_string};
use crate::core::pod::scheduling::node_selector;
use crate::core::volume_source::csi_driver_name;
use crate::{Path, check};
use meta::{List, Str};
use std::collections::BTreeSet;
use types::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, NetworkDeviceData, ResourceClaim, ResourceClaimConsumerReference,
};

const CONSUMERS_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 64;
const CONDITIONS_MAX: usize = 8;
const ADDRESSES_MAX: usize = 16;
const DATA_BYTES_MAX: usize = 10 * 1024;

/// Checks the status that replaces that of `old`.
pub(super) fn status(e: &mut Errs, new: &ResourceClaim, old: &ResourceClaim) {
    let at = Path::root("status");
    let s = &new.status;
    consumers(e, &at.child("reservedFor"), &s.reserved_for);
    devices(e, &at.child("devices"), s.allocation.as_deref(), &s.devices);
    if !s.reserved_for.is_empty() {
        let at = at.child("reservedFor");
        let added = s.reserved_for.iter().any(|r| !old.status.reserved_for.contains(r));
        if s.allocation.is_none() {
            e.forbidden(&at, "may not be specified when `allocated` is not set");
        } else if new.metadata.deletion_timestamp.is_some() && added {
            e.forbidden(
                &at,
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            );
        }
    }
    let at = at.child("allocation");
    match (&s.allocation, &old.status.allocation) {
        (Some(new), Some(old)) if new != old => e.invalid(&at, quoted(&**new), IMMUTABLE),
        (Some(allocation), None) => allocated(e, &at, new, allocation),
        _ => {}
    }
}

fn consumers(e: &mut Errs, list: &Path<'_>, consumers: &List<ResourceClaimConsumerReference>) {
    if consumers.len() > CONSUMERS_MAX {
        return e.too_many(list, consumers.len(), CONSUMERS_MAX);
    }
    for (i, consumer) in consumers.iter().enumerate() {
        let at = list.index(i);
        for (field, value) in
            [("resource", &consumer.resource), ("name", &consumer.name), ("uid", &consumer.uid)]
        {
            e.present(&at.child(field), value);
        }
    }
    let mut uids = BTreeSet::new();
    for (i, consumer) in consumers.iter().enumerate().filter(|(_, c)| !uids.insert(&c.uid)) {
        e.duplicate(&list.index(i), &consumer.uid);
    }
}

fn allocated(e: &mut Errs, at: &Path<'_>, claim: &ResourceClaim, allocation: &AllocationResult) {
    let known = known_names(&claim.spec.devices);
    let devices = at.child("devices");
    let list = devices.child("results");
    if allocation.devices.results.len() > RESULTS_MAX {
        e.too_many(&list, allocation.devices.results.len(), RESULTS_MAX);
    } else {
        for (i, r) in allocation.devices.results.iter().enumerate() {
            let at = list.index(i);
            request_name(e, &at.child("request"), &r.request, &known);
            csi_driver_name(e, &at.child("driver"), &r.driver);
            slice::pool_name(e, &at.child("pool"), &r.pool);
            e.each(&at.child("device"), &r.device, dns_label(&r.device));
            device::conditions(e, &at, &r.binding_conditions, &r.binding_failure_conditions);
            share(e, &at.child("shareID"), r.share_id.as_ref());
        }
    }
    let list = devices.child("config");
    if allocation.devices.config.len() > CONFIGS_MAX {
        e.too_many(&list, allocation.devices.config.len(), CONFIGS_MAX);
    } else {
        for (i, c) in allocation.devices.config.iter().enumerate() {
            let at = list.index(i);
            match c.source.as_str() {
                "" => e.required(&at.child("source"), ""),
                source => e.one_of(&at.child("source"), source, &["FromClaim", "FromClass"]),
            }
            request_names(e, &at.child("requests"), &c.requests, &known);
            opaque(e, &at, c.opaque.as_deref());
        }
    }
    if let Some(selector) = &allocation.node_selector {
        node_selector(e, &at.child("nodeSelector"), selector);
    }
}

/// A uid in its normal form.
fn share(e: &mut Errs, at: &Path<'_>, id: Option<&Str>) {
    let Some(id) = id else { return };
    let digit = |i: usize, b: u8| match i {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
    };
    if id.len() != 36 {
        let problem = format!("error validating uid: invalid UUID length: {}", id.len());
        e.invalid(at, id, problem);
    } else if !id.bytes().enumerate().all(|(i, b)| digit(i, b.to_ascii_lowercase())) {
        e.invalid(at, id, "error validating uid: invalid UUID format");
    } else if id.bytes().any(|b| b.is_ascii_uppercase()) {
        e.invalid(at, id, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters");
    }
}

type DeviceId<'a> = (&'a str, &'a str, &'a str, &'a str);

fn devices(
    e: &mut Errs,
    list: &Path<'_>,
    allocation: Option<&AllocationResult>,
    devices: &List<AllocatedDeviceStatus>,
) {
    let share = |id: &'_ Option<Str>| id.as_ref().map(|id| id.to_string()).unwrap_or_default();
    let results = allocation.iter().flat_map(|a| a.devices.results.iter());
    let allocated: BTreeSet<_> = results
        .map(|r| (r.driver.as_str(), r.pool.as_str(), r.device.as_str(), share(&r.share_id)))
        .collect();
    for (i, d) in devices.iter().enumerate() {
        let at = list.index(i);
        csi_driver_name(e, &at.child("driver"), &d.driver);
        slice::pool_name(e, &at.child("pool"), &d.pool);
        e.each(&at.child("device"), &d.device, dns_label(&d.device));
        self::share(e, &at.child("shareID"), d.share_id.as_ref());
        if !allocated.contains(&(d.driver.as_str(), d.pool.as_str(), d.device.as_str(), share(&d.share_id))) {
            e.invalid(&at, Raw(shown(&id(d))), "must be an allocated device in the claim");
        }
        let conditions_at = at.child("conditions");
        if d.conditions.len() > CONDITIONS_MAX {
            e.too_many(&conditions_at, d.conditions.len(), CONDITIONS_MAX);
        }
        conditions::conditions(e, &conditions_at, &d.conditions);
        data(e, &at.child("data"), d);
        if let Some(network) = &d.network_data {
            addresses(e, &at.child("networkData"), network);
        }
    }
    let mut seen = BTreeSet::new();
    for (i, d) in devices.iter().enumerate().filter(|(_, d)| !seen.insert(id(d))) {
        e.duplicate(&list.index(i), Raw(shown(&id(d))));
    }
}

fn id(d: &AllocatedDeviceStatus) -> DeviceId<'_> {
    (&d.driver, &d.pool, &d.device, d.share_id.as_deref().unwrap_or_default())
}

fn shown((driver, pool, device, share): &DeviceId<'_>) -> String {
    format!(
        "{{\"Driver\":{},\"Pool\":{},\"Device\":{},\"ShareID\":{}}}",
        json_string(driver),
        json_string(pool),
        json_string(device),
        json_string(share)
    )
}

fn data(e: &mut Errs, at: &Path<'_>, d: &AllocatedDeviceStatus) {
    let Some(data) = d.data.as_ref().map(|d| d.as_bytes()).filter(|d| !d.is_empty()) else { return };
    if data.len() > DATA_BYTES_MAX {
        e.too_long(at, DATA_BYTES_MAX);
    } else if data.trim_ascii() == b"null" {
        e.required(at, "");
    } else if !data.trim_ascii_start().starts_with(b"{") {
        e.invalid(at, "<value omitted>", "must be a valid JSON object");
    }
}

fn addresses(e: &mut Errs, at: &Path<'_>, network: &NetworkDeviceData) {
    for (field, value, max) in
        [("interfaceName", &network.interface_name, 256), ("hardwareAddress", &network.hardware_address, 128)]
    {
        if value.len() > max {
            e.too_long(&at.child(field), max);
        }
    }
    let list = at.child("ips");
    if network.ips.len() > ADDRESSES_MAX {
        return e.too_many(&list, network.ips.len(), ADDRESSES_MAX);
    }
    for (i, address) in network.ips.iter().enumerate() {
        check::ip::interface(e, &list.index(i), address);
    }
    for (i, address) in network.ips.iter().enumerate().filter(|(i, a)| network.ips[..*i].contains(a)) {
        e.duplicate(&list.index(i), address);
    }
}
