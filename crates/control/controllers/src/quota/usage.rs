//! Counting what a quota limits.

use meta::{Kind, Map, Quantity};
use reconcile::World;
use types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use types::batch::v1::{CronJob, Job};
use types::core::v1::{
    ConfigMap, Container, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret, Service,
    ServiceAccount,
};

use crate::common::pods;

/// How much of `name` is used in the quota's namespace; `None` for what is not counted here.
pub(super) fn of(name: &str, quota: &ResourceQuota, world: &World) -> Option<Quantity> {
    let namespace = quota.metadata.namespace.as_str();
    let number = |count: usize| Some(number(count));
    let services =
        |type_: &str| world.list::<Service>(namespace).iter().filter(|s| s.spec.type_ == type_).count();
    match name {
        "pods" | "count/pods" => {
            let live = pods_of(quota, world).filter(|pod| name == "count/pods" || !pods::is_finished(pod));
            number(live.count())
        }
        "services" | "count/services" => number(count::<Service>(namespace, world)),
        "services.nodeports" => {
            let ports = world.list::<Service>(namespace);
            let with = ports.iter().filter(|s| matches!(s.spec.type_.as_str(), "NodePort" | "LoadBalancer"));
            number(with.map(|service| service.spec.ports.len()).sum())
        }
        "services.loadbalancers" => number(services("LoadBalancer")),
        "configmaps" | "count/configmaps" => number(count::<ConfigMap>(namespace, world)),
        "secrets" | "count/secrets" => number(count::<Secret>(namespace, world)),
        "replicationcontrollers" | "count/replicationcontrollers" => {
            number(count::<ReplicationController>(namespace, world))
        }
        "resourcequotas" | "count/resourcequotas" => number(count::<ResourceQuota>(namespace, world)),
        "count/serviceaccounts" => number(count::<ServiceAccount>(namespace, world)),
        "persistentvolumeclaims" | "count/persistentvolumeclaims" => {
            number(count::<PersistentVolumeClaim>(namespace, world))
        }
        "count/replicasets.apps" => number(count::<ReplicaSet>(namespace, world)),
        "count/deployments.apps" => number(count::<Deployment>(namespace, world)),
        "count/statefulsets.apps" => number(count::<StatefulSet>(namespace, world)),
        "count/daemonsets.apps" => number(count::<DaemonSet>(namespace, world)),
        "count/jobs.batch" => number(count::<Job>(namespace, world)),
        "count/cronjobs.batch" => number(count::<CronJob>(namespace, world)),
        "requests.storage" => Some(storage(namespace, None, world)),
        _ => match name.split_once(".storageclass.storage.k8s.io/") {
            Some((class, "requests.storage")) => Some(storage(namespace, Some(class), world)),
            Some((class, "persistentvolumeclaims")) => {
                let claims = world.list::<PersistentVolumeClaim>(namespace);
                number(
                    claims
                        .iter()
                        .filter(|claim| claim.spec.storage_class_name.as_deref() == Some(class))
                        .count(),
                )
            }
            _ => compute(name, quota, world),
        },
    }
}

/// A number of objects as a quota writes it.
pub(super) fn number(count: usize) -> Quantity {
    Quantity::new(count as i64, Quantity::zero().format())
}

fn count<K: Kind>(namespace: &str, world: &World) -> usize {
    world.list::<K>(namespace).len()
}

fn storage(namespace: &str, class: Option<&str>, world: &World) -> Quantity {
    let claims = world.list::<PersistentVolumeClaim>(namespace);
    let within =
        claims.iter().filter(|claim| class.is_none() || claim.spec.storage_class_name.as_deref() == class);
    sum(within.filter_map(|claim| claim.spec.resources.requests.get("storage").copied()))
}

fn sum(quantities: impl Iterator<Item = Quantity>) -> Quantity {
    let mut format = Quantity::zero().format();
    let mut nanos = 0;
    for quantity in quantities {
        if nanos == 0 {
            format = quantity.format();
        }
        nanos += quantity.nanos();
    }
    Quantity::from_nanos(nanos, format)
}

/// Requests and limits of the pods that the quota's scopes select.
fn compute(name: &str, quota: &ResourceQuota, world: &World) -> Option<Quantity> {
    let (limits, resource) = match name.split_once('.') {
        Some(("limits", resource)) => (true, resource),
        Some(("requests", resource)) => (false, resource),
        _ if matches!(name, "cpu" | "memory" | "ephemeral-storage") => (false, name),
        _ => return None,
    };
    let live = pods_of(quota, world).filter(|pod| !pods::is_finished(pod));
    Some(sum(live.map(|pod| of_pod(&pod, resource, limits))))
}

fn of_pod(pod: &Pod, resource: &str, limits: bool) -> Quantity {
    let of = |container: &Container| {
        let list: &Map<Quantity> =
            if limits { &container.resources.limits } else { &container.resources.requests };
        list.get(resource).copied()
    };
    let own = pod.spec.resources.as_deref();
    let own = own.and_then(|r| if limits { r.limits.get(resource) } else { r.requests.get(resource) });
    let base = own.copied().unwrap_or_else(|| {
        // Init containers run one after another, each beside the sidecars before it; the sidecars stay.
        let mut sidecars: Vec<Quantity> = Vec::new();
        let mut largest = Quantity::zero();
        for container in &pod.spec.init_containers {
            let beside = sum(sidecars.iter().copied().chain(of(container)));
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.extend(of(container));
            } else if beside.nanos() > largest.nanos() {
                largest = beside;
            }
        }
        let together = sum(pod.spec.containers.iter().filter_map(of).chain(sidecars));
        if largest.nanos() > together.nanos() { largest } else { together }
    });
    sum([base].into_iter().chain(pod.spec.overhead.get(resource).copied()))
}

/// The pods that the quota is about.
fn pods_of(quota: &ResourceQuota, world: &World) -> impl Iterator<Item = std::sync::Arc<Pod>> {
    let scopes = quota.spec.scopes.clone();
    let terms = quota.spec.scope_selector.clone();
    world.list::<Pod>(&quota.metadata.namespace).into_iter().filter(move |pod| {
        let plain = scopes.iter().all(|scope| in_scope(pod, scope));
        let selected = terms.as_ref().is_none_or(|selector| {
            selector.match_expressions.iter().all(|term| match term.scope_name.as_str() {
                "PriorityClass" => {
                    let class = &pod.spec.priority_class_name;
                    match term.operator.as_str() {
                        "In" => term.values.contains(class),
                        "NotIn" => !term.values.contains(class),
                        "Exists" => !class.is_empty(),
                        "DoesNotExist" => class.is_empty(),
                        _ => false,
                    }
                }
                scope => in_scope(pod, scope),
            })
        });
        plain && selected
    })
}

fn in_scope(pod: &Pod, scope: &str) -> bool {
    let terminating = pod.spec.active_deadline_seconds.is_some();
    let best_effort = pod.status.qos_class == "BestEffort";
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => !pod.spec.priority_class_name.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use meta::Codec as _;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_counts_as_its_worst_moment_or_as_it_says_itself() {
        let cpu = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        let spec = |own: Value| {
            json!({ "spec": {
                "resources": own, "overhead": { "cpu": "100m" },
                "initContainers": [
                    { "name": "s", "restartPolicy": "Always", "resources": cpu("1") },
                    { "name": "i", "resources": cpu("4") },
                    { "name": "t", "restartPolicy": "Always", "resources": cpu("1") }],
                "containers": [{ "name": "a", "resources": cpu("2") }] } })
        };
        for (own, wanted) in [(Value::Null, "5100m"), (cpu("3"), "3100m")] {
            let pod = Pod::from_json(spec(own).to_string().as_bytes()).unwrap();
            assert_eq!(of_pod(&pod, "cpu", false).to_string(), wanted);
        }
    }
}
