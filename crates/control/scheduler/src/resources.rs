//! What a pod asks for and what a node offers, as plain numbers.
//!
//! The rules of a pod's total are those of `resource.PodRequests` (component-helpers): containers run together, init
//! containers one after the other beside the sidecars started before them, overhead comes on top, and pod-level
//! requests (KEP-2837) replace the sum where they are given.

use meta::{Map, Quantity, Str};
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

    /// Adds every amount of `other`, saturating.
    pub fn add(&mut self, other: &Resources) {
        self.merge(other, i64::saturating_add);
    }

    /// Takes every amount of `other` away, saturating.
    pub fn subtract(&mut self, other: &Resources) {
        self.merge(other, i64::saturating_sub);
    }

    /// Raises every amount to that of `other`.
    pub fn raise(&mut self, other: &Resources) {
        self.merge(other, i64::max);
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

fn container(container: &Container, unset: bool) -> Resources {
    let mut asked = Resources::from_list(&container.resources.requests);
    if unset {
        if !container.resources.requests.contains_key("cpu") {
            asked.cpu_milli = CPU_UNSET_MILLI;
        }
        if !container.resources.requests.contains_key("memory") {
            asked.memory_bytes = MEMORY_UNSET_BYTES;
        }
    }
    asked
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_ref().is_some_and(|policy| policy.as_str() == "Always")
}

/// What the scheduler sets aside for the pod.
pub fn pod_requests(pod: &Pod) -> Resources {
    total(pod, false)
}

/// The same with [`CPU_UNSET_MILLI`] and [`MEMORY_UNSET_BYTES`] for containers that ask for nothing, by which pods
/// without requests still spread over nodes.
pub fn pod_requests_nonzero(pod: &Pod) -> Resources {
    total(pod, true)
}

fn total(pod: &Pod, unset: bool) -> Resources {
    let mut running = Resources::default();
    for one in pod.spec.containers.iter() {
        running.add(&container(one, unset));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for one in pod.spec.init_containers.iter() {
        let mut step = container(one, unset);
        if is_sidecar(one) {
            sidecars.add(&step);
            peak.raise(&sidecars);
        } else {
            step.add(&sidecars);
            peak.raise(&step);
        }
    }
    running.add(&sidecars);
    running.raise(&peak);
    if let Some(level) = &pod.spec.resources {
        let given = Resources::from_list(&level.requests);
        if level.requests.contains_key("cpu") {
            running.cpu_milli = given.cpu_milli;
        }
        if level.requests.contains_key("memory") {
            running.memory_bytes = given.memory_bytes;
        }
        for (name, amount) in given.scalars {
            match running.scalars.binary_search_by(|(own, _)| own.cmp(&name)) {
                Ok(at) => running.scalars[at].1 = amount,
                Err(at) => running.scalars.insert(at, (name, amount)),
            }
        }
    }
    running.add(&Resources::from_list(&pod.spec.overhead));
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
        let nonzero = pod_requests_nonzero(&pod(&text));
        assert_eq!(nonzero.memory_bytes, 2 * 1024 * 1024 + MEMORY_UNSET_BYTES);
    }

    #[test]
    fn pod_level_requests_replace_the_sum() {
        let asked = pod_requests(&pod(
            r#"{"spec":{"resources":{"requests":{"cpu":"1"}},"containers":[{"name":"a","resources":{"requests":{"cpu":"100m","memory":"5","x.io/y":"2"}}}]}}"#,
        ));
        assert_eq!((asked.cpu_milli, asked.memory_bytes, asked.scalar("x.io/y")), (1000, 5, 2));
    }
}
