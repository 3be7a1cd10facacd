//! The door to whatever runs containers: our own runtime (`native.rs`), or later anything that speaks CRI.
//!
//! Plain data is shaped like CRI's messages and comes from crate `runtime`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use runtime::{
    AttachRequest, CgroupStats, Container, ContainerConfig, ExecOutput, ExecRequest, Exit, Resources,
    RuntimeEvent, Sandbox, SandboxConfig, SandboxStats, Session,
};
use tokio::sync::broadcast;

/// What a runtime says when it cannot. The texts are shown to users as they are.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackendError {
    /// The sandbox, container or image does not exist. Retrying never helps.
    #[error("{0}")]
    NotFound(String),
    /// The pod's author asks for what cannot be. Retrying helps only after a change.
    #[error("{0}")]
    Invalid(String),
    /// A command or an operation took longer than its limit.
    #[error("{0}")]
    Timeout(String),
    /// Anything else. Retrying may help.
    #[error("{0}")]
    Failed(String),
}

/// Result of every operation on a runtime.
pub type Result<T> = std::result::Result<T, BackendError>;

/// An image that is on the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageInfo {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// By digest where it has one, else the id: what `imageID` shows.
    pub reference: String,
    /// Names by tag.
    pub repo_tags: Vec<String>,
    /// Names by digest.
    pub repo_digests: Vec<String>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The user that it runs as unless told otherwise.
    pub user: String,
    /// Garbage collection leaves it alone.
    pub pinned: bool,
}

/// User and password, or a token, for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Basic authentication.
    Basic {
        /// User.
        username: String,
        /// Password.
        password: String,
    },
    /// Bearer token.
    Bearer(String),
}

/// Sandboxes, containers and images of the node.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Scheme of container IDs (`ferrokube`, `containerd`).
    fn name(&self) -> &str;
    /// `name://version` for the node's status.
    fn version(&self) -> String;
    /// Everything that happens to sandboxes and containers from now on; a receiver that lags must list again.
    fn subscribe(&self) -> broadcast::Receiver<RuntimeEvent>;

    /// All sandboxes.
    fn sandboxes(&self) -> Vec<Sandbox>;
    /// All containers.
    fn containers(&self) -> Vec<Container>;
    /// Makes a sandbox; returns its id.
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String>;
    /// Kills its containers, gives up its namespaces.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    /// Removes it with its containers.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    /// Records the pod's addresses.
    async fn set_sandbox_ips(&self, id: &str, ips: Vec<IpAddr>) -> Result<()>;
    /// Replaces `/etc/hosts` of the pod.
    async fn set_hosts(&self, id: &str, content: &str) -> Result<()>;
    /// Changes the pod's limits.
    async fn update_sandbox_resources(&self, id: &str, resources: &Resources) -> Result<()>;

    /// Prepares a container; returns its id. `image` is an [`ImageInfo::id`].
    async fn create_container(&self, sandbox: &str, config: ContainerConfig, image: &str) -> Result<String>;
    /// Starts it.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Stops it, with force after `grace`; returns when it has ended.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    /// Removes it (not its log).
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// One container.
    fn container(&self, id: &str) -> Result<Container>;
    /// Resolves when it has ended.
    async fn wait_container(&self, id: &str) -> Result<Exit>;
    /// Changes its limits.
    async fn update_resources(&self, id: &str, resources: &Resources) -> Result<()>;
    /// Its limits as the kernel has them.
    async fn actual_resources(&self, id: &str) -> Result<Resources>;

    /// Runs a command in it.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Session>;
    /// Runs a command in it to its end.
    async fn exec_sync(&self, id: &str, args: Vec<String>, timeout: Duration) -> Result<ExecOutput>;
    /// Connects to its streams.
    async fn attach(&self, id: &str, request: AttachRequest) -> Result<Session>;
    /// Connects to a port inside the pod.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<tokio::net::TcpStream>;

    /// Usage of a pod and its containers.
    async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats>;
    /// Usage of all pods together.
    async fn pods_stats(&self) -> Result<CgroupStats>;

    /// An image by name or id.
    fn image(&self, reference: &str) -> Option<ImageInfo>;
    /// All images.
    fn images(&self) -> Vec<ImageInfo>;
    /// Brings an image from its registry.
    async fn pull(&self, reference: &str, credentials: Vec<Credential>) -> Result<ImageInfo>;
    /// Removes an image and what nobody else needs of it; returns the bytes that became free.
    async fn remove_image(&self, id: &str) -> Result<u64>;
    /// Directory on whose file system images live.
    fn image_root(&self) -> PathBuf;
    /// Bytes and inodes that images take.
    async fn image_usage(&self) -> Result<(u64, u64)>;
    /// Ids of images that containers use.
    fn images_in_use(&self) -> std::collections::BTreeSet<String>;
    /// Layers of an image, uppermost first, for `image` volumes.
    fn image_layers(&self, id: &str) -> Vec<PathBuf>;
}
