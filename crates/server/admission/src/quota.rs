//! ResourceQuota: what a change uses, whether the namespace has that left, and what to charge.
//!
//! This runs after every other plugin. It is pure like them: the answer is a list of [`Charge`]s, which the registry
//! writes into the quotas' status, with the version they were computed from, before it commits the object. A quota
//! that changed meanwhile makes the registry ask again.

use meta::{Map, Object, Quantity, Status, Str};
use types::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};

use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::{World, WorldExt};

/// New usage of one quota.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// Namespace of the quota.
    pub namespace: Str,
    /// Name of the quota.
    pub name: Str,
    /// Version that the usage was computed from.
    pub resource_version: Str,
    /// The whole `status.used` to be stored.
    pub used: Map<Quantity>,
}

/// What the change must be charged, or a refusal.
pub fn over_quota(
    review: &Review<'_>,
    object: &dyn Object,
    world: &dyn World,
) -> Result<Vec<Charge>, Status> {
    let relevant = match review.operation {
        Operation::Create => review.target.subresource.is_empty(),
        Operation::Update => {
            (review.on("", "persistentvolumeclaims") || review.on("", "services"))
                && review.target.subresource.is_empty()
        }
        _ => false,
    };
    if !relevant
        || review.namespace().is_empty()
        || review.on("", "events")
        || review.on("events.k8s.io", "events")
    {
        return Ok(Vec::new());
    }
    let mut quotas = world.list::<ResourceQuota>(review.namespace());
    if quotas.is_empty() {
        return Ok(Vec::new());
    }
    quotas.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut wanted = usage(review, object);
    if let Some(old) = review.old.filter(|_| review.operation == Operation::Update) {
        for (name, before) in usage(review, old).iter() {
            let Some(now) = wanted.get(name).cloned() else { continue };
            wanted.insert(name.clone(), now - *before);
        }
        wanted = wanted.iter().filter(|(_, v)| v.milli_value() > 0).map(|(k, v)| (k.clone(), *v)).collect();
    }
    let mut charges = Vec::new();
    for quota in quotas {
        if !scopes_match(&quota, object) {
            continue;
        }
        let hard = &quota.status.hard;
        let missing = unspecified(review, object, &quota.spec.hard);
        if !missing.is_empty() {
            let why = format!("failed quota: {}: must specify {}", quota.metadata.name, missing.join("; "));
            return Err(forbidden(review, Some(object), &why));
        }
        let touched: Map<Quantity> = wanted
            .iter()
            .filter(|(name, _)| quota.spec.hard.contains_key(name))
            .map(|(k, v)| (k.clone(), *v))
            .collect();
        if touched.is_empty() {
            continue;
        }
        let unknown: Vec<&str> =
            touched.iter().map(|(k, _)| k.as_str()).filter(|k| !hard.contains_key(k)).collect();
        if !unknown.is_empty() {
            let why = format!(
                "status unknown for quota: {}, resources: {}",
                quota.metadata.name,
                unknown.join(",")
            );
            return Err(forbidden(review, Some(object), &why));
        }
        let mut used = quota.status.used.clone();
        let mut exceeded = Vec::new();
        for (name, amount) in touched.iter() {
            let sum = used.get(name).cloned().unwrap_or_default() + *amount;
            if hard.get(name).is_some_and(|limit| sum > *limit) {
                exceeded.push(name.clone());
            }
            used.insert(name.clone(), sum);
        }
        if !exceeded.is_empty() {
            let pick = |from: &Map<Quantity>| {
                let parts: Vec<String> = exceeded
                    .iter()
                    .map(|name| format!("{name}={}", from.get(name).cloned().unwrap_or_default()))
                    .collect();
                parts.join(",")
            };
            let why = format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.metadata.name,
                pick(&touched),
                pick(&quota.status.used),
                pick(hard)
            );
            return Err(forbidden(review, Some(object), &why));
        }
        charges.push(Charge {
            namespace: quota.metadata.namespace.clone(),
            name: quota.metadata.name.clone(),
            resource_version: quota.metadata.resource_version.clone(),
            used,
        });
    }
    Ok(charges)
}

/// A number of things.
fn count(number: i64) -> Quantity {
    Quantity::from_millis(number.saturating_mul(1000))
}

/// What an object uses, under every name that a quota may have for it.
fn usage(review: &Review<'_>, object: &dyn Object) -> Map<Quantity> {
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
    if let Some(claim) = as_ref::<PersistentVolumeClaim>(object)
        && let Some(size) = claim.spec.resources.requests.get("storage")
    {
        used.insert("requests.storage", *size);
        if let Some(class) = claim.spec.storage_class_name.as_ref().filter(|c| !c.is_empty()) {
            let prefix = format!("{class}.storageclass.storage.k8s.io");
            used.insert(format!("{prefix}/requests.storage"), *size);
            used.insert(format!("{prefix}/persistentvolumeclaims"), one());
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

/// Compute resources that the quota limits and some container does not state: `requests.cpu for: main`.
fn unspecified(review: &Review<'_>, object: &dyn Object, hard: &Map<Quantity>) -> Vec<String> {
    let Some(pod) = as_ref::<Pod>(object).filter(|_| review.operation == Operation::Create) else {
        return Vec::new();
    };
    let mut missing = Vec::new();
    for (name, _) in hard.iter() {
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

fn scopes_match(quota: &ResourceQuota, object: &dyn Object) -> bool {
    let selectors = quota.spec.scope_selector.iter().flat_map(|s| &s.match_expressions);
    if quota.spec.scopes.is_empty() && quota.spec.scope_selector.is_none() {
        return true;
    }
    let Some(pod) = as_ref::<Pod>(object) else { return false };
    quota.spec.scopes.iter().all(|scope| scope_holds(pod, scope))
        && selectors.into_iter().all(|s| match s.scope_name.as_str() {
            "PriorityClass" => {
                let class = &pod.spec.priority_class_name;
                match s.operator.as_str() {
                    "Exists" => !class.is_empty(),
                    "DoesNotExist" => class.is_empty(),
                    "In" => s.values.contains(class),
                    "NotIn" => !s.values.contains(class),
                    _ => false,
                }
            }
            scope => scope_holds(pod, scope),
        })
}

fn scope_holds(pod: &Pod, scope: &str) -> bool {
    let best_effort = || pod_requests(pod).is_empty() && pod_limits(pod).is_empty();
    match scope {
        "Terminating" => pod.spec.active_deadline_seconds.is_some_and(|s| s >= 0),
        "NotTerminating" => pod.spec.active_deadline_seconds.is_none(),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => !pod.spec.priority_class_name.is_empty(),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = &pod.spec.affinity else { return false };
    let crosses = |term: &types::core::v1::PodAffinityTerm| {
        !term.namespaces.is_empty() || term.namespace_selector.is_some()
    };
    let affinity_terms = affinity.pod_affinity.iter().any(|a| {
        a.required_during_scheduling_ignored_during_execution.iter().any(crosses)
            || a.preferred_during_scheduling_ignored_during_execution
                .iter()
                .any(|w| crosses(&w.pod_affinity_term))
    });
    affinity_terms
        || affinity.pod_anti_affinity.iter().any(|a| {
            a.required_during_scheduling_ignored_during_execution.iter().any(crosses)
                || a.preferred_during_scheduling_ignored_during_execution
                    .iter()
                    .any(|w| crosses(&w.pod_affinity_term))
        })
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
