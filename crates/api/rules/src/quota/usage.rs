//! What an object uses, under every name that a quota may have for it.

use std::collections::BTreeMap;

use meta::{Map, Object, Quantity, Str, Time};
use types::core::v1::{PersistentVolumeClaim, Pod, Service};
use types::resource::v1::ResourceClaim;

use super::as_ref;
use crate::amounts;

/// After the name of a storage class, before what is counted of it.
const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// After the name of a device class.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Most devices that a request for all of them can get.
const ALL_DEVICES_MAX: i64 = 32;

/// Whether a name of a quota is about objects of a resource.
pub fn measures(group: &str, resource: &str, name: &str) -> bool {
    if let Some(counted) = name.strip_prefix("count/") {
        let (plural, of) = counted.split_once('.').unwrap_or((counted, ""));
        return plural == resource && of == group;
    }
    match (group, resource) {
        ("", "pods") => {
            let compute = |name: &str| matches!(name, "cpu" | "memory" | "ephemeral-storage");
            name == "pods"
                || compute(name)
                || name.starts_with("hugepages-")
                || name.strip_prefix("limits.").is_some_and(compute)
                || name.strip_prefix("requests.").is_some_and(|requested| {
                    compute(requested)
                        || requested.starts_with("hugepages-")
                        || requested.contains('/') && !requested.contains("kubernetes.io/")
                })
        }
        ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        ("", "persistentvolumeclaims") => {
            let plain = |name: &str| matches!(name, "requests.storage" | "persistentvolumeclaims");
            plain(name) || name.split_once(STORAGE_CLASS).is_some_and(|(_, what)| plain(what))
        }
        ("resource.k8s.io", "resourceclaims") => name.ends_with(DEVICES),
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => name == resource,
        _ => false,
    }
}

/// A number of things.
fn count(number: i64) -> Quantity {
    Quantity::from_millis(number.saturating_mul(1000))
}

/// See the module. With a time given, a pod that should be gone by then uses nothing any more: a lost node must not keep
/// others from starting.
pub fn usage(group: &str, resource: &str, object: &dyn Object, now: Option<Time>) -> Map<Quantity> {
    let mut used = Map::default();
    let one = || count(1);
    let counted =
        if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") };
    used.insert(Str::from(counted), one());
    let plain = [
        "configmaps",
        "secrets",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "persistentvolumeclaims",
    ];
    if group.is_empty() && plain.contains(&resource) {
        used.insert(Str::from(resource), one());
    }
    if let Some(pod) = as_ref::<Pod>(object).filter(|pod| is_charged(pod, now)) {
        used.insert("pods", one());
        for (name, amount) in amounts::requests(pod).iter() {
            used.insert(format!("requests.{name}"), *amount);
            used.insert(name.clone(), *amount);
        }
        for (name, amount) in amounts::limits(pod).iter() {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
    if let Some(claim) = as_ref::<ResourceClaim>(object) {
        for (class, number) in devices(claim) {
            used.insert(format!("{class}{DEVICES}"), count(number));
        }
    }
    if let Some(claim) = as_ref::<PersistentVolumeClaim>(object)
        && let Some(size) = claim.spec.resources.requests.get("storage")
    {
        used.insert("requests.storage", *size);
        if let Some(class) = claim.spec.storage_class_name.as_ref().filter(|c| !c.is_empty()) {
            let prefix = format!("{class}{STORAGE_CLASS}");
            used.insert(format!("{prefix}requests.storage"), *size);
            used.insert(format!("{prefix}persistentvolumeclaims"), one());
        }
    }
    if let Some(service) = as_ref::<Service>(object) {
        let ports = service.spec.ports.len() as i64;
        match service.spec.type_.as_str() {
            "NodePort" => drop(used.insert("services.nodeports", count(ports))),
            "LoadBalancer" => {
                if service.spec.allocate_load_balancer_node_ports.unwrap_or(true) {
                    used.insert("services.nodeports", count(ports));
                }
                used.insert("services.loadbalancers", one());
            }
            _ => {}
        }
    }
    used
}

/// Whether a pod uses anything: not at its end, and not when its time to end has passed.
fn is_charged(pod: &Pod, now: Option<Time>) -> bool {
    if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
        return false;
    }
    let (deleted, grace) = (&pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds);
    match (deleted, grace, now) {
        (Some(deleted), Some(grace), Some(now)) => now.seconds_since(*deleted) <= grace,
        _ => true,
    }
}

/// Devices of each class that a claim may get at most.
fn devices(claim: &ResourceClaim) -> BTreeMap<Str, i64> {
    let mut sum: BTreeMap<Str, i64> = BTreeMap::new();
    let number = |mode: Option<&str>, count: Option<i64>| match mode {
        Some("All") => ALL_DEVICES_MAX,
        _ => count.filter(|count| *count > 0).unwrap_or(1),
    };
    for request in &claim.spec.devices.requests {
        let mut most: BTreeMap<Str, i64> = BTreeMap::new();
        if let Some(exact) = &request.exactly {
            most.insert(
                exact.device_class_name.clone(),
                number(Some(exact.allocation_mode.as_str()), Some(exact.count)),
            );
        }
        // Only one of the alternatives is given, so the largest of each class counts.
        for alternative in &request.first_available {
            let wanted = number(Some(alternative.allocation_mode.as_str()), Some(alternative.count));
            let entry = most.entry(alternative.device_class_name.clone()).or_default();
            *entry = (*entry).max(wanted);
        }
        for (class, wanted) in most {
            let entry = sum.entry(class).or_default();
            *entry = entry.saturating_add(wanted);
        }
    }
    sum
}

/// Compute resources that the quota limits and some container does not state: `requests.cpu for: main`.
pub fn unspecified(object: &dyn Object, names: &[&Str]) -> Vec<String> {
    let Some(pod) = as_ref::<Pod>(object) else { return Vec::new() };
    let mut missing = Vec::new();
    for name in names {
        let (limit, resource) = match name.as_str() {
            "cpu" | "memory" => (false, name.as_str()),
            other => match (other.strip_prefix("requests."), other.strip_prefix("limits.")) {
                (Some(resource), _) => (false, resource),
                (_, Some(resource)) => (true, resource),
                _ => continue,
            },
        };
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        let whole = pod.spec.resources.as_ref();
        let states = |r: &types::core::v1::ResourceRequirements| {
            if limit { r.limits.contains_key(resource) } else { r.requests.contains_key(resource) }
        };
        if whole.is_some_and(|r| states(r)) {
            continue;
        }
        let containers = pod.spec.containers.iter().chain(pod.spec.init_containers.iter());
        let names: Vec<&str> =
            containers.filter(|c| !states(&c.resources)).map(|c| c.name.as_str()).collect();
        if !names.is_empty() {
            missing.push(format!("{name} for: {}", names.join(",")));
        }
    }
    missing
}
