//! What a pod asks for and what a node offers, as plain numbers.
//!
//! The rules of a pod's total are those of [`rules::amounts`], over numbers that are cheap to compare.

use meta::{Map, Quantity, Str};
use rules::amounts::{Amounts, is_pod_level, is_resize_infeasible, of_containers, resizable};
use types::core::v1::{Container, Pod};

/// CPU counted for a container that asks for none, when spreading by use: 0.1 core.
pub const CPU_UNSET_MILLI: i64 = 100;
/// Memory counted for a container that asks for none, when spreading by use: 200 MB.
pub const MEMORY_UNSET_BYTES: i64 = 200 * 1024 * 1024;

/// Amounts of every resource. CPU in thousandths of a core, everything else in whole units (bytes, pieces).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU, milli-cores.
    pub cpu_milli: i64,
    /// Memory, bytes.
    pub memory_bytes: i64,
    /// Local ephemeral storage, bytes.
    pub ephemeral_bytes: i64,
    /// Extended resources and huge pages by name, sorted.
    pub scalars: Vec<(Str, i64)>,
}

impl Resources {
    /// From a resource list. `pods` is not an amount that pods ask for and is left out.
    pub fn from_list(list: &Map<Quantity>) -> Self {
        let mut total = Resources::default();
        for (name, quantity) in list.iter() {
            match name.as_str() {
                "cpu" => total.cpu_milli = quantity.milli_value(),
                "memory" => total.memory_bytes = quantity.value(),
                "ephemeral-storage" => total.ephemeral_bytes = quantity.value(),
                "pods" => {}
                _ => total.scalars.push((name.clone(), quantity.value())),
            }
        }
        total
    }

    /// Takes every amount of `other` away, saturating.
    pub fn subtract(&mut self, other: &Resources) {
        self.merge(other, i64::saturating_sub);
    }

    fn merge(&mut self, other: &Resources, combine: fn(i64, i64) -> i64) {
        self.cpu_milli = combine(self.cpu_milli, other.cpu_milli);
        self.memory_bytes = combine(self.memory_bytes, other.memory_bytes);
        self.ephemeral_bytes = combine(self.ephemeral_bytes, other.ephemeral_bytes);
        for (name, amount) in &other.scalars {
            match self.scalars.binary_search_by(|(own, _)| own.cmp(name)) {
                Ok(at) => self.scalars[at].1 = combine(self.scalars[at].1, *amount),
                Err(at) => self.scalars.insert(at, (name.clone(), combine(0, *amount))),
            }
        }
    }

    /// The amount of an extended resource, 0 when there is none.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.binary_search_by(|(own, _)| own.as_str().cmp(name)).map_or(0, |at| self.scalars[at].1)
    }
}

impl Amounts for Resources {
    /// Saturating.
    fn add(&mut self, other: &Resources) {
        self.merge(other, i64::saturating_add);
    }

    fn raise(&mut self, other: &Resources) {
        self.merge(other, i64::max);
    }
}

/// Amounts that containers without a request of their own are counted with.
#[derive(Clone, Copy, Default)]
struct Unset {
    cpu_milli: i64,
    memory_bytes: i64,
}

/// What the scheduler sets aside for the pod.
pub fn pod_requests(pod: &Pod) -> Resources {
    requests(pod, Unset::default(), true)
}

/// The same with [`CPU_UNSET_MILLI`] and [`MEMORY_UNSET_BYTES`] for containers that ask for nothing, by which pods
/// without requests still spread over nodes. Where the pod as a whole has requests, only a resource of which nothing
/// at all is asked is counted so.
pub fn pod_requests_nonzero(pod: &Pod, requests: &Resources) -> Resources {
    let given = pod.spec.resources.as_ref().is_some_and(|level| !pod_level(&level.requests).is_empty());
    let unset = Unset {
        cpu_milli: if given && requests.cpu_milli != 0 { 0 } else { CPU_UNSET_MILLI },
        memory_bytes: if given && requests.memory_bytes != 0 { 0 } else { MEMORY_UNSET_BYTES },
    };
    self::requests(pod, unset, true)
}

/// What the pod itself counts as when use is scored: [`pod_requests_nonzero`] by its containers alone. Upstream's scorers
/// leave the requests of the pod as a whole out, while the sums of nodes have them.
pub fn pod_requests_scored(pod: &Pod) -> Resources {
    requests(pod, Unset { cpu_milli: CPU_UNSET_MILLI, memory_bytes: MEMORY_UNSET_BYTES }, false)
}

/// What the pod's spec asks for, whatever is granted at the moment.
pub fn pod_requests_of_spec(pod: &Pod) -> Resources {
    let level = pod.spec.resources.as_ref().map(|level| pod_level(&level.requests));
    let mut total = total(pod, |one| Resources::from_list(&one.resources.requests), level);
    total.add(&Resources::from_list(&pod.spec.overhead));
    total
}

/// The most that the pod's spec lets it use. Overhead counts where there is a limit.
pub fn pod_limits_of_spec(pod: &Pod) -> Resources {
    let level = pod.spec.resources.as_ref().map(|level| pod_level(&level.limits));
    let mut total = total(pod, |one| Resources::from_list(&one.resources.limits), level);
    let mut overhead = Resources::from_list(&pod.spec.overhead);
    let limited = |limit: i64, overhead: i64| if limit == 0 { 0 } else { overhead };
    overhead.cpu_milli = limited(total.cpu_milli, overhead.cpu_milli);
    overhead.memory_bytes = limited(total.memory_bytes, overhead.memory_bytes);
    overhead.ephemeral_bytes = limited(total.ephemeral_bytes, overhead.ephemeral_bytes);
    overhead.scalars.retain(|(name, _)| total.scalar(name) != 0);
    total.add(&overhead);
    total
}

/// Amounts that a pod as a whole is given, each as it stands there (KEP-2837): CPU, memory and huge pages can be.
type PodLevel = Vec<(Str, i64)>;

fn pod_level(list: &Map<Quantity>) -> PodLevel {
    let amount = |name: &str, quantity: &Quantity| match name {
        "cpu" => quantity.milli_value(),
        _ => quantity.value(),
    };
    list.iter()
        .filter(|(name, _)| is_pod_level(name))
        .map(|(name, one)| (name.clone(), amount(name, one)))
        .collect()
}

/// What the pod as a whole is counted with: what it asks for, and what it holds or was granted while a resize in place is
/// under way.
fn pod_level_now(pod: &Pod) -> Option<PodLevel> {
    let mut given = pod_level(&pod.spec.resources.as_ref()?.requests);
    let Some(actual) = &pod.status.resources else { return Some(given) };
    let infeasible = is_resize_infeasible(pod);
    let states = [pod_level(&actual.requests), pod_level(&pod.status.allocated_resources)];
    for (name, amount) in &mut given {
        let others = states.iter().filter_map(|state| state.iter().find(|(other, _)| other == name));
        let held = others.map(|(_, amount)| *amount).max().unwrap_or(0);
        *amount = if infeasible { held } else { held.max(*amount) };
    }
    Some(given)
}

/// What one container is counted with: its requests, and what it holds or was granted while a resize in place is under
/// way (KEP-1287). A resize that the node called infeasible does not count. An init container that ends before the next
/// one starts is never resized.
fn container(pod: &Pod, container: &Container, unset: Unset) -> Resources {
    let mut asked = Resources::from_list(&container.resources.requests);
    let mut has_cpu = container.resources.requests.contains_key("cpu");
    let mut has_memory = container.resources.requests.contains_key("memory");
    if let Some(status) = resizable(pod, container)
        && let Some(actual) = &status.resources
    {
        if is_resize_infeasible(pod) {
            asked = Resources::default();
            (has_cpu, has_memory) = (false, false);
        }
        asked.raise(&Resources::from_list(&actual.requests));
        asked.raise(&Resources::from_list(&status.allocated_resources));
        has_cpu |= actual.requests.contains_key("cpu") || status.allocated_resources.contains_key("cpu");
        has_memory |=
            actual.requests.contains_key("memory") || status.allocated_resources.contains_key("memory");
    }
    if !has_cpu {
        asked.cpu_milli = unset.cpu_milli;
    }
    if !has_memory {
        asked.memory_bytes = unset.memory_bytes;
    }
    asked
}

fn requests(pod: &Pod, unset: Unset, whole: bool) -> Resources {
    let level = if whole { pod_level_now(pod) } else { None };
    let mut total = total(pod, |one| container(pod, one, unset), level);
    if !pod.spec.overhead.is_empty() {
        total.add(&Resources::from_list(&pod.spec.overhead));
    }
    total
}

/// What the containers need at once, of which each counts as `each` says; what the pod as a whole is given replaces it.
fn total(pod: &Pod, each: impl Fn(&Container) -> Resources, level: Option<PodLevel>) -> Resources {
    let mut running = of_containers(&pod.spec, each);
    for (name, amount) in level.into_iter().flatten() {
        match name.as_str() {
            "cpu" => running.cpu_milli = amount,
            "memory" => running.memory_bytes = amount,
            _ => match running.scalars.binary_search_by(|(own, _)| own.cmp(&name)) {
                Ok(at) => running.scalars[at].1 = amount,
                Err(at) => running.scalars.insert(at, (name, amount)),
            },
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: &str) -> Pod {
        use meta::Codec;
        Pod::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn init_containers_run_before_and_sidecars_beside() {
        let with = |cpu: &str| format!(r#""resources":{{"requests":{{"cpu":"{cpu}","memory":"1Mi"}}}}"#);
        let text = format!(
            r#"{{"spec":{{"overhead":{{"cpu":"10m"}},
                "initContainers":[{{"name":"s","restartPolicy":"Always",{}}},{{"name":"i",{}}}],
                "containers":[{{"name":"a",{}}},{{"name":"b"}}]}}}}"#,
            with("100m"),
            with("500m"),
            with("200m")
        );
        let asked = pod_requests(&pod(&text));
        // The init step with its sidecar (600m) exceeds the running pod (300m); overhead comes on top.
        assert_eq!((asked.cpu_milli, asked.memory_bytes), (610, 2 * 1024 * 1024));
        let nonzero = pod_requests_nonzero(&pod(&text), &asked);
        assert_eq!(nonzero.memory_bytes, 2 * 1024 * 1024 + MEMORY_UNSET_BYTES);
    }

    #[test]
    fn pod_level_requests_replace_the_sum() {
        let asked = pod_requests(&pod(
            r#"{"spec":{"resources":{"requests":{"cpu":"1"}},"containers":[{"name":"a","resources":{"requests":{"cpu":"100m","memory":"5","x.io/y":"2"}}}]}}"#,
        ));
        assert_eq!((asked.cpu_milli, asked.memory_bytes, asked.scalar("x.io/y")), (1000, 5, 2));
    }

    #[test]
    fn a_resize_counts_with_what_is_held_or_granted() {
        let of = |spec: &str, status: &str| {
            let asked = pod_requests(&pod(&format!(r#"{{"spec":{spec},"status":{status}}}"#)));
            asked.cpu_milli
        };
        let containers = r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}]}"#;
        let held = r#""containerStatuses":[{"name":"a","resources":{"requests":{"cpu":"2"}}}]"#;
        assert_eq!(of(containers, &format!("{{{held}}}")), 2000);
        let bigger = r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"5"}}}]}"#;
        let refused = r#""conditions":[{"type":"PodResizePending","status":"True","reason":"Infeasible"}]"#;
        assert_eq!(of(bigger, &format!("{{{held}}}")), 5000);
        assert_eq!(of(bigger, &format!("{{{held},{refused}}}")), 2000);
        // An init container that has to end is never resized; a sidecar is.
        let init = |policy: &str| {
            format!(
                r#"{{"initContainers":[{{"name":"a"{policy},"resources":{{"requests":{{"cpu":"1"}}}}}}]}}"#
            )
        };
        let held = r#"{"initContainerStatuses":[{"name":"a","resources":{"requests":{"cpu":"2"}}}]}"#;
        assert_eq!(of(&init(""), held), 1000);
        assert_eq!(of(&init(r#","restartPolicy":"Always""#), held), 2000);
        // The same for the pod as a whole.
        let whole = r#"{"resources":{"requests":{"cpu":"1"}},"containers":[{"name":"a"}]}"#;
        let held = r#""resources":{"requests":{"cpu":"2"}},"allocatedResources":{"cpu":"3"}"#;
        assert_eq!(of(whole, &format!("{{{held}}}")), 3000);
        assert_eq!(of(whole, r#"{"allocatedResources":{"cpu":"3"}}"#), 1000);
        let smaller = r#""resources":{"requests":{"cpu":"500m"}}"#;
        assert_eq!(of(whole, &format!("{{{smaller},{refused}}}")), 500);
    }
}
