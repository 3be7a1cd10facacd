//! Stopping: one container with its hook, a whole pod in order, and what is left of a pod that is gone.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reconcile::EventType::{Normal, Warning};
use tokio::sync::watch;
use types::core::v1::{Container, Pod};

use crate::hooks;
use crate::pod::view::PodView;
use crate::pod::{Role, config, container};
use crate::shared::Shared;

/// Least time that a container gets after its hook has used up the grace.
const AFTER_HOOK: Duration = Duration::from_secs(2);

/// One container to be stopped.
pub struct Stop {
    /// The node.
    pub shared: Arc<Shared>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's role.
    pub role: Role,
    /// The container.
    pub container: Container,
    /// Its id.
    pub id: String,
    /// The pod's address.
    pub ip: Option<IpAddr>,
}

impl Stop {
    /// Runs the preStop hook and stops the container within `grace`, or within less if `shorter` says so meanwhile.
    pub async fn run(&self, grace: Duration, mut shorter: Option<watch::Receiver<Duration>>) {
        let began = Instant::now();
        let left = |total: Duration| total.saturating_sub(began.elapsed());
        if let Some(hook) = self.container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_deref()) {
            let runtime = &*self.shared.runtime;
            let run = hooks::run(runtime, &self.shared.env, &self.id, &self.container, self.ip, hook);
            tokio::select! {
                result = run => if let Err(why) = result {
                    self.event("FailedPreStopHook", format!("PreStopHook failed: {why}"));
                },
                () = self.shared.env.sleep(grace) => {
                    tracing::debug!(container = %self.container.name, "preStop hook took longer than the grace period");
                }
                _ = runtime.wait_container(&self.id) => {}
                () = changed(&mut shorter) => {}
            }
        }
        let total = shorter.as_ref().map_or(grace, |s| *s.borrow()).min(grace);
        let stop = self.shared.runtime.stop_container(&self.id, left(total).max(AFTER_HOOK.min(total)));
        let result = tokio::select! {
            result = stop => result,
            () = changed(&mut shorter) => {
                let total = shorter.as_ref().map_or(grace, |s| *s.borrow());
                self.shared.runtime.stop_container(&self.id, left(total)).await
            }
        };
        if let Err(error) = result {
            tracing::warn!(container = %self.id, %error, "cannot stop a container");
        }
    }

    fn event(&self, reason: &str, message: String) {
        self.shared.container_event(&self.pod, self.role, &self.container.name, Warning, reason, message);
    }
}

async fn changed(shorter: &mut Option<watch::Receiver<Duration>>) {
    if let Some(receiver) = shorter
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// A pod to be ended: containers, sandbox, network, volumes. What it wrote and how its containers ended stays.
pub struct Job {
    /// The node.
    pub shared: Arc<Shared>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// What the runtime has.
    pub view: PodView,
    /// The grace, which may become shorter.
    pub grace: watch::Receiver<Duration>,
    /// The pod's address.
    pub ip: Option<IpAddr>,
}

impl Job {
    /// Does it; what fails is tried until it succeeds, for a pod must not be forgotten with processes still running.
    pub async fn run(self) {
        self.stop_containers().await;
        let mut pause = Duration::from_millis(200);
        while let Err(why) = self.release().await {
            tracing::warn!(pod = %crate::pod::format(&self.pod), %why, "cannot end a pod, will try again");
            self.shared.env.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }

    /// Regular (and ephemeral and init) containers at once, then sidecars one after the other, last started first.
    async fn stop_containers(&self) {
        let began = Instant::now();
        let running: Vec<_> = self
            .view
            .running()
            .map(|c| {
                let known = container(&self.pod, &c.config.name);
                let (role, spec) = known.map_or_else(
                    || {
                        (
                            Role::Regular,
                            Container { name: c.config.name.as_str().into(), ..Default::default() },
                        )
                    },
                    |(role, spec)| (role, spec.into_owned()),
                );
                (c.id.clone(), role, spec)
            })
            .collect();
        let stop = |id: &str, role: Role, spec: &Container| Stop {
            shared: self.shared.clone(),
            pod: self.pod.clone(),
            role,
            container: spec.clone(),
            id: id.to_owned(),
            ip: self.ip,
        };
        let grace = *self.grace.borrow();
        let first = running.iter().filter(|(_, role, _)| *role != Role::Sidecar).map(|(id, role, spec)| {
            let text = format!("Stopping container {}", spec.name);
            self.shared.container_event(&self.pod, *role, &spec.name, Normal, "Killing", text);
            let (job, shorter) = (stop(id, *role, spec), self.grace.clone());
            async move { job.run(grace, Some(shorter)).await }
        });
        join_all(first).await;
        let order = |name: &str| self.pod.spec.init_containers.iter().position(|c| c.name == name);
        let mut sidecars: Vec<_> = running.iter().filter(|(_, role, _)| *role == Role::Sidecar).collect();
        sidecars.sort_by_key(|(_, _, spec)| std::cmp::Reverse(order(&spec.name)));
        for (id, role, spec) in sidecars {
            let text = format!("Stopping container {}", spec.name);
            self.shared.container_event(&self.pod, *role, &spec.name, Normal, "Killing", text);
            let left = self.grace.borrow().saturating_sub(began.elapsed()).max(Duration::from_secs(1));
            stop(id, *role, spec).run(left, Some(self.grace.clone())).await;
        }
    }

    async fn release(&self) -> Result<(), String> {
        for sandbox in &self.view.sandboxes {
            ignore_missing(self.shared.runtime.stop_sandbox(&sandbox.id).await)?;
            self.shared.network.remove(&sandbox.id).await?;
        }
        let dir = self.shared.pod_dir(&self.pod.metadata.uid);
        // Termination messages live in the pod's directory too; they have been read by now.
        let torn = tokio::task::spawn_blocking(move || volumes::tear_down(&dir)).await;
        torn.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }
}

fn ignore_missing(result: crate::backend::Result<()>) -> Result<(), String> {
    match result {
        Err(crate::backend::BackendError::NotFound(_)) | Ok(()) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Removes the last traces of a pod that is gone from the API: records of its containers, and logs.
pub async fn clean_up(shared: &Shared, pod: &Pod, view: &PodView) {
    for sandbox in &view.sandboxes {
        if let Err(error) = shared.runtime.remove_sandbox(&sandbox.id).await {
            tracing::warn!(sandbox = %sandbox.id, %error, "cannot remove a sandbox");
        }
    }
    let logs = config::log_directory(&shared.settings.pod_logs_dir, pod);
    let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(logs)).await;
}

/// Removes a container's log and its rotated forms.
pub fn remove_logs(log: &Path) {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str())) else { return };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let other = entry.file_name();
        if other
            .to_str()
            .is_some_and(|o| o == name || o.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
