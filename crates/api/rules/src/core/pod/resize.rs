//! What an update through `resize` may change: cpu and memory of the pod and of its containers, within the quality of
//! service. KEP-1287, KEP-5419.

use super::{resources, template};
use crate::Path;
use crate::amounts::is_sidecar;
use crate::check::Errs;
use meta::{List, Map, Quantity};
use types::core::v1::*;

/// Judges the update. The rest of the pod is checked by whoever checks pods.
pub(super) fn check(new: &Pod, old: &Pod, e: &mut Errs) {
    let refused = if template::is_mirror(old) {
        Some("static pods cannot be resized")
    } else if old.spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        Some("windows pods cannot be resized")
    } else {
        None
    };
    if let Some(refused) = refused {
        *e = Errs::new();
        return e.forbidden(&Path::WHOLE, refused);
    }
    let at = Path::root("spec");
    let before_class = match old.status.qos_class.as_str() {
        "" => resources::qos_class(&old.spec),
        class => class,
    };
    if before_class != resources::qos_class(&new.spec) {
        e.invalid(&at, &new.status.qos_class, "Pod QOS Class may not change as a result of resizing");
    }
    let running = old.status.container_statuses.iter().find(|s| s.state.running.is_some());
    if running.is_some_and(|s| s.resources.is_none()) {
        e.forbidden(&at, "Pod running on node without support for resize");
    }
    of_pod(new, old, e, &at);
    if !old.status.node_allocatable_resource_claim_statuses.is_empty() {
        e.forbidden(&at, "pods with node allocatable resource claims cannot be resized");
    }
    let (before, after) = (&old.spec, &new.spec);
    let regular = same_order(e, &at, "containers", &after.containers, &before.containers);
    if !same_order(e, &at, "initContainers", &after.init_containers, &before.init_containers) || !regular {
        return;
    }
    kept(e, &at.child("initContainers"), &after.init_containers, &before.init_containers);
    kept(e, &at.child("containers"), &after.containers, &before.containers);
    for (new, old) in after.containers.iter().zip(before.containers.iter()) {
        if rest(new, old) != *old {
            e.forbidden(&at, "only cpu and memory resources are mutable");
        }
    }
    let list = at.child("initContainers");
    for (i, (new, old)) in after.init_containers.iter().zip(before.init_containers.iter()).enumerate() {
        let at = list.index(i);
        if rest(new, old) != *old {
            e.forbidden(&at, "only cpu and memory resources for init or sidecar containers are mutable");
        }
        if new != old && !is_sidecar(new) {
            for _ in new.resize_policy.iter().filter(|policy| policy.restart_policy == "RestartContainer") {
                let why =
                    "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                e.forbidden(&at, why);
            }
        }
    }
}

/// Resources of the pod as a whole.
fn of_pod(new: &Pod, old: &Pod, e: &mut Errs, at: &Path<'_>) {
    let is_set = |pod: &Pod| {
        pod.spec.resources.as_ref().is_some_and(|r| !(r.requests.is_empty() && r.limits.is_empty()))
    };
    if !is_set(old) && !is_set(new) {
        return;
    }
    let own = at.child("resources");
    let nothing = ResourceRequirements::default();
    let before = old.spec.resources.as_deref();
    let Some(after) = new.spec.resources.as_deref() else {
        return e.forbidden(&own, "pod-level resources cannot be removed");
    };
    if let Some(before) = before {
        if removed(&after.requests, &before.requests) {
            e.forbidden(&own.child("requests"), "pod-level resource requests cannot be removed");
        }
        if removed(&after.limits, &before.limits) {
            e.forbidden(&own.child("limits"), "pod-level resource limits cannot be removed");
        }
    }
    let before = before.unwrap_or(&nothing);
    let mut rest = after.clone();
    rest.limits = immutable(&after.limits, &before.limits);
    rest.requests = immutable(&after.requests, &before.requests);
    if rest != *before {
        e.forbidden(at, "only cpu and memory resources are mutable at pod-level");
    }
}

/// Whether both lists have the same containers in the same order.
fn same_order(
    e: &mut Errs,
    at: &Path<'_>,
    field: &str,
    new: &List<Container>,
    old: &List<Container>,
) -> bool {
    let at = at.child(field);
    if new.len() != old.len() {
        e.forbidden(&at, format!("{field} may not be added or removed on resize"));
        return false;
    }
    let mut same = true;
    for (i, _) in new.iter().zip(old.iter()).enumerate().filter(|(_, (new, old))| new.name != old.name) {
        e.forbidden(&at.index(i).child("name"), format!("{field} may not be renamed or reordered on resize"));
        same = false;
    }
    same
}

/// No request and no limit may go.
fn kept(e: &mut Errs, at: &Path<'_>, new: &List<Container>, old: &List<Container>) {
    for (i, (new, old)) in new.iter().zip(old.iter()).enumerate() {
        let at = at.index(i);
        let at = at.child("resources");
        if removed(&new.resources.requests, &old.resources.requests) {
            e.forbidden(&at.child("requests"), "resource requests cannot be removed");
        }
        if removed(&new.resources.limits, &old.resources.limits) {
            e.forbidden(&at.child("limits"), "resource limits cannot be removed");
        }
    }
}

fn removed(new: &Map<Quantity>, old: &Map<Quantity>) -> bool {
    old.iter().any(|(name, _)| !new.contains_key(name))
}

/// The list with cpu and memory as they were.
fn immutable(new: &Map<Quantity>, old: &Map<Quantity>) -> Map<Quantity> {
    let mutable = |name: &str| name == "cpu" || name == "memory";
    let kept = new.iter().filter(|(n, _)| !mutable(n)).chain(old.iter().filter(|(n, _)| mutable(n)));
    kept.map(|(n, q)| (n.clone(), *q)).collect()
}

/// The container with cpu and memory as they were, and without device claims: a container that has some is not resized.
fn rest(new: &Container, old: &Container) -> Container {
    let mut rest = new.clone();
    rest.resources = ResourceRequirements {
        limits: immutable(&new.resources.limits, &old.resources.limits),
        requests: immutable(&new.resources.requests, &old.resources.requests),
        ..Default::default()
    };
    rest
}

#[cfg(test)]
mod tests {
    use super::super::prepare;
    use super::*;
    use meta::Codec as _;
    use serde_json::{Value, json};

    fn pod(spec: &Value) -> Pod {
        let value = json!({ "metadata": { "name": "p", "namespace": "n" }, "spec": spec });
        Pod::from_json(value.to_string().as_bytes()).unwrap()
    }

    fn asked(before: &Value, change: impl Fn(&mut Value)) -> Vec<String> {
        let (old, mut after) = (pod(before), before.clone());
        change(&mut after);
        let mut new = pod(&after);
        prepare::resize(&mut new, &old);
        let mut e = Errs::new();
        check(&new, &old, &mut e);
        e.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn cpu_and_memory_of_the_pod_and_of_any_container_change() {
        let some = |cpu: &str| json!({ "requests": { "cpu": cpu, "memory": "1Gi", "example.com/x": "1" } });
        let spec = json!({
            "resources": { "requests": { "cpu": "2", "memory": "2Gi" } },
            "initContainers": [{ "name": "i", "resources": some("1") },
                { "name": "r", "resources": some("1"), "resizePolicy": [
                    { "resourceName": "cpu", "restartPolicy": "RestartContainer" }] }],
            "containers": [{ "name": "a", "resources": some("1") }, { "name": "b", "resources": some("1") }],
        });
        type Change = fn(&mut Value);
        let table: [(Change, &[&str]); 9] = [
            (|s| s["resources"]["requests"]["cpu"] = json!("3"), &[]),
            (|s| s["initContainers"][0]["resources"]["requests"]["cpu"] = json!("2"), &[]),
            (|s| s["containers"][1]["image"] = json!("other"), &[]),
            (
                |s| s["initContainers"][1]["resources"]["requests"]["cpu"] = json!("2"),
                &[
                    "spec.initContainers[1]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
                ],
            ),
            (
                |s| s["containers"][0]["resources"]["requests"]["example.com/x"] = json!("2"),
                &["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                |s| {
                    s["containers"].as_array_mut().unwrap().swap(0, 1);
                },
                &[
                    "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
                    "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
                ],
            ),
            (
                |s| {
                    s["initContainers"].as_array_mut().unwrap().pop();
                },
                &["spec.initContainers: Forbidden: initContainers may not be added or removed on resize"],
            ),
            (
                |s| s["resources"] = Value::Null,
                &["spec.resources: Forbidden: pod-level resources cannot be removed"],
            ),
            (
                |s| s["resources"]["requests"] = json!({ "cpu": "2" }),
                &["spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"],
            ),
        ];
        for (change, wanted) in table {
            // What changes the class of service is refused for that as well; these changes do not.
            assert_eq!(asked(&spec, change), wanted);
        }
    }
}
