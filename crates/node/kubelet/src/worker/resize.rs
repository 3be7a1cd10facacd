//! In-place resize: the resources in the pod's spec against those that its running containers have.
//!
//! The node grants a resize when it fits; CPU and memory then change in the cgroups without a restart. What was granted
//! is kept on disk, for the spec alone does not tell it after a restart of the kubelet.

use std::collections::HashMap;

use reconcile::EventType::Warning;
use types::core::v1::{Container, Pod, PodCondition, ResourceRequirements};

use super::{Done, Worker};
use crate::pod::resources;
use crate::pod::view::is_running;

/// Resizes of one pod.
#[derive(Default)]
pub struct State {
    /// Resources that are in effect (or being put into effect), by container name.
    granted: HashMap<String, ResourceRequirements>,
    /// A change of cgroups is under way.
    running: bool,
    /// Why the last change did not succeed.
    failed: Option<String>,
    /// Why the wanted resources are not granted: reason and message.
    pending: Option<(&'static str, String)>,
}

/// A change of cgroups is over.
pub struct Resized {
    granted: HashMap<String, ResourceRequirements>,
    result: Result<(), String>,
}

impl State {
    /// What the API says of running containers is what an earlier kubelet granted; else the spec counts.
    pub fn new(pod: &Pod) -> State {
        let of_status = |c: &Container| {
            let status = pod.status.container_statuses.iter().find(|s| s.name == c.name)?;
            status.state.running.as_ref()?;
            status.resources.as_deref().cloned()
        };
        let granted = pod
            .spec
            .containers
            .iter()
            .map(|c| (c.name.to_string(), of_status(c).unwrap_or_else(|| c.resources.clone())));
        State { granted: granted.collect(), ..State::default() }
    }

    /// The spec changed: what failed may be tried again.
    pub fn forget_failure(&mut self) {
        self.failed = None;
    }

    /// Resources in effect, by container name.
    pub fn granted(&self) -> &HashMap<String, ResourceRequirements> {
        &self.granted
    }
}

/// Requests and limits of CPU and memory decide; anything else cannot be resized.
fn differs(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    let differ =
        |name: &str| a.requests.get(name) != b.requests.get(name) || a.limits.get(name) != b.limits.get(name);
    differ("cpu") || differ("memory")
}

/// Whether the pod as a whole still fits the node: the larger of its requests against what the node can give.
fn impossible(pod: &Pod, allocatable: &meta::Map<meta::Quantity>) -> Option<String> {
    let requests = resources::requests(pod);
    let over =
        ["cpu", "memory"].into_iter().find(|name| match (requests.get(*name), allocatable.get(name)) {
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

fn shown(list: &std::collections::BTreeMap<String, meta::Quantity>, name: &str) -> i64 {
    list.get(name).map(|q| amount(name, q)).unwrap_or_default()
}

impl Worker {
    /// Grants and puts into effect what the spec wants, if it is anything else than before.
    pub(super) fn sync_resize(&mut self) {
        if self.resize.running {
            return;
        }
        let wanted: Vec<(String, String, Container)> = self
            .pod
            .spec
            .containers
            .iter()
            .filter(|c| {
                self.resize.granted.get(c.name.as_str()).is_some_and(|have| differs(have, &c.resources))
            })
            .filter_map(|c| {
                let running = self.view.active(&c.name).filter(|r| is_running(r))?;
                Some((c.name.to_string(), running.id.clone(), c.clone()))
            })
            .collect();
        if wanted.is_empty() {
            self.resize.pending = None;
            return;
        }
        if let Some(why) = impossible(&self.pod, &self.shared.allocatable) {
            self.resize.pending = Some(("Infeasible", why));
            return;
        }
        if self.resize.failed.is_some() && self.resize.pending.is_none() {
            // The same change has failed already; a new spec clears this.
            return;
        }
        let Some(sandbox) = self.view.ready_sandbox().map(|s| s.id.clone()) else { return };
        self.resize.pending = None;
        self.resize.running = true;
        let pod_limits = resources::pod_cgroup(&self.pod, self.shared.settings.pod_pids_limit);
        let runtime = self.shared.runtime.clone();
        self.ops.spawn(async move {
            let mut granted = HashMap::new();
            let mut result =
                runtime.update_sandbox_resources(&sandbox, &pod_limits).await.map_err(|e| e.to_string());
            for (name, id, container) in wanted {
                if result.is_err() {
                    break;
                }
                let limits = resources::container_cgroup(&container);
                result = runtime.update_resources(&id, &limits).await.map_err(|e| e.to_string());
                granted.insert(name, container.resources);
            }
            Done::Resized(Resized { granted, result })
        });
    }

    pub(super) fn resized(&mut self, resized: Resized) {
        self.resize.running = false;
        match resized.result {
            Ok(()) => {
                self.resize.granted.extend(resized.granted);
                self.resize.failed = None;
            }
            Err(why) => {
                self.shared.pod_event(
                    &self.pod,
                    Warning,
                    "ResizeError",
                    format!("Error resizing pod: {why}"),
                );
                self.resize.failed = Some(why);
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
        if let Some((reason, message)) = &self.resize.pending {
            out.push(condition("PodResizePending", reason, message));
        }
        if self.resize.running {
            out.push(condition("PodResizeInProgress", "", ""));
        } else if let Some(why) = &self.resize.failed {
            out.push(condition("PodResizeInProgress", "Error", why));
        }
        out
    }
}
