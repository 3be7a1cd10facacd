//! What a pod asks for and may use as a whole: the rules of component-helpers' `resource.PodRequests` and `PodLimits`.
//!
//! Containers run together, init containers one after the other beside the sidecars started before them (KEP-753). What
//! the pod as a whole is given replaces their sum (KEP-2837), overhead comes on top. While a resize in place is under way
//! what is held or granted counts as well (KEP-1287).

use meta::{Map, Quantity};
use types::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};

/// Amounts of resources by name, however they are kept.
pub trait Amounts: Default {
    /// Adds every amount of `other`.
    fn add(&mut self, other: &Self);
    /// Raises every amount to that of `other`.
    fn raise(&mut self, other: &Self);
}

impl Amounts for Map<Quantity> {
    fn add(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let sum = self.get(name).map_or(*amount, |own| *own + *amount);
            self.insert(name.clone(), sum);
        }
    }

    fn raise(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            if self.get(name).is_none_or(|own| own < amount) {
                self.insert(name.clone(), *amount);
            }
        }
    }
}

/// Whether an init container goes on running beside what comes after it.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a pod as a whole can be given some of a resource: CPU, memory, huge pages.
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// The most that a pod's containers need at one time, of which each counts as `each` says.
pub fn of_containers<A: Amounts>(spec: &PodSpec, each: impl Fn(&Container) -> A) -> A {
    let mut running = A::default();
    for container in spec.containers.iter() {
        running.add(&each(container));
    }
    let (mut sidecars, mut peak) = (A::default(), A::default());
    for container in spec.init_containers.iter() {
        let mut step = each(container);
        if is_sidecar(container) {
            sidecars.add(&step);
            peak.raise(&sidecars);
        } else {
            step.add(&sidecars);
            peak.raise(&step);
        }
    }
    running.add(&sidecars);
    running.raise(&peak);
    running
}

/// Whether the node said that a resize can never be done there: what is asked for does not count then.
pub fn is_resize_infeasible(pod: &Pod) -> bool {
    let pending = pod.status.conditions.iter().find(|condition| condition.type_ == "PodResizePending");
    pending.is_some_and(|condition| condition.reason == "Infeasible")
}

/// The status of a container whose resources can be resized: not of an init container that has to end.
pub fn resizable<'a>(pod: &'a Pod, container: &Container) -> Option<&'a ContainerStatus> {
    let init = pod.spec.init_containers.iter().any(|one| one.name == container.name);
    if init && !is_sidecar(container) {
        return None;
    }
    let statuses = pod.status.container_statuses.iter().chain(pod.status.init_container_statuses.iter());
    statuses.into_iter().find(|status| status.name == container.name)
}

/// What a pod's spec asks for; `overhead` says whether that comes on top.
pub fn requests_of_spec(pod: &Pod, overhead: bool) -> Map<Quantity> {
    let mut total = of_spec(&pod.spec, |resources| &resources.requests);
    if overhead {
        total.add(&pod.spec.overhead);
    }
    total
}

/// The most that a pod's spec lets it use; overhead counts where there is a limit.
pub fn limits_of_spec(pod: &Pod, overhead: bool) -> Map<Quantity> {
    let mut total = of_spec(&pod.spec, |resources| &resources.limits);
    if overhead {
        add_to_limits(&mut total, &pod.spec.overhead);
    }
    total
}

/// What a pod is charged for: what it asks for, and what its containers hold or were granted.
pub fn requests(pod: &Pod) -> Map<Quantity> {
    let mut total = of_containers(&pod.spec, |container| {
        let asked = &container.resources.requests;
        match resizable(pod, container).and_then(|status| Some((status, status.resources.as_ref()?))) {
            None => asked.clone(),
            Some((status, actual)) => effective(pod, asked, &[&actual.requests, &status.allocated_resources]),
        }
    });
    replace(&mut total, &pod.spec, |resources| &resources.requests);
    total.add(&pod.spec.overhead);
    total
}

/// The limits of a pod, those that its containers still run with among them.
pub fn limits(pod: &Pod) -> Map<Quantity> {
    let mut total = of_containers(&pod.spec, |container| {
        let given = &container.resources.limits;
        match resizable(pod, container).and_then(|status| status.resources.as_ref()) {
            None => given.clone(),
            Some(actual) => effective(pod, given, &[&actual.limits]),
        }
    });
    replace(&mut total, &pod.spec, |resources| &resources.limits);
    add_to_limits(&mut total, &pod.spec.overhead);
    total
}

fn of_spec(spec: &PodSpec, of: impl Fn(&ResourceRequirements) -> &Map<Quantity>) -> Map<Quantity> {
    let mut total = of_containers(spec, |container| of(&container.resources).clone());
    replace(&mut total, spec, of);
    total
}

/// What counts of a resource that is asked for while it is `held` in other amounts.
fn effective(pod: &Pod, asked: &Map<Quantity>, held: &[&Map<Quantity>]) -> Map<Quantity> {
    let mut counted = if is_resize_infeasible(pod) { Map::default() } else { asked.clone() };
    held.iter().for_each(|amounts| counted.raise(amounts));
    counted
}

/// Puts what the pod as a whole is given in the place of its containers' sum.
fn replace(total: &mut Map<Quantity>, spec: &PodSpec, of: impl Fn(&ResourceRequirements) -> &Map<Quantity>) {
    let given = spec.resources.as_deref().into_iter().flat_map(|resources| of(resources).iter());
    for (name, amount) in given.filter(|(name, _)| is_pod_level(name)) {
        total.insert(name.clone(), *amount);
    }
}

fn add_to_limits(limits: &mut Map<Quantity>, overhead: &Map<Quantity>) {
    for (name, more) in overhead.iter() {
        if let Some(limit) = limits.get(name).copied().filter(|limit| *limit != Quantity::zero()) {
            limits.insert(name.clone(), limit + *more);
        }
    }
}

#[cfg(test)]
mod tests {
    use meta::Codec as _;
    use serde_json::{Value, json};

    use super::*;

    fn pod(json: Value) -> Pod {
        Pod::from_json(json.to_string().as_bytes()).unwrap()
    }

    fn cpu(amounts: &Map<Quantity>) -> String {
        amounts.get("cpu").map(ToString::to_string).unwrap_or_default()
    }

    fn asks(cpu: &str) -> Value {
        json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}})
    }

    #[test]
    fn a_pod_counts_as_its_worst_moment_or_as_it_says_itself() {
        let spec = |own: Value| {
            pod(json!({"spec": {
                "resources": own, "overhead": {"cpu": "100m", "memory": "1Mi"},
                "initContainers": [
                    {"name": "s", "restartPolicy": "Always", "resources": asks("1")},
                    {"name": "i", "resources": asks("4")},
                    {"name": "t", "restartPolicy": "Always", "resources": asks("1")}],
                "containers": [{"name": "a", "resources": asks("2")}]}}))
        };
        let summed = spec(Value::Null);
        assert_eq!((cpu(&requests(&summed)), cpu(&limits(&summed))), ("5100m".into(), "5100m".into()));
        assert_eq!(cpu(&requests_of_spec(&summed, false)), "5");
        let whole = spec(asks("3"));
        assert_eq!((cpu(&requests(&whole)), cpu(&limits(&whole))), ("3100m".into(), "3100m".into()));
        let names = |amounts: Map<Quantity>| amounts.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(requests(&whole)), ["cpu", "memory"]);
        assert_eq!(names(limits(&whole)), ["cpu"], "overhead is no limit of its own");
    }

    #[test]
    fn a_resize_counts_with_what_is_held_or_granted() {
        let of = |status: Value| {
            let pod = pod(json!({
                "spec": {"containers": [{"name": "a", "resources": asks("2")}],
                    "initContainers": [{"name": "i", "resources": asks("1")}]},
                "status": status}));
            (cpu(&requests(&pod)), cpu(&limits(&pod)))
        };
        let held = |name: &str, actual: &str, granted: &str| json!([{"name": name, "resources": asks(actual), "allocatedResources": {"cpu": granted}}]);
        let both = |requests: &str, limits: &str| (requests.to_owned(), limits.to_owned());
        assert_eq!(of(json!({"containerStatuses": held("a", "3", "1")})), both("3", "3"));
        assert_eq!(of(json!({"containerStatuses": held("a", "1", "4")})), both("4", "2"));
        assert_eq!(of(json!({"initContainerStatuses": held("i", "9", "9")})), both("2", "2"));
        let refused = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
        assert_eq!(
            of(json!({"containerStatuses": held("a", "1", "1"), "conditions": refused})),
            both("1", "1")
        );
    }
}
