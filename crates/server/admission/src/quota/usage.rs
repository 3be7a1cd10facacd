//! What an object uses, under every name that a quota may have for it.

use std::collections::BTreeMap;

use meta::{Map, Object, Quantity, Str};
use types::core::v1::{PersistentVolumeClaim, Pod, Service};
use types::resource::v1::ResourceClaim;

use crate::review::{Review, as_ref};

/// After the name of a storage class, before what is counted of it.
const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// After the name of a device class.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Most devices that a request for all of them can get.
const ALL_DEVICES_MAX: i64 = 32;

/// Whether a name of a quota is about objects of the resource under review.
pub(super) fn measures(review: &Review<'_>, name: &str) -> bool {
    let (group, resource) = (review.target.group.as_str(), review.target.resource.as_str());
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

/// See the module.
pub(super) fn usage(review: &Review<'_>, object: &dyn Object) -> Map<Quantity> {
    let mut used = Map::default();
    let one = || count(1);
    let (group, resource) = (review.target.group.as_str(), review.target.resource.as_str());
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
    if let Some(pod) = as_ref::<Pod>(object) {
        used.insert("pods", one());
        for (name, amount) in pod_requests(pod).iter() {
            used.insert(format!("requests.{name}"), *amount);
            used.insert(name.clone(), *amount);
        }
        for (name, amount) in pod_limits(pod).iter() {
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
pub(super) fn unspecified(object: &dyn Object, names: &[&Str]) -> Vec<String> {
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

/// What a pod requests: the sum of its containers, or its largest init container, plus overhead (KEP-753 for
/// restartable init containers).
pub(crate) fn pod_requests(pod: &Pod) -> Map<Quantity> {
    total(pod, |r| &r.requests)
}

/// What a pod is limited to, by the same rule.
pub(crate) fn pod_limits(pod: &Pod) -> Map<Quantity> {
    total(pod, |r| &r.limits)
}

fn total(
    pod: &Pod,
    pick: impl Fn(&types::core::v1::ResourceRequirements) -> &Map<Quantity>,
) -> Map<Quantity> {
    let add = |sum: &mut Map<Quantity>, more: &Map<Quantity>| {
        for (name, amount) in more.iter() {
            let before = sum.get(name).cloned().unwrap_or_default();
            sum.insert(name.clone(), before + *amount);
        }
    };
    let raise = |most: &mut Map<Quantity>, other: &Map<Quantity>| {
        for (name, amount) in other.iter() {
            if most.get(name).is_none_or(|m| m < amount) {
                most.insert(name.clone(), *amount);
            }
        }
    };
    let mut sum = Map::default();
    pod.spec.containers.iter().for_each(|c| add(&mut sum, pick(&c.resources)));
    let (mut sidecars, mut peak) = (Map::default(), Map::default());
    for container in &pod.spec.init_containers {
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sum, pick(&container.resources));
            add(&mut sidecars, pick(&container.resources));
            raise(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, pick(&container.resources));
            raise(&mut peak, &now);
        }
    }
    raise(&mut sum, &peak);
    if let Some(whole) = &pod.spec.resources {
        for (name, amount) in pick(whole).iter() {
            sum.insert(name.clone(), *amount);
        }
    }
    if !sum.is_empty() || !pod.spec.overhead.is_empty() {
        add(&mut sum, &pod.spec.overhead);
    }
    sum
}
