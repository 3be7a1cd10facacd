//! In-place resize: the resources in the pod's spec against those that its running containers have.
//!
//! The node grants a resize when it fits; CPU and memory then change in the cgroups without a restart. What was granted
//! is kept on disk, for the spec alone does not tell it after a restart of the kubelet.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use meta::Codec as _;
use reconcile::EventType::{self, Normal, Warning};
use telemetry::InFlight;
use types::core::v1::{Container, Pod, PodCondition, ResourceRequirements};

use super::steps::Wake;
use super::{Done, Msg, Worker};
use crate::backend::BackendError;
use crate::metrics::{RESIZES, RESIZES_INFEASIBLE, RESIZES_PENDING, RESIZES_RUNNING};
use crate::pod::plan::Action;
use crate::pod::resources;
use crate::pod::view::is_running;

/// A change that the kernel refused (less memory than is in use, for example) is tried again after this pause.
const RETRY: Duration = Duration::from_secs(10);

/// Resizes of one pod.
#[derive(Default)]
pub struct State {
    /// Resources that are in effect (or being put into effect), by container name.
    granted: HashMap<String, ResourceRequirements>,
    /// The same of the pod as a whole.
    of_pod: Option<Box<ResourceRequirements>>,
    /// A change of cgroups is under way.
    running: bool,
    /// The pod's cgroup has room for what is still to end, or a change of it failed: its own limits are to be set again.
    unsettled: bool,
    /// Why the last change did not succeed, and when it is tried again.
    failed: Option<(String, SystemTime)>,
    /// Why the wanted resources are not granted.
    pending: Option<Pending>,
    /// Generation of the pod whose resize was last said to have begun.
    begun: Option<i64>,
    /// When it began, and its place among those under way, until it is over.
    under_way: Option<(Instant, InFlight)>,
}

/// A resize that is not granted.
struct Pending {
    /// `Deferred` or `Infeasible`.
    reason: &'static str,
    message: String,
    /// Of the pod that asked for it.
    generation: i64,
    /// Its place among those that wait.
    _counted: InFlight,
}

/// A change of cgroups is over.
pub struct Resized {
    granted: HashMap<String, ResourceRequirements>,
    of_pod: Option<Box<ResourceRequirements>>,
    settled: bool,
    result: Result<(), String>,
}

/// One container whose cgroup changes while it runs.
struct InPlace {
    id: String,
    container: Container,
    before: runtime::Resources,
    after: runtime::Resources,
}

impl State {
    /// What the API says of running containers is what an earlier kubelet granted; else the spec counts.
    pub fn new(pod: &Pod) -> State {
        let of_status = |c: &Container| {
            let all = pod.status.container_statuses.iter().chain(pod.status.init_container_statuses.iter());
            let status = all.into_iter().find(|s| s.name == c.name)?;
            status.state.running.as_ref()?;
            status.resources.as_deref().cloned()
        };
        let granted =
            resizable(pod).map(|c| (c.name.to_string(), of_status(c).unwrap_or_else(|| c.resources.clone())));
        State { granted: granted.collect(), of_pod: granted_to_pod(pod), ..State::default() }
    }

    /// The spec changed: what failed may be tried again.
    pub fn forget_failure(&mut self) {
        self.failed = None;
    }

    /// Measures the change that was under way.
    fn over(&mut self, success: &str) {
        if let Some((began, _counted)) = self.under_way.take() {
            RESIZES.with(&[success]).observe(began.elapsed().as_secs_f64() * 1e3);
        }
    }

    /// Resources in effect, by container name.
    pub fn granted(&self) -> &HashMap<String, ResourceRequirements> {
        &self.granted
    }

    /// The pod with the resources that are in effect.
    pub fn in_effect<'a>(&self, pod: &'a Pod) -> Cow<'a, Pod> {
        let same = |c: &Container| self.granted.get(c.name.as_str()).is_none_or(|have| *have == c.resources);
        if self.of_pod == pod.spec.resources && resizable(pod).all(same) {
            return Cow::Borrowed(pod);
        }
        let mut pod = pod.clone();
        let spec = &mut *pod.spec;
        spec.resources.clone_from(&self.of_pod);
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut()) {
            if let Some(have) = self.granted.get(container.name.as_str()) {
                container.resources = have.clone();
            }
        }
        Cow::Owned(pod)
    }
}

/// What a pod that runs was granted as a whole: of the names that its spec has, what its status says.
fn granted_to_pod(pod: &Pod) -> Option<Box<ResourceRequirements>> {
    let wanted = pod.spec.resources.clone()?;
    let Some(told) = pod.status.resources.as_ref().filter(|_| pod.status.phase == "Running") else {
        return Some(wanted);
    };
    let granted = |wanted: &meta::Map<meta::Quantity>, told: &meta::Map<meta::Quantity>| {
        wanted.iter().filter_map(|(name, _)| Some((name.clone(), *told.get(name)?))).collect()
    };
    Some(Box::new(ResourceRequirements {
        requests: granted(&wanted.requests, &told.requests),
        limits: granted(&wanted.limits, &told.limits),
        claims: wanted.claims,
    }))
}

/// Containers whose resources may change: all but ephemeral ones.
fn resizable(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.containers.iter().chain(pod.spec.init_containers.iter())
}

fn differs_in(name: &str, a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    a.requests.get(name) != b.requests.get(name) || a.limits.get(name) != b.limits.get(name)
}

/// Requests and limits of CPU and memory decide; anything else cannot be resized.
fn differs(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    differs_in("cpu", a, b) || differs_in("memory", a, b)
}

/// The same of pods as a whole.
fn differ(a: Option<&ResourceRequirements>, b: Option<&ResourceRequirements>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => differs(a, b),
        (a, b) => a != b,
    }
}

/// What a resize asks for, as upstream's events tell it.
fn summary(pod: &Pod, error: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let list = |name: &str, containers: &[Container]| {
        let one = |c: &Container| {
            let resources = c.resources.to_json();
            let resources = String::from_utf8_lossy(&resources).into_owned();
            format!("{{\"name\":{},\"resources\":{resources}}}", quoted(&c.name))
        };
        let all: Vec<String> = containers.iter().map(one).collect();
        if all.is_empty() { String::new() } else { format!("\"{name}\":[{}],", all.join(",")) }
    };
    let (init, regular) =
        (list("initContainers", &pod.spec.init_containers), list("containers", &pod.spec.containers));
    let error = if error.is_empty() { String::new() } else { format!(",\"error\":{}", quoted(error)) };
    format!("{{{init}{regular}\"generation\":{}{error}}}", pod.metadata.generation)
}

/// Whether the container wants to be started anew for this change.
fn restarts(container: &Container, have: &ResourceRequirements) -> bool {
    let wanted = |policy: &types::core::v1::ContainerResizePolicy| {
        policy.restart_policy == "RestartContainer"
            && differs_in(&policy.resource_name, have, &container.resources)
    };
    container.resize_policy.iter().any(wanted)
}

/// The pod's limits while its containers change: room for both the old and the new ones, since no container may have
/// more than its pod, at any moment. What has no limit on one side stays as it is for now.
fn while_changing(old: &runtime::Resources, new: &runtime::Resources) -> runtime::Resources {
    fn larger<T: Ord + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
        Some(a?.max(b?))
    }
    runtime::Resources {
        cpu_quota_us: larger(old.cpu_quota_us, new.cpu_quota_us),
        cpu_period_us: larger(old.cpu_period_us, new.cpu_period_us),
        memory_limit_bytes: larger(old.memory_limit_bytes, new.memory_limit_bytes),
        ..runtime::Resources::default()
    }
}

/// Refuses memory limits that would fall below what is in use: the kernel would, but only after other limits have changed.
fn below_usage(
    stats: &runtime::SandboxStats,
    of_pod: (&runtime::Resources, &runtime::Resources),
    containers: &[InPlace],
) -> Result<(), String> {
    // The new limit where it is a smaller one, if more is in use.
    let below = |before: &runtime::Resources, after: &runtime::Resources, usage: Option<u64>| {
        let limit = after.memory_limit_bytes?;
        let smaller = before.memory_limit_bytes.is_none_or(|before| limit < before);
        let usage =
            usage.filter(|usage| smaller && i64::try_from(*usage).is_ok_and(|usage| usage >= limit))?;
        Some((limit, usage))
    };
    let mut wrong = Vec::new();
    let usage = stats.cgroup.as_ref().map(|cgroup| cgroup.memory_usage_bytes);
    if let Some((limit, usage)) = below(of_pod.0, of_pod.1, usage) {
        wrong.push(format!("attempting to set pod memory limit ({limit}) below current usage ({usage})"));
    }
    for one in containers {
        let stats = stats.containers.iter().find(|stats| stats.container_id == one.id);
        let usage = stats.and_then(|stats| Some(stats.cgroup.as_ref()?.memory_usage_bytes));
        if let Some((limit, usage)) = below(&one.before, &one.after, usage) {
            let name = &one.container.name;
            wrong.push(format!(
                "attempting to set container \"{name}\" memory limit ({limit}) below current usage ({usage})"
            ));
        }
    }
    match &wrong[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// Whether the pod as a whole still fits the node: the larger of its requests against what the node can give.
fn impossible(pod: &Pod, allocatable: &meta::Map<meta::Quantity>) -> Option<String> {
    let requests = resources::requests(pod);
    let over =
        ["cpu", "memory"].into_iter().find(|name| match (requests.get(name), allocatable.get(name)) {
            (Some(want), Some(have)) => want > have,
            _ => false,
        })?;
    Some(format!(
        "Node didn't have enough capacity: {over}, requested: {}, capacity: {}",
        shown(&requests, over),
        allocatable.get(over).map(|q| amount(over, q)).unwrap_or_default()
    ))
}

fn amount(name: &str, quantity: &meta::Quantity) -> i64 {
    if name == "cpu" { quantity.milli_value() } else { quantity.value() }
}

fn shown(list: &meta::Map<meta::Quantity>, name: &str) -> i64 {
    list.get(name).map(|q| amount(name, q)).unwrap_or_default()
}

impl Worker {
    /// Grants and puts into effect what the spec wants, if it is anything else than before.
    pub(super) fn sync_resize(&mut self, wake: &mut Wake) {
        if self.resize.running {
            return;
        }
        let before = self.granted_pod();
        let granted = self.grant(&before);
        let after = if granted { self.pod.clone() } else { before.clone() };
        let of_pod = differ(before.spec.resources.as_deref(), after.spec.resources.as_deref());
        let changes = |c: &Container| {
            let Some(have) = resizable(&before).find(|have| have.name == c.name) else { return false };
            differs(&have.resources, &c.resources)
                || of_pod
                    && resources::container_cgroup(&before, have) != resources::container_cgroup(&after, c)
        };
        let mut wanted: Vec<(String, Container)> = Vec::new();
        for c in resizable(&after).filter(|c| changes(c)) {
            match self.view.active(&c.name).filter(|r| is_running(r)) {
                Some(running) if self.in_flight.stopping.contains(&running.id) => {}
                Some(running) => wanted.push((running.id.clone(), c.clone())),
                // Its next start, if there is one, has the new resources.
                None => {
                    self.resize.granted.insert(c.name.to_string(), c.resources.clone());
                }
            }
        }
        let ending = !self.in_flight.stopping.is_empty();
        if wanted.is_empty() && !of_pod && (ending || !self.resize.unsettled) {
            return;
        }
        if let Some((_, again)) = &self.resize.failed
            && let Ok(rest) = again.duration_since(self.now())
            && !rest.is_zero()
        {
            return wake.after(rest);
        }
        let Some(sandbox) = self.view.ready_sandbox().map(|s| s.id.clone()) else { return };
        self.resize.running = true;
        if self.resize.under_way.is_none() {
            self.resize.under_way = Some((Instant::now(), RESIZES_RUNNING.with(&[]).track()));
        }
        let pids = self.shared.settings.pod_pids_limit;
        let cgroup_before = resources::pod_cgroup(&before, pids);
        let cgroup_after = resources::pod_cgroup(&after, pids);
        let had = |c: &Container| resizable(&before).find(|had| had.name == c.name);
        let (anew, in_place): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, container)| {
            had(container).is_some_and(|had| restarts(container, &had.resources))
        });
        let in_place: Vec<InPlace> = in_place
            .into_iter()
            .map(|(id, container)| InPlace {
                before: resources::container_cgroup(&before, had(&container).unwrap_or(&container)),
                after: resources::container_cgroup(&after, &container),
                id,
                container,
            })
            .collect();
        // What ends still has its old limits, which the pod's may not fall below.
        let settles = anew.is_empty() && !ending;
        for (id, container) in anew {
            let name = container.name.to_string();
            // Its next start has the new resources.
            self.resize.granted.insert(name.clone(), container.resources);
            let why = format!("Container {name} resize requires restart");
            self.act(Action::Stop { id, name, why, probe: None });
        }
        let runtime = self.shared.runtime.clone();
        let of_pod = after.spec.resources.clone();
        self.ops.spawn(async move {
            let mut granted = HashMap::new();
            let changes = async {
                let stats = runtime.sandbox_stats(&sandbox).await.map_err(|error| error.to_string())?;
                below_usage(&stats, (&cgroup_before, &cgroup_after), &in_place)?;
                let failed = |error: BackendError| error.to_string();
                let room = while_changing(&cgroup_before, &cgroup_after);
                runtime.update_sandbox_resources(&sandbox, &room).await.map_err(failed)?;
                for InPlace { id, container, after, .. } in in_place {
                    runtime.update_resources(&id, &after).await.map_err(failed)?;
                    granted.insert(container.name.to_string(), container.resources);
                }
                if settles {
                    runtime.update_sandbox_resources(&sandbox, &cgroup_after).await.map_err(failed)?;
                }
                Ok(())
            };
            let result = changes.await;
            Done::Resized(Resized { granted, of_pod, settled: settles, result })
        });
    }

    /// The pod with the resources that it was granted.
    pub(super) fn granted_pod(&self) -> Arc<Pod> {
        match self.resize.in_effect(&self.pod) {
            Cow::Borrowed(_) => self.pod.clone(),
            Cow::Owned(pod) => Arc::new(pod),
        }
    }

    /// Whether the pod may have what its spec asks for, by the node's ledger; says so where that is news.
    fn grant(&mut self, before: &Pod) -> bool {
        let changed = differ(before.spec.resources.as_deref(), self.pod.spec.resources.as_deref())
            || resizable(before)
                .zip(resizable(&self.pod))
                .any(|(have, want)| differs(&have.resources, &want.resources));
        if !changed {
            self.shared.room.withdraw(&self.uid);
            self.resize.pending = None;
            return true;
        }
        if let Some(why) = impossible(&self.pod, &self.shared.allocatable) {
            self.shared.room.withdraw(&self.uid);
            self.put_off("Infeasible", why);
            return false;
        }
        let inbox = self.inbox.clone();
        let wake = move || {
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(Msg::Room);
            }
        };
        match self.shared.room.grant(&self.pod, self.now(), wake) {
            Ok(()) => {
                self.resize.pending = None;
                let generation = self.pod.metadata.generation;
                if self.resize.begun != Some(generation) {
                    self.resize.begun = Some(generation);
                    self.tell(Normal, "ResizeStarted", "Pod resize started", "");
                }
                true
            }
            Err(Some(lacking)) => {
                self.put_off("Deferred", lacking.to_string());
                false
            }
            // The node has just started and does not know all its pods yet.
            Err(None) => false,
        }
    }

    /// The resize is not done, or not yet.
    fn put_off(&mut self, reason: &'static str, why: String) {
        let generation = self.pod.metadata.generation;
        let known = self
            .resize
            .pending
            .as_ref()
            .is_some_and(|known| (known.reason, known.generation) == (reason, generation));
        let label = if reason == "Deferred" { "deferred" } else { "infeasible" };
        let counted = RESIZES_PENDING.with(&[label]).track();
        self.resize.pending = Some(Pending { reason, message: why.clone(), generation, _counted: counted });
        if !known {
            if reason == "Infeasible" {
                RESIZES_INFEASIBLE.with(&["insufficient_node_allocatable"]).inc();
            }
            self.tell(Warning, &format!("Resize{reason}"), &format!("Pod resize {reason}"), &why);
        }
    }

    /// Records an event with what is wanted.
    fn tell(&self, event_type: EventType, reason: &str, text: &str, why: &str) {
        self.shared.pod_event(&self.pod, event_type, reason, format!("{text}: {}", summary(&self.pod, why)));
    }

    pub(super) fn resized(&mut self, resized: Resized) {
        self.resize.running = false;
        self.resize.granted.extend(resized.granted);
        match resized.result {
            Ok(()) => {
                self.resize.of_pod = resized.of_pod;
                self.resize.failed = None;
                self.resize.unsettled = !resized.settled;
                if resized.settled {
                    self.resize.over("true");
                    self.tell(Normal, "ResizeCompleted", "Pod resize completed", "");
                }
            }
            Err(why) => {
                self.resize.unsettled = true;
                self.resize.over("false");
                self.tell(Warning, "ResizeError", "Pod resize error", &why);
                self.resize.failed = Some((why, self.now() + RETRY));
            }
        }
    }

    /// `PodResizePending` and `PodResizeInProgress`.
    pub(super) fn resize_conditions(&self) -> Vec<PodCondition> {
        let condition = |type_: &str, reason: &str, message: &str| PodCondition {
            type_: type_.into(),
            status: "True".into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: self.pod.metadata.generation,
            ..Default::default()
        };
        let mut out = vec![];
        if let Some(pending) = &self.resize.pending {
            out.push(condition("PodResizePending", pending.reason, &pending.message));
        }
        if let Some((why, _)) = self.resize.failed.as_ref().filter(|_| !self.resize.running) {
            out.push(condition("PodResizeInProgress", "Error", why));
        } else if self.resize.running || self.resize.unsettled {
            out.push(condition("PodResizeInProgress", "", ""));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::ContainerResizePolicy;

    fn resources(cpu: &str, memory: &str) -> ResourceRequirements {
        let list: meta::Map<meta::Quantity> =
            [("cpu", cpu), ("memory", memory)].into_iter().map(|(k, v)| (k, v.parse().unwrap())).collect();
        ResourceRequirements { requests: list.clone(), limits: list, ..Default::default() }
    }

    #[test]
    fn a_policy_decides_whether_a_container_restarts() {
        let policy = |name: &str, policy: &str| ContainerResizePolicy {
            resource_name: name.into(),
            restart_policy: policy.into(),
        };
        let container = Container {
            resources: resources("20m", "30Mi"),
            resize_policy: [policy("cpu", "NotRequired"), policy("memory", "RestartContainer")]
                .into_iter()
                .collect(),
            ..Default::default()
        };
        assert!(!restarts(&container, &resources("10m", "30Mi")), "only CPU changed");
        assert!(restarts(&container, &resources("20m", "20Mi")));
        assert!(!differs(&container.resources, &resources("0.02", "30Mi")), "written differently");
    }

    #[test]
    fn a_pod_has_room_for_old_and_new_while_it_changes() {
        let limits = |quota, memory| runtime::Resources {
            cpu_quota_us: quota,
            memory_limit_bytes: memory,
            cpu_shares: Some(2),
            ..Default::default()
        };
        let got = while_changing(&limits(Some(3000), None), &limits(Some(2000), Some(5)));
        assert_eq!((got.cpu_quota_us, got.memory_limit_bytes, got.cpu_shares), (Some(3000), None, None));
    }

    #[test]
    fn no_limit_falls_below_what_is_in_use() {
        let limit = |bytes: i64| runtime::Resources { memory_limit_bytes: Some(bytes), ..Default::default() };
        let used =
            |bytes: u64| Some(runtime::CgroupStats { memory_usage_bytes: bytes, ..Default::default() });
        let stats = runtime::SandboxStats {
            cgroup: used(100),
            containers: vec![runtime::ContainerStats {
                container_id: "1".into(),
                cgroup: used(60),
                ..Default::default()
            }],
            ..Default::default()
        };
        let container = |before: i64, after: i64| InPlace {
            id: "1".into(),
            container: Container { name: "a".into(), ..Default::default() },
            before: limit(before),
            after: limit(after),
        };
        let check = |pod: (i64, i64), one: (i64, i64)| {
            below_usage(&stats, (&limit(pod.0), &limit(pod.1)), &[container(one.0, one.1)])
        };
        assert_eq!(check((200, 150), (100, 61)), Ok(()));
        assert_eq!(check((10, 20), (10, 20)), Ok(()), "limits that grow are the kernel's affair");
        let pod = "attempting to set pod memory limit (90) below current usage (100)";
        let own = "attempting to set container \"a\" memory limit (60) below current usage (60)";
        assert_eq!(check((200, 90), (100, 61)), Err(pod.into()));
        assert_eq!(check((200, 90), (100, 60)), Err(format!("[{pod}, {own}]")));
    }
}
