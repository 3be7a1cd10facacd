//! Requests and limits: sums of a pod, its QoS class, and the numbers that go to cgroups.

use meta::{Map, Quantity};
use rules::amounts;
use runtime::{QosClass, Resources};
use types::core::v1::{Container, Pod};

use super::{Role, init_role};

/// CPU period of the scheduler in microseconds.
pub const PERIOD_US: u64 = 100_000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const MIN_QUOTA_US: i64 = 1000;

/// Requests of the pod as a whole.
pub fn requests(pod: &Pod) -> Map<Quantity> {
    amounts::requests_of_spec(pod, true)
}

/// Limits of the pod as a whole; overhead counts only where there is a limit.
pub fn limits(pod: &Pod) -> Map<Quantity> {
    amounts::limits_of_spec(pod, true)
}

/// The QoS class: what the API server computed, or would.
pub fn qos(pod: &Pod) -> QosClass {
    match rules::qos(pod) {
        "Guaranteed" => QosClass::Guaranteed,
        "BestEffort" => QosClass::BestEffort,
        _ => QosClass::Burstable,
    }
}

/// The name of a QoS class in the API.
pub fn qos_name(class: QosClass) -> &'static str {
    match class {
        QosClass::Guaranteed => "Guaranteed",
        QosClass::Burstable => "Burstable",
        QosClass::BestEffort => "BestEffort",
    }
}

/// Milli-CPUs as the weight of v1's scale.
pub fn shares(milli_cpu: i64) -> u64 {
    u64::try_from(milli_cpu).map_or(MIN_SHARES, |m| (m * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES))
}

/// Milli-CPUs as CPU time in microseconds for each period; `None` without a limit.
pub fn quota_us(milli_cpu: i64) -> Option<i64> {
    (milli_cpu > 0).then(|| (milli_cpu * PERIOD_US as i64 / 1000).max(MIN_QUOTA_US))
}

/// The cgroup settings of one container. What it has no limit for is limited as its pod is (KEP-2837).
pub fn container_cgroup(pod: &Pod, container: &Container) -> Resources {
    let of_pod = pod.spec.resources.as_deref();
    let limit = |name: &str| {
        let own = container.resources.limits.get(name).filter(|limit| limit.milli_value() > 0);
        own.or_else(|| of_pod?.limits.get(name)).copied()
    };
    cgroup(|name| container.resources.requests.get(name).cloned(), limit, &container.resources.limits)
}

/// The cgroup settings of the pod as a whole. Limits apply only when every container has one.
pub fn pod_cgroup(pod: &Pod, pids_limit: Option<i64>) -> Resources {
    let (requests, limits) = (requests(pod), limits(pod));
    let every = |name: &str| {
        let own = pod.spec.resources.as_ref().is_some_and(|r| r.limits.contains_key(name));
        let all = pod
            .spec
            .containers
            .iter()
            .chain(pod.spec.init_containers.iter().filter(|c| init_role(c) == Role::Sidecar))
            .all(|c| c.resources.limits.get(name).is_some_and(|q| q.milli_value() > 0));
        own || all
    };
    let (cpu, memory) = (every("cpu"), every("memory"));
    let mut out = cgroup(
        |name| requests.get(name).cloned(),
        |name| limits.get(name).filter(|_| if name == "cpu" { cpu } else { memory }).cloned(),
        &limits,
    );
    out.pids_limit = pids_limit;
    out
}

fn cgroup(
    request: impl Fn(&str) -> Option<Quantity>,
    limit: impl Fn(&str) -> Option<Quantity>,
    limits: &Map<Quantity>,
) -> Resources {
    let milli = |q: Option<Quantity>| q.map_or(0, |q| q.milli_value());
    let cpu_limit = milli(limit("cpu"));
    // A limit without a request means a request of the same size.
    let cpu = request("cpu").map_or(cpu_limit, |q| q.milli_value());
    let hugepages = limits.iter().filter_map(|(name, quantity)| {
        let size = name.strip_prefix("hugepages-")?.parse::<Quantity>().ok()?.value();
        Some((page_name(size), u64::try_from(quantity.value()).ok()?))
    });
    Resources {
        cpu_shares: Some(shares(cpu)),
        cpu_quota_us: quota_us(cpu_limit),
        cpu_period_us: quota_us(cpu_limit).map(|_| PERIOD_US),
        memory_limit_bytes: limit("memory").map(|q| q.value()).filter(|v| *v > 0),
        hugepage_limits: hugepages.collect(),
        ..Resources::default()
    }
}

/// Size of a huge page as the kernel's file names write it.
fn page_name(bytes: i64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{}GB", b >> 30),
        b if b >= 1 << 20 => format!("{}MB", b >> 20),
        b => format!("{}KB", b >> 10),
    }
}

/// How willing the kernel shall be to kill the container when memory is short: critical and guaranteed pods last, and
/// the less of the node's memory a burstable container requested the sooner.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity_bytes: i64) -> i32 {
    if pod.spec.priority.unwrap_or(0) >= 2_000_000_000 || is_static_critical(pod) {
        return -997;
    }
    match qos(pod) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let request = container.resources.requests.get("memory").map_or(0, |q| q.value());
            let score = 1000 - i128::from(request) * 1000 / i128::from(memory_capacity_bytes.max(1));
            // Between guaranteed (with room for the daemons) and best effort.
            score.clamp(3, 999) as i32
        }
    }
}

fn is_static_critical(pod: &Pod) -> bool {
    super::is_static(pod) && pod.spec.priority_class_name.starts_with("system-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::ResourceRequirements;

    fn q(s: &str) -> Quantity {
        s.parse().unwrap()
    }

    fn container(name: &str, requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let list = |l: &[(&str, &str)]| l.iter().map(|(k, v)| (*k, q(v))).collect();
        Container {
            name: name.into(),
            resources: ResourceRequirements {
                requests: list(requests),
                limits: list(limits),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn pod(init: Vec<Container>, regular: Vec<Container>) -> Pod {
        let mut pod = Pod::default();
        pod.spec.init_containers = init.into_iter().collect();
        pod.spec.containers = regular.into_iter().collect();
        pod
    }

    #[test]
    fn qos_classes() {
        let all = [("cpu", "1"), ("memory", "1Gi")];
        for (containers, want) in [
            (vec![container("a", &[], &[])], QosClass::BestEffort),
            (vec![container("a", &all, &all)], QosClass::Guaranteed),
            (vec![container("a", &all, &all), container("b", &[], &[])], QosClass::Burstable),
            (vec![container("a", &[("cpu", "1")], &[])], QosClass::Burstable),
            (vec![container("a", &[("cpu", "500m")], &all)], QosClass::Burstable),
        ] {
            assert_eq!(qos(&pod(vec![], containers.clone())), want, "{containers:?}");
        }
    }

    #[test]
    fn sidecars_add_and_init_containers_peak() {
        let mut sidecar = container("s", &[("cpu", "100m")], &[]);
        sidecar.restart_policy = Some("Always".into());
        let init = container("i", &[("cpu", "1")], &[]);
        let p = pod(vec![sidecar, init], vec![container("a", &[("cpu", "200m")], &[])]);
        assert_eq!(requests(&p)["cpu"], q("1100m"));
        let mut p = pod(
            vec![],
            vec![container("a", &[("cpu", "200m")], &[]), container("b", &[("cpu", "300m")], &[])],
        );
        assert_eq!(requests(&p)["cpu"], q("500m"));
        p.spec.overhead.insert("cpu", q("50m"));
        assert_eq!(requests(&p)["cpu"], q("550m"));
    }

    #[test]
    fn cgroup_numbers() {
        let mut whole = pod(vec![], vec![]);
        let limited = container("a", &[("cpu", "250m")], &[("cpu", "500m"), ("memory", "64Mi")]);
        let r = container_cgroup(&whole, &limited);
        assert_eq!((r.cpu_shares, r.cpu_quota_us, r.cpu_period_us), (Some(256), Some(50_000), Some(100_000)));
        assert_eq!(r.memory_limit_bytes, Some(64 << 20));
        let r = container_cgroup(&whole, &container("a", &[], &[]));
        assert_eq!((r.cpu_shares, r.cpu_quota_us, r.memory_limit_bytes), (Some(2), None, None));
        whole.spec.resources =
            Some(Box::new(container("", &[], &[("cpu", "1"), ("memory", "1Gi")]).resources));
        let r = container_cgroup(&whole, &container("a", &[("cpu", "250m")], &[("memory", "64Mi")]));
        assert_eq!(
            (r.cpu_shares, r.cpu_quota_us, r.memory_limit_bytes),
            (Some(256), Some(100_000), Some(64 << 20)),
            "the pod's limit where the container has none"
        );
        assert_eq!(quota_us(1), Some(1000));
        let half = pod(vec![], vec![container("a", &[], &[("cpu", "1")]), container("b", &[], &[])]);
        assert_eq!(
            pod_cgroup(&half, None).cpu_quota_us,
            None,
            "an unlimited container makes the pod unlimited"
        );
    }

    #[test]
    fn oom_scores() {
        let small = pod(vec![], vec![container("a", &[("memory", "1Gi")], &[])]);
        assert_eq!(oom_score_adj(&small, &small.spec.containers[0], 10 << 30), 900);
        let none = pod(vec![], vec![container("a", &[], &[])]);
        assert_eq!(oom_score_adj(&none, &none.spec.containers[0], 10 << 30), 1000);
    }
}
