//! What to do next for a pod. Pure: the pod, what the runtime has, what is under way and what failed go in; actions come
//! out. The worker performs them and asks again whenever anything has happened.
//!
//! One start is under way at a time, in order, because hooks and readiness of earlier containers are promises to later
//! ones. Anything that must wait for time is answered with `wake_in`.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use runtime::Container as Running;
use types::core::v1::{Container, Pod};

use super::backoff::Backoff;
use super::restart::should_restart;
use super::view::{PodView, exit, is_running, time};
use super::{Role, ephemeral, init_role};

/// What probes and hooks say about one running container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its startup probe (if any) has succeeded and its postStart hook is done.
    pub started: bool,
    /// Its liveness or startup probe failed for good.
    pub failed: Option<ProbeFailure>,
}

/// Which probe asks for a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// `livenessProbe`.
    Liveness,
    /// `startupProbe`.
    Startup,
}

/// Operations that have been started and have not reported back.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    /// Volumes and sandbox are being made.
    pub set_up: bool,
    /// The init, sidecar or regular container that is being started.
    pub starting: Option<String>,
    /// Ephemeral containers that are being started.
    pub starting_ephemeral: HashSet<String>,
    /// Containers that are being stopped, by id.
    pub stopping: HashSet<String>,
}

/// Everything a decision depends on.
pub struct World<'a> {
    /// The pod as it shall be.
    pub pod: &'a Pod,
    /// The pod as the runtime has it.
    pub view: &'a PodView,
    /// By container id.
    pub health: &'a HashMap<String, Health>,
    /// What is under way.
    pub in_flight: &'a InFlight,
    /// Restart delays by container name.
    pub restarts: &'a Backoff,
    /// Until when a failed start (pull, configuration) of a container rests, by name.
    pub resting: &'a HashMap<String, SystemTime>,
    /// Until when a failed set-up of volumes or sandbox rests.
    pub set_up_rests: Option<SystemTime>,
    /// Volumes are mounted (since the worker started).
    pub volumes_ready: bool,
    /// Now.
    pub now: SystemTime,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Mount volumes and, if none is ready, make a sandbox.
    SetUp,
    /// Start a container.
    Start {
        /// Its name.
        name: String,
        /// Its role.
        role: Role,
        /// How often it was started before.
        attempt: u32,
    },
    /// Stop a container that shall be replaced.
    Stop {
        /// The container's id.
        id: String,
        /// Its name.
        name: String,
        /// Why, as the event says it.
        why: String,
        /// The probe that asked for it, whose own grace period then counts.
        probe: Option<ProbeFailure>,
    },
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be started now, all of them.
    pub actions: Vec<Action>,
    /// When to ask again even if nothing happens.
    pub wake_in: Option<Duration>,
    /// Containers that wait for their restart delay: name and full delay.
    pub crash_looping: Vec<(String, Duration)>,
    /// Nothing runs and nothing will: the pod has ended.
    pub done: bool,
}

impl Plan {
    fn wake(&mut self, after: Duration) {
        self.wake_in = Some(self.wake_in.map_or(after, |have| have.min(after)));
    }
}

/// Decides.
pub fn plan(world: &World<'_>) -> Plan {
    let mut plan = Plan::default();
    let sandbox_ready = world.view.ready_sandbox().is_some();
    if !sandbox_ready || !world.volumes_ready {
        return plan_set_up(world, sandbox_ready, plan);
    }
    let initialized = any_regular_started(world);
    start_ephemeral(world, &mut plan);
    if init_containers(world, initialized, &mut plan) {
        regular_containers(world, &mut plan);
    }
    plan
}

fn plan_set_up(world: &World<'_>, sandbox_ready: bool, mut plan: Plan) -> Plan {
    if !sandbox_ready && !worth_a_sandbox(world) {
        // Containers of a lost sandbox may still be dying; the pod has ended when they have.
        plan.done = world.view.running().next().is_none();
        return plan;
    }
    if world.in_flight.set_up {
        return plan;
    }
    match world.set_up_rests.and_then(|until| until.duration_since(world.now).ok()).filter(|d| !d.is_zero()) {
        Some(rest) => plan.wake(rest),
        None => plan.actions.push(Action::SetUp),
    }
    plan
}

/// A pod whose containers have all ended for good gets no new sandbox.
fn worth_a_sandbox(world: &World<'_>) -> bool {
    if world.view.sandboxes.is_empty() || world.view.containers.is_empty() {
        return true;
    }
    if init_failed(world) {
        return false;
    }
    world.pod.spec.containers.iter().any(|c| match world.view.latest(&c.name) {
        None => true,
        Some(have) => match exit(have) {
            Some(exit) => should_restart(world.pod, c, Role::Regular, exit.exit_code),
            // Its sandbox is gone, so it is as good as killed.
            None => should_restart(world.pod, c, Role::Regular, 137),
        },
    })
}

fn init_failed(world: &World<'_>) -> bool {
    let pod = world.pod;
    pod.spec.init_containers.iter().filter(|c| init_role(c) == Role::Init).any(|c| {
        let code = world.view.latest(&c.name).and_then(exit).map_or(0, |e| e.exit_code);
        code != 0 && !should_restart(pod, c, Role::Init, code)
    })
}

/// Init containers never run again once a regular container of the present sandbox has been started.
fn any_regular_started(world: &World<'_>) -> bool {
    let started = |c: &Container| {
        world.view.active(&c.name).is_some_and(|c| !matches!(c.state, runtime::ContainerState::Created))
    };
    world.pod.spec.containers.iter().any(started)
}

fn start_ephemeral(world: &World<'_>, plan: &mut Plan) {
    for container in ephemeral(world.pod) {
        let name = container.name.as_str();
        if world.view.latest(name).is_none()
            && !world.in_flight.starting_ephemeral.contains(name)
            && rested(world, name, plan)
        {
            plan.actions.push(Action::Start { name: name.into(), role: Role::Ephemeral, attempt: 0 });
        }
    }
}

/// True when a container's last failed start need not rest any more.
fn rested(world: &World<'_>, name: &str, plan: &mut Plan) -> bool {
    match world
        .resting
        .get(name)
        .and_then(|until| until.duration_since(world.now).ok())
        .filter(|d| !d.is_zero())
    {
        Some(rest) => {
            plan.wake(rest);
            false
        }
        None => true,
    }
}

/// Plans starts of init containers; true when the regular ones may go on.
fn init_containers(world: &World<'_>, initialized: bool, plan: &mut Plan) -> bool {
    for container in &world.pod.spec.init_containers {
        let role = init_role(container);
        let have = world.view.active(&container.name);
        match role {
            Role::Sidecar => {
                let started = sidecar(world, container, have, plan);
                if !initialized && !started {
                    return false;
                }
            }
            _ if initialized => {}
            _ => match have {
                None => {
                    start(world, container, role, plan);
                    return false;
                }
                Some(have) => match exit(have) {
                    Some(exit) if exit.exit_code == 0 => {}
                    Some(exit) if should_restart(world.pod, container, role, exit.exit_code) => {
                        restart(world, container, role, have, plan);
                        return false;
                    }
                    Some(_) => {
                        // The pod has failed; nothing more is started. Sidecars are stopped by the pod's end.
                        plan.done = true;
                        plan.actions.clear();
                        return false;
                    }
                    None if is_running(have) => {
                        probe_failed(world, have, plan);
                        return false;
                    }
                    None => {
                        start(world, container, role, plan);
                        return false;
                    }
                },
            },
        }
    }
    true
}

/// Keeps a sidecar running; true when later containers may start.
fn sidecar(world: &World<'_>, container: &Container, have: Option<&Running>, plan: &mut Plan) -> bool {
    match have {
        Some(have) if is_running(have) => {
            probe_failed(world, have, plan);
            world.health.get(&have.id).is_some_and(|h| h.started)
        }
        Some(have) if exit(have).is_some() => {
            restart(world, container, Role::Sidecar, have, plan);
            false
        }
        _ => {
            start(world, container, Role::Sidecar, plan);
            false
        }
    }
}

fn regular_containers(world: &World<'_>, plan: &mut Plan) {
    let mut alive = false;
    for container in &world.pod.spec.containers {
        let have = world.view.active(&container.name).or_else(|| world.view.latest(&container.name));
        match have {
            Some(have) if is_running(have) => {
                alive = true;
                probe_failed(world, have, plan);
            }
            Some(have) => match exit(have) {
                Some(exit) if should_restart(world.pod, container, Role::Regular, exit.exit_code) => {
                    alive = true;
                    restart(world, container, Role::Regular, have, plan);
                }
                Some(_) => {}
                // Made but never started: the server died in between. Made anew, it counts as the next attempt.
                None => {
                    alive = true;
                    start(world, container, Role::Regular, plan);
                }
            },
            None => {
                alive = true;
                start(world, container, Role::Regular, plan);
            }
        }
    }
    plan.done = !alive;
    if plan.done {
        plan.actions.clear();
    }
}

fn probe_failed(world: &World<'_>, have: &Running, plan: &mut Plan) {
    let Some(failure) = world.health.get(&have.id).and_then(|h| h.failed) else { return };
    if world.in_flight.stopping.contains(&have.id) {
        return;
    }
    let which = match failure {
        ProbeFailure::Liveness => "liveness",
        ProbeFailure::Startup => "startup",
    };
    let name = have.config.name.clone();
    let why = format!("Container {name} failed {which} probe, will be restarted");
    plan.actions.push(Action::Stop { id: have.id.clone(), name, why, probe: Some(failure) });
}

fn restart(world: &World<'_>, container: &Container, role: Role, have: &Running, plan: &mut Plan) {
    let ended = exit(have).map_or(world.now, |e| time(e.finished_at_ns));
    match world.restarts.remaining(&container.name, ended, world.now) {
        Some(rest) => {
            plan.crash_looping.push((container.name.to_string(), world.restarts.delay(&container.name)));
            plan.wake(rest);
        }
        None => start(world, container, role, plan),
    }
}

fn start(world: &World<'_>, container: &Container, role: Role, plan: &mut Plan) {
    let name = container.name.as_str();
    let busy = world.in_flight.starting.is_some()
        || plan.actions.iter().any(|a| matches!(a, Action::Start { role, .. } if *role != Role::Ephemeral));
    if busy || !rested(world, name, plan) {
        return;
    }
    plan.actions.push(Action::Start { name: name.into(), role, attempt: world.view.next_attempt(name) });
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
