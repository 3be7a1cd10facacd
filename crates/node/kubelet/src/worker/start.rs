//! Starting one container: image, configuration, creation, start, postStart hook.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reconcile::EventType::{Normal, Warning};
use runtime::{Mount, Sandbox};
use tokio_util::sync::CancellationToken;
use types::core::v1::{Container, Pod};
use volumes::subpath;

use super::end::Stop;
use super::setup::{self, Volumes};
use crate::backend::{BackendError, ImageInfo};
use crate::hooks;
use crate::images::{self, Decision};
use crate::metrics::{self, STARTED_CONTAINERS, STARTED_CONTAINERS_FAILED};
use crate::pod::container_status::Waiting;
use crate::pod::env::{Objects, environment, references};
use crate::pod::security::{self, ImageUser};
use crate::pod::view::PodView;
use crate::pod::{Role, config, expand};
use crate::shared::Shared;

/// What is needed to start one container.
pub struct Job {
    /// The node.
    pub shared: Arc<Shared>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// Its role.
    pub role: Role,
    /// How often it was started before.
    pub attempt: u32,
    /// Where it goes.
    pub sandbox: Sandbox,
    /// The pod's volumes.
    pub volumes: Arc<Volumes>,
    /// What the pull policy asks for.
    pub decision: Decision,
    /// The image, if it is on the node.
    pub present: Option<ImageInfo>,
    /// A container that was made for the same attempt and never started.
    pub unstarted: Option<String>,
    /// The pod is ending: give up where that is possible.
    pub cancel: CancellationToken,
    /// The pod's address.
    pub ip: Option<IpAddr>,
    /// The container whose processes an ephemeral container wants to see.
    pub target: Option<String>,
}

/// The report.
pub struct Started {
    /// The container's name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its image, as the pod names it.
    pub image: String,
    /// Time that its image took to come.
    pub pulled: Duration,
    /// Why it did not start; `Err(None)` when it was cancelled.
    pub result: Result<(), Option<Waiting>>,
}

fn waiting(reason: &str, message: impl ToString) -> Option<Waiting> {
    Some(Waiting { reason: reason.into(), message: message.to_string() })
}

impl Job {
    /// Does it.
    pub async fn run(self) -> Started {
        let mut pulled = Duration::ZERO;
        let result = self.steps(&mut pulled).await;
        if let Err(Some(why)) = &result {
            STARTED_CONTAINERS_FAILED.with(&[self.role.counted(), &why.reason]).inc();
            let text = match why.reason.as_str() {
                "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => format!("Error: {}", why.reason),
                "PostStartHookError" => String::new(),
                _ => format!("Error: {}", why.message),
            };
            if !text.is_empty() {
                self.event(Warning, "Failed", text);
            }
        }
        let (name, image) = (self.container.name.to_string(), self.container.image.to_string());
        Started { name, role: self.role, image, pulled, result }
    }

    fn event(&self, event_type: reconcile::EventType, reason: &str, message: impl Into<String>) {
        self.shared.container_event(&self.pod, self.role, &self.container.name, event_type, reason, message);
    }

    async fn steps(&self, pulled: &mut Duration) -> Result<(), Option<Waiting>> {
        let image = tokio::select! {
            image = self.image(pulled) => image?,
            () = self.cancel.cancelled() => return Err(None),
        };
        if let Some(old) = &self.unstarted {
            let _ = self.shared.runtime.remove_container(old).await;
        }
        let wanted = self.configuration(&image).await?;
        if self.cancel.is_cancelled() {
            return Err(None);
        }
        let runtime = &self.shared.runtime;
        let id =
            runtime.create_container(&self.sandbox.id, wanted, &image.id).await.map_err(
                |error| match error {
                    BackendError::Invalid(why) => waiting("CreateContainerConfigError", why),
                    error => waiting("CreateContainerError", error),
                },
            )?;
        self.event(Normal, "Created", "Container created");
        runtime.start_container(&id).await.map_err(|error| waiting("RunContainerError", error))?;
        STARTED_CONTAINERS.with(&[self.role.counted()]).inc();
        self.event(Normal, "Started", "Container started");
        self.post_start(&id).await
    }

    async fn image(&self, pulled: &mut Duration) -> Result<ImageInfo, Option<Waiting>> {
        let name = self.container.image.as_str();
        match (self.decision, &self.present) {
            (Decision::Use, Some(image)) => {
                let text = format!(
                    "Container image \"{name}\" already present on machine and can be accessed by the pod"
                );
                self.event(Normal, "Pulled", text);
                return Ok(image.clone());
            }
            (Decision::Never, _) => {
                let text = format!("Container image \"{name}\" is not present with pull policy of Never");
                self.event(Warning, "ErrImageNeverPull", text.clone());
                return Err(waiting("ErrImageNeverPull", text));
            }
            _ => {}
        }
        let credentials = self.credentials().await;
        let asked = Instant::now();
        // The semaphore is never closed, so this cannot fail.
        let _permit = self.shared.pulls.acquire().await;
        if self.present.is_none()
            && self.container.image_pull_policy != "Always"
            && let Some(image) = self.shared.runtime.image(name)
        {
            // Another pod has brought it while this one waited.
            self.event(
                Normal,
                "Pulled",
                format!(
                    "Container image \"{name}\" already present on machine and can be accessed by the pod"
                ),
            );
            return Ok(image);
        }
        self.event(Normal, "Pulling", format!("Pulling image \"{name}\""));
        let began = Instant::now();
        match images::pull(&*self.shared.runtime, name, credentials).await {
            Ok(image) => {
                metrics::pulled(image.size_bytes, began.elapsed());
                *pulled = asked.elapsed();
                let text = format!(
                    "Successfully pulled image \"{name}\" in {} ({} including waiting). Image size: {} bytes.",
                    images::go_duration(began.elapsed()),
                    images::go_duration(asked.elapsed()),
                    image.size_bytes
                );
                self.event(Normal, "Pulled", text);
                Ok(image)
            }
            Err(error) => {
                let reason = if error.reason == "InvalidImageName" { "InspectFailed" } else { "Failed" };
                let text = match reason {
                    "InspectFailed" => error.message.clone(),
                    _ => format!("Failed to pull image \"{name}\": {}", error.message),
                };
                self.event(Warning, reason, text);
                Err(waiting(error.reason, error.message))
            }
        }
    }

    async fn credentials(&self) -> Vec<crate::backend::Credential> {
        let mut out = vec![];
        for reference in &self.pod.spec.image_pull_secrets {
            match self.shared.objects.pull_secret(&self.pod.metadata.namespace, &reference.name).await {
                Some(secret) => out.extend(images::credentials(&secret, &self.container.image)),
                None => self.shared.pod_event(
                    &self.pod,
                    Warning,
                    "FailedToRetrieveImagePullSecret",
                    format!(
                        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                        reference.name
                    ),
                ),
            }
        }
        out
    }

    async fn configuration(&self, image: &ImageInfo) -> Result<runtime::ContainerConfig, Option<Waiting>> {
        const REASON: &str = "CreateContainerConfigError";
        let (pod, container) = (&*self.pod, &self.container);
        security::check_non_root(pod, container, &ImageUser::parse(&image.user))
            .map_err(|why| waiting(REASON, why))?;
        let objects = self.objects().await.map_err(|why| waiting(REASON, why))?;
        let view = PodView::new(vec![self.sandbox.clone()], vec![]);
        let host = setup::host(&self.shared, pod, &view);
        let env = environment(pod, container, &host, &objects).map_err(|why| waiting(REASON, why))?;
        let mounts = self.mounts(&env).map_err(|why| waiting(REASON, why))?;
        let termination_file = self.termination_file().map_err(|why| waiting("CreateContainerError", why))?;
        let prepared = config::Prepared { env, mounts, termination_file };
        let mut wanted =
            config::container(pod, container, self.role, self.attempt, prepared, &self.shared.settings);
        wanted.pid_of = self.target.clone();
        if let Some(status) = &self.shared.runtime.image(&image.id)
            && wanted.security.run_as_user.is_none()
            && status.user.is_empty()
            && wanted.security.run_as_group.is_some()
        {
            // A group without a user means root's user with that group.
            wanted.security.run_as_user = Some(0);
        }
        Ok(wanted)
    }

    async fn objects(&self) -> Result<Objects, String> {
        use volumes::Objects as _;
        let namespace = &self.pod.metadata.namespace;
        let (maps, secrets) = references(&self.container);
        let mut out = Objects::default();
        for name in maps {
            let map = self.shared.objects.config_map(namespace, &name).await.map_err(|e| e.to_string())?;
            out.config_maps.insert(name, map);
        }
        for name in secrets {
            let secret = self.shared.objects.secret(namespace, &name).await.map_err(|e| e.to_string())?;
            out.secrets.insert(name, secret);
        }
        out.services = self.shared.services.list_namespace(namespace);
        if namespace != "default" {
            out.services.extend(self.shared.services.get("default", "kubernetes"));
        }
        for from in self.container.env.iter().filter_map(|e| e.value_from.as_deref()?.file_key_ref.as_deref())
        {
            let volume = self.volumes.mounted.get(from.volume_name.as_str());
            let content = volume.and_then(|v| std::fs::read_to_string(v.path.join(from.path.as_str())).ok());
            out.files.insert((from.volume_name.to_string(), from.path.to_string()), content);
        }
        Ok(out)
    }

    fn mounts(&self, env: &std::collections::BTreeMap<String, String>) -> Result<Vec<Mount>, String> {
        let mut out = vec![];
        for (i, mount) in self.container.volume_mounts.iter().enumerate() {
            let name = mount.name.as_str();
            let volume = self.volumes.mounted.get(name).ok_or_else(|| {
                format!("cannot find volume \"{name}\" to mount into container \"{}\"", self.container.name)
            })?;
            let sub = match mount.sub_path_expr.as_str() {
                "" => mount.sub_path.to_string(),
                expr => self.expand_sub_path(expr, env)?,
            };
            let source = match sub.as_str() {
                "" => volume.path.clone(),
                sub => {
                    let dir = self.shared.pod_dir(&self.pod.metadata.uid).join("volume-subpaths");
                    let target = dir.join(name).join(self.container.name.as_str()).join(i.to_string());
                    subpath::bind(&volume.path, sub, &target).map_err(|e| {
                        format!(
                            "failed to prepare subPath for volumeMount \"{name}\" of container \"{}\": {e}",
                            self.container.name
                        )
                    })?
                }
            };
            out.push(config::mount(mount, source, volume.read_only));
        }
        Ok(out)
    }

    fn expand_sub_path(
        &self,
        expr: &str,
        env: &std::collections::BTreeMap<String, String>,
    ) -> Result<String, String> {
        let lookup = |name: &str| env.get(name).map(String::as_str);
        let unknown = expand::unknown(expr, lookup);
        match unknown.is_empty() {
            true => Ok(expand::expand(expr, lookup)),
            false => Err(format!("missing value for {:?}", unknown[0])),
        }
    }

    fn termination_file(&self) -> Result<Option<PathBuf>, String> {
        if self.container.termination_message_path.is_empty() {
            return Ok(None);
        }
        use std::os::unix::fs::PermissionsExt;
        let dir =
            self.shared.pod_dir(&self.pod.metadata.uid).join("containers").join(self.container.name.as_str());
        let path = dir.join(self.shared.env.random.name_suffix(8));
        let made = std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(&path, []))
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)));
        made.map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Some(path))
    }

    async fn post_start(&self, id: &str) -> Result<(), Option<Waiting>> {
        let Some(hook) = self.container.lifecycle.as_ref().and_then(|l| l.post_start.as_deref()) else {
            return Ok(());
        };
        let (runtime, env) = (&*self.shared.runtime, &self.shared.env);
        let ended = runtime.wait_container(id);
        let result = tokio::select! {
            result = hooks::run(runtime, env, id, &self.container, self.ip, hook) => result,
            // A container that ends takes its hook with it; its end speaks for itself.
            _ = ended => return Ok(()),
            () = self.cancel.cancelled() => return Err(None),
        };
        let Err(why) = result else { return Ok(()) };
        self.event(Warning, "FailedPostStartHook", format!("PostStartHook failed: {why}"));
        self.event(Normal, "Killing", "FailedPostStartHook");
        let stop = Stop {
            shared: self.shared.clone(),
            pod: self.pod.clone(),
            role: self.role,
            container: self.container.clone(),
            id: id.to_owned(),
            ip: self.ip,
        };
        let seconds = self.pod.spec.termination_grace_period_seconds.and_then(|s| u64::try_from(s).ok());
        stop.run(Duration::from_secs(seconds.unwrap_or(30)), None).await;
        Err(waiting("PostStartHookError", why))
    }
}
