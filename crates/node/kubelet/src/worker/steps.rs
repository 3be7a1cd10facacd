//! One round of a worker: look, decide, act, report.

use std::time::Duration;

use reconcile::EventType::{Normal, Warning};

use super::{Done, Life, Worker, end, probe_grace, setup, start};
use crate::images::{self, Decision};
use crate::pod::container_status::Waiting;
use crate::pod::plan::{Action, Plan, World, plan};
use crate::pod::status::Verdict;
use crate::pod::view::{PodView, exit, is_running, time};
use crate::pod::{Role, container};

impl Worker {
    /// Does what can be done now; returns when to come back even without news.
    pub(super) fn sync(&mut self) -> Option<Duration> {
        self.look();
        self.counted.ends(&self.pod, &self.view);
        let mut wake = Wake::default();
        match &self.life {
            Life::Running => self.sync_running(&mut wake),
            Life::Ending { .. } => self.sync_ending(),
            Life::Ended => self.sync_ended(),
        }
        self.read_last_words();
        self.sync_status(&mut wake);
        wake.0
    }

    fn look(&mut self) {
        let runtime = &self.shared.runtime;
        let mine = |config: &runtime::SandboxConfig| config.uid == self.uid;
        let sandboxes: Vec<_> = runtime.sandboxes().into_iter().filter(|s| mine(&s.config)).collect();
        let containers = runtime.containers().into_iter();
        let containers = containers.filter(|c| sandboxes.iter().any(|s| s.id == c.sandbox_id)).collect();
        self.view = PodView::new(sandboxes, containers);
    }

    fn sync_running(&mut self, wake: &mut Wake) {
        if self.deadline_passed(wake) {
            return self.sync_ending();
        }
        self.sync_probes();
        let now = self.now();
        let health = self.health();
        let plan = plan(&World {
            pod: &self.pod,
            view: &self.view,
            health: &health,
            in_flight: &self.in_flight,
            restarts: &self.restarts,
            resting: &self.resting,
            set_up_rests: self.set_up_rests,
            volumes_ready: self.volumes_ready,
            now,
        });
        if plan.done && self.in_flight.starting.is_none() && !self.in_flight.set_up {
            self.end();
            return self.sync_ending();
        }
        self.crash_loops(&plan);
        for action in plan.actions {
            self.act(action);
        }
        self.sync_resize(wake);
        self.refresh_volumes(wake);
        if let Some(after) = plan.wake_in {
            wake.after(after);
        }
    }

    /// `activeDeadlineSeconds`, counted from the start on this node.
    fn deadline_passed(&mut self, wake: &mut Wake) -> bool {
        let Some(limit) = self.pod.spec.active_deadline_seconds else { return false };
        let Some(start) = self.sent.start_time.as_ref().or(self.pod.status.start_time.as_ref()) else {
            return false;
        };
        let now = self.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let end = Duration::from_secs(u64::try_from(start.seconds + limit).unwrap_or(0));
        match end.checked_sub(now).filter(|d| !d.is_zero()) {
            Some(rest) => {
                wake.after(rest);
                false
            }
            None => {
                let message = "Pod was active on the node longer than the specified deadline";
                self.shared.pod_event(&self.pod, Normal, "DeadlineExceeded", message);
                self.verdict = Some(Verdict { reason: "DeadlineExceeded".into(), message: message.into() });
                self.end();
                true
            }
        }
    }

    fn crash_loops(&mut self, plan: &Plan) {
        for (name, delay) in &plan.crash_looping {
            let Some((role, _)) = container(&self.pod, name) else { continue };
            let pod = crate::pod::format(&self.pod);
            let message = format!(
                "back-off {} restarting failed container={name} pod={pod}",
                images::go_duration(*delay)
            );
            self.waiting.insert(name.clone(), Waiting { reason: "CrashLoopBackOff".into(), message });
            let attempt = self.view.latest(name).map_or(0, |c| c.config.attempt);
            if self.told_backoff.insert((name.clone(), attempt)) {
                let text = format!("Back-off restarting failed container {name} in pod {pod}");
                self.shared.container_event(&self.pod, role, name, Warning, "BackOff", text);
            }
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::SetUp => {
                self.in_flight.set_up = true;
                let job = setup::Job {
                    shared: self.shared.clone(),
                    pod: self.granted_pod(),
                    view: self.view.clone(),
                };
                self.ops.spawn(async move { Done::SetUp(job.run().await) });
            }
            Action::Start { name, role, attempt } => self.start(name, role, attempt),
            Action::Stop { id, name, why, probe } => {
                let Some((role, container)) = container(&self.pod, &name) else { return };
                self.in_flight.stopping.insert(id.clone());
                let grace = probe_grace(&container, probe)
                    .or(self.pod.spec.termination_grace_period_seconds)
                    .and_then(|s| u64::try_from(s).ok())
                    .unwrap_or(30);
                self.shared.container_event(&self.pod, role, &name, Normal, "Killing", why);
                let stop = end::Stop {
                    shared: self.shared.clone(),
                    pod: self.pod.clone(),
                    role,
                    container: container.into_owned(),
                    id: id.clone(),
                    ip: self.primary_ip(),
                };
                self.ops.spawn(async move {
                    stop.run(Duration::from_secs(grace.max(1)), None).await;
                    Done::Stopped { id }
                });
            }
        }
    }

    /// The pod's address, or the node's on its network.
    pub(super) fn primary_ip(&self) -> Option<std::net::IpAddr> {
        if self.pod.spec.host_network {
            return self.shared.node_ips.first().copied();
        }
        self.view.ready_sandbox().and_then(|s| s.ips.first().copied())
    }

    fn start(&mut self, name: String, role: Role, attempt: u32) {
        let pod = self.granted_pod();
        let Some((_, spec)) = container(&pod, &name) else { return };
        let spec = spec.into_owned();
        let Some(sandbox) = self.view.ready_sandbox().cloned() else { return };
        let now = self.now();
        let image = spec.image.to_string();
        let present = self.shared.runtime.image(&image);
        let decision = images::decide(&spec.image_pull_policy, &image, present.is_some());
        if decision == Decision::Pull
            && let Some(rest) = self.pulls.remaining_since_update(&image, now)
        {
            let message = format!("Back-off pulling image \"{image}\"");
            self.shared.container_event(&self.pod, role, &name, Normal, "BackOff", message.clone());
            self.shared.container_event(&self.pod, role, &name, Warning, "Failed", "Error: ImagePullBackOff");
            let before =
                self.waiting.get(&name).filter(|w| w.reason == "ErrImagePull").map(|w| w.message.clone());
            let message = match before {
                Some(why) => format!("{message}: ErrImagePull: {why}"),
                None => message,
            };
            self.waiting.insert(name.clone(), Waiting { reason: "ImagePullBackOff".into(), message });
            self.resting.insert(name, now + rest);
            return;
        }
        if let Some(ended) = self.view.latest(&name).and_then(exit) {
            let ended = time(ended.finished_at_ns);
            self.restarts.next(&name, ended, now);
        }
        self.resting.remove(&name);
        match role {
            Role::Ephemeral => {
                self.in_flight.starting_ephemeral.insert(name.clone());
            }
            _ => self.in_flight.starting = Some(name.clone()),
        }
        let unstarted = self.view.latest(&name).filter(|c| c.state == runtime::ContainerState::Created);
        let job = start::Job {
            shared: self.shared.clone(),
            pod,
            container: spec,
            role,
            attempt,
            sandbox,
            volumes: self.volumes.clone(),
            decision,
            present,
            unstarted: unstarted.map(|c| c.id.clone()),
            cancel: self.cancel_start.clone(),
            ip: self.primary_ip(),
            target: self.target_of(role, &name),
        };
        self.ops.spawn(async move { Done::Started(job.run().await) });
    }

    /// The container whose process namespace an ephemeral container wants to see.
    fn target_of(&self, role: Role, name: &str) -> Option<String> {
        let wanted =
            self.pod.spec.ephemeral_containers.iter().find(|c| role == Role::Ephemeral && c.name == name)?;
        self.view.active(&wanted.target_container_name).map(|c| c.id.clone())
    }

    pub(super) fn started(&mut self, started: start::Started) {
        let name = started.name;
        match started.role {
            Role::Ephemeral => {
                self.in_flight.starting_ephemeral.remove(&name);
            }
            _ => self.in_flight.starting = None,
        }
        let now = self.now();
        self.counted.pulls += started.pulled;
        match started.result {
            Ok(()) => {
                self.waiting.remove(&name);
                self.resting.remove(&name);
                self.pulls.reset(&started.image);
            }
            Err(None) => {}
            Err(Some(why)) => {
                let pause = match why.reason.as_str() {
                    "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
                        if why.reason == "ErrImagePull" {
                            self.pulls.next(&started.image, now, now);
                        }
                        // Long enough for the reason to be seen before the back-off takes its place.
                        if why.reason == "ErrImagePull" {
                            Duration::from_secs(2)
                        } else {
                            Duration::from_secs(10)
                        }
                    }
                    "RunContainerError" | "PostStartHookError" => Duration::from_secs(1),
                    _ => Duration::from_secs(10),
                };
                self.waiting.insert(name.clone(), why);
                self.resting.insert(name, now + pause);
            }
        }
        self.prune_dead();
    }

    /// Of each container's dead attempts only the newest is kept, beside the living one.
    fn prune_dead(&mut self) {
        self.look();
        let mut seen: std::collections::HashMap<&str, u32> = std::collections::HashMap::new();
        let mut old = vec![];
        for c in &self.view.containers {
            let dead = exit(c).is_some();
            let count = seen.entry(c.config.name.as_str()).or_default();
            if dead && *count > u32::from(self.view.latest(&c.config.name).is_some_and(is_running)) {
                old.push((c.id.clone(), c.log_path.clone()));
            }
            *count += 1;
        }
        for (id, log) in old {
            let runtime = self.shared.runtime.clone();
            env::spawn_detached("container-gc", async move {
                match runtime.remove_container(&id).await {
                    Ok(()) => end::remove_logs(&log),
                    Err(error) => tracing::debug!(%id, %error, "cannot remove a dead container"),
                }
            });
        }
    }

    fn refresh_volumes(&mut self, wake: &mut Wake) {
        if !self.volumes_ready || self.refreshing {
            return;
        }
        let now = self.now();
        if let Some(rest) =
            self.refresh_rests.and_then(|until| until.duration_since(now).ok()).filter(|d| !d.is_zero())
        {
            return wake.after(rest);
        }
        let due = self.volumes.refresh_at().map(|at| at.duration_since(now).unwrap_or_default());
        if self.volumes_stale || due.is_some_and(|d| d.is_zero()) {
            self.volumes_stale = false;
            self.refreshing = true;
            let (shared, pod, view) = (self.shared.clone(), self.pod.clone(), self.view.clone());
            self.ops.spawn(async move { Done::Volumes(setup::volumes(&shared, &pod, &view).await) });
        } else if let Some(due) = due {
            wake.after(due);
        }
    }

    fn sync_ending(&mut self) {
        let busy = self.in_flight.set_up
            || self.in_flight.starting.is_some()
            || !self.in_flight.starting_ephemeral.is_empty();
        let Life::Ending { grace, begun } = &mut self.life else { return };
        if *begun || busy {
            return;
        }
        *begun = true;
        let grace = grace.subscribe();
        let job = end::Job {
            shared: self.shared.clone(),
            pod: self.pod.clone(),
            view: self.view.clone(),
            grace,
            ip: self.primary_ip(),
        };
        self.ops.spawn(async move {
            job.run().await;
            Done::Ended
        });
    }

    fn sync_ended(&mut self) {
        self.watched.clear();
        if !self.gone || self.cleaning {
            return;
        }
        self.cleaning = true;
        self.shared.objects.release(&self.uid);
        let (shared, view, pod) = (self.shared.clone(), self.view.clone(), self.pod.clone());
        self.ops.spawn(async move {
            end::clean_up(&shared, &pod, &view).await;
            Done::CleanedUp
        });
    }
}

/// The earliest time at which somebody wants to be called.
#[derive(Default)]
pub(super) struct Wake(pub(super) Option<Duration>);

impl Wake {
    /// Asks to be called after that long.
    pub(super) fn after(&mut self, after: Duration) {
        self.0 = Some(self.0.map_or(after, |have| have.min(after)));
    }
}
