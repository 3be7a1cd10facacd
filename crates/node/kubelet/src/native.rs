//! Our own runtime and image store as a [`ContainerRuntime`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use images::{Credentials, Image, PullOptions, Store};
use runtime::{
    AttachRequest, CgroupStats, Container, ContainerConfig, ExecOutput, ExecRequest, Exit, Resources,
    Runtime, RuntimeEvent, Sandbox, SandboxConfig, SandboxStats, Session,
};
use tokio::sync::broadcast;

use crate::backend::{BackendError, ContainerRuntime, Credential, ImageInfo, Result};
use crate::metrics::operation;

/// Crates `runtime` and `images` behind the trait.
pub struct Native {
    runtime: Runtime,
    images: Store,
}

impl Native {
    /// Wraps a runtime and the image store that it was opened with.
    pub fn new(runtime: Runtime, images: Store) -> Native {
        Native { runtime, images }
    }
}

fn failed(error: runtime::Error) -> BackendError {
    let text = error.to_string();
    match error {
        e if e.is_not_found() => BackendError::NotFound(text),
        runtime::Error::InvalidConfig(_) => BackendError::Invalid(text),
        runtime::Error::ExecTimeout { .. } => BackendError::Timeout(text),
        _ => BackendError::Failed(text),
    }
}

fn image_failed(error: images::Error) -> BackendError {
    let text = error.to_string();
    match error {
        images::Error::InvalidReference { .. } => BackendError::Invalid(text),
        images::Error::NotFound(_) => BackendError::NotFound(text),
        _ => BackendError::Failed(text),
    }
}

fn info(image: &Image) -> ImageInfo {
    ImageInfo {
        id: image.id.clone(),
        reference: image.image_ref().to_owned(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size_bytes: image.size_bytes,
        user: image.config.user.clone(),
        pinned: image.pinned,
    }
}

#[async_trait]
impl ContainerRuntime for Native {
    fn name(&self) -> &str {
        "ferrokube"
    }

    fn version(&self) -> String {
        format!("ferrokube://{}", env!("CARGO_PKG_VERSION"))
    }

    fn subscribe(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.runtime.subscribe()
    }

    fn sandboxes(&self) -> Vec<Sandbox> {
        self.runtime.sandboxes()
    }

    fn containers(&self) -> Vec<Container> {
        self.runtime.containers()
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String> {
        operation("run_podsandbox", self.runtime.run_sandbox(config)).await.map_err(failed)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        operation("stop_podsandbox", self.runtime.stop_sandbox(id)).await.map_err(failed)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        operation("remove_podsandbox", self.runtime.remove_sandbox(id)).await.map_err(failed)
    }

    async fn set_sandbox_ips(&self, id: &str, ips: Vec<IpAddr>) -> Result<()> {
        self.runtime.set_sandbox_ips(id, ips).await.map_err(failed)
    }

    async fn set_hosts(&self, id: &str, content: &str) -> Result<()> {
        self.runtime.set_hosts(id, content).await.map_err(failed)
    }

    async fn update_sandbox_resources(&self, id: &str, resources: &Resources) -> Result<()> {
        self.runtime.update_sandbox_resources(id, resources).await.map_err(failed)
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig, image: &str) -> Result<String> {
        let image = self
            .images
            .get(image)
            .ok_or_else(|| BackendError::NotFound(format!("image {image:?}: not found")))?;
        operation("create_container", self.runtime.create_container(sandbox, config, &image))
            .await
            .map_err(failed)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        operation("start_container", self.runtime.start_container(id)).await.map_err(failed)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        operation("stop_container", self.runtime.stop_container(id, grace)).await.map_err(failed)
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        operation("remove_container", self.runtime.remove_container(id)).await.map_err(failed)
    }

    fn container(&self, id: &str) -> Result<Container> {
        self.runtime.container_status(id).map_err(failed)
    }

    async fn wait_container(&self, id: &str) -> Result<Exit> {
        self.runtime.wait_container(id).await.map_err(failed)
    }

    async fn update_resources(&self, id: &str, resources: &Resources) -> Result<()> {
        operation("update_container_resources", self.runtime.update_resources(id, resources))
            .await
            .map_err(failed)
    }

    async fn actual_resources(&self, id: &str) -> Result<Resources> {
        self.runtime.actual_resources(id).await.map_err(failed)
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Session> {
        operation("exec", self.runtime.exec(id, request)).await.map_err(failed)
    }

    async fn exec_sync(&self, id: &str, args: Vec<String>, timeout: Duration) -> Result<ExecOutput> {
        operation("exec_sync", self.runtime.exec_sync(id, args, timeout)).await.map_err(failed)
    }

    async fn attach(&self, id: &str, request: AttachRequest) -> Result<Session> {
        operation("attach", self.runtime.attach(id, request)).await.map_err(failed)
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<tokio::net::TcpStream> {
        operation("port_forward", self.runtime.port_forward(sandbox, port)).await.map_err(failed)
    }

    async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats> {
        self.runtime.sandbox_stats(id).await.map_err(failed)
    }

    async fn pods_stats(&self) -> Result<CgroupStats> {
        self.runtime.pods_stats().await.map_err(failed)
    }

    fn image(&self, reference: &str) -> Option<ImageInfo> {
        self.images.get(reference).map(|image| info(&image))
    }

    fn images(&self) -> Vec<ImageInfo> {
        self.images.list().iter().map(info).collect()
    }

    async fn pull(&self, reference: &str, credentials: Vec<Credential>) -> Result<ImageInfo> {
        let credentials = credentials
            .into_iter()
            .map(|c| match c {
                Credential::Basic { username, password } => Credentials::Basic { username, password },
                Credential::Bearer(token) => Credentials::Bearer(token),
            })
            .collect();
        let options = PullOptions { credentials, ..PullOptions::default() };
        let (images, reference) = (self.images.clone(), reference.to_owned());
        // A thread of its own: unpacking is work, and a pull goes on when whoever asked for it does not wait any longer,
        // so that what has come is kept.
        let here = tokio::runtime::Handle::current();
        let pull = operation("pull_image", async move { images.pull(&reference, options).await });
        let pull = tokio::task::spawn_blocking(move || here.block_on(pull));
        match pull.await {
            Ok(pulled) => pulled.map(|image| info(&image)).map_err(image_failed),
            Err(_) => Err(BackendError::Failed("the pull was interrupted".into())),
        }
    }

    async fn remove_image(&self, id: &str) -> Result<u64> {
        operation("remove_image", self.images.remove(id)).await.map_err(image_failed)?;
        self.images.garbage_collect().await.map(|collected| collected.bytes).map_err(image_failed)
    }

    fn image_root(&self) -> PathBuf {
        self.images.root().to_path_buf()
    }

    async fn image_usage(&self) -> Result<(u64, u64)> {
        self.images.usage().await.map(|u| (u.bytes, u.inodes)).map_err(image_failed)
    }

    fn images_in_use(&self) -> std::collections::BTreeSet<String> {
        self.images.in_use()
    }

    fn image_layers(&self, id: &str) -> Vec<PathBuf> {
        self.images.get(id).map(|image| image.lower_dirs()).unwrap_or_default()
    }
}
