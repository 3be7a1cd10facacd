//! The server's side of the runtime: one handle that the kubelet and CRI talk to.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::config::*;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::status::*;

/// Sandboxes and containers of one node. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    config: RuntimeConfig,
    events: broadcast::Sender<RuntimeEvent>,
}

impl Runtime {
    /// Opens the runtime and adopts every sandbox and container recorded under its directories. Blocking; call it
    /// within a tokio runtime, since it starts tasks that watch the shims.
    pub fn open(config: RuntimeConfig) -> Result<Runtime> {
        Ok(Runtime { inner: Arc::new(Inner { config, events: broadcast::channel(4096).0 }) })
    }

    /// How it was set up.
    pub fn config(&self) -> &RuntimeConfig {
        &self.inner.config
    }

    /// Events from now on. A receiver that lags must list again.
    pub fn subscribe(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }

    /// Makes namespaces, cgroup and files of a pod. Returns its id.
    pub async fn run_sandbox(&self, _config: SandboxConfig) -> Result<String> {
        Err(Error::Interrupted)
    }
    /// Kills its containers and gives up its namespaces. Done twice is done once.
    pub async fn stop_sandbox(&self, id: &str) -> Result<()> {
        Err(Error::SandboxNotFound(id.into()))
    }
    /// Stops it if need be and removes all of it, containers too. A missing sandbox is no error.
    pub async fn remove_sandbox(&self, _id: &str) -> Result<()> {
        Ok(())
    }
    /// All sandboxes.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        vec![]
    }
    /// One sandbox.
    pub fn sandbox(&self, id: &str) -> Result<Sandbox> {
        Err(Error::SandboxNotFound(id.into()))
    }
    /// Records the pod's addresses, to be found again after a restart.
    pub async fn set_sandbox_ips(&self, id: &str, _ips: Vec<IpAddr>) -> Result<()> {
        Err(Error::SandboxNotFound(id.into()))
    }
    /// Replaces the content of the pod's `/etc/hosts`, also in running containers.
    pub async fn set_hosts(&self, id: &str, _content: &str) -> Result<()> {
        Err(Error::SandboxNotFound(id.into()))
    }
    /// Changes the limits of a pod's cgroup in place.
    pub async fn update_sandbox_resources(&self, id: &str, _r: &Resources) -> Result<()> {
        Err(Error::SandboxNotFound(id.into()))
    }
    /// Changes the limits of the cgroup of a whole QoS class.
    pub async fn update_qos_resources(&self, _class: QosClass, _r: &Resources) -> Result<()> {
        Err(Error::Interrupted)
    }

    /// Prepares a container from an image. Returns its id. Nothing runs yet.
    pub async fn create_container(&self, sandbox: &str, _config: ContainerConfig, _image: &images::Image) -> Result<String> {
        Err(Error::SandboxNotFound(sandbox.into()))
    }
    /// Starts it. After a failure the container is `Exited` with reason `StartError` and exit code 128.
    pub async fn start_container(&self, id: &str) -> Result<()> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Sends the stop signal, waits for at most `grace`, then kills. Returns when it has ended.
    pub async fn stop_container(&self, id: &str, _grace: Duration) -> Result<()> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Sends a signal to the container's first process.
    pub async fn kill_container(&self, id: &str, _signal: i32) -> Result<()> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Kills it if it runs and removes all of it but its log. A missing container is no error.
    pub async fn remove_container(&self, _id: &str) -> Result<()> {
        Ok(())
    }
    /// All containers.
    pub fn containers(&self) -> Vec<Container> {
        vec![]
    }
    /// One container.
    pub fn container_status(&self, id: &str) -> Result<Container> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Resolves when it has ended.
    pub async fn wait_container(&self, id: &str) -> Result<Exit> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Changes limits of a running (or created) container in place.
    pub async fn update_resources(&self, id: &str, _r: &Resources) -> Result<()> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// The limits that the container's cgroup has now, read from the kernel.
    pub async fn actual_resources(&self, id: &str) -> Result<Resources> {
        Err(Error::ContainerNotFound(id.into()))
    }

    /// Runs a command in a running container.
    pub async fn exec(&self, id: &str, _request: ExecRequest) -> Result<Session> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Runs a command to its end. A zero timeout waits for ever.
    pub async fn exec_sync(&self, id: &str, _args: Vec<String>, _timeout: Duration) -> Result<ExecOutput> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Connects to the streams of a running container.
    pub async fn attach(&self, id: &str, _request: AttachRequest) -> Result<Session> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Connects to `localhost:port` inside the pod.
    pub async fn port_forward(&self, sandbox: &str, _port: u16) -> Result<tokio::net::TcpStream> {
        Err(Error::SandboxNotFound(sandbox.into()))
    }
    /// Makes the shim open its log file anew, after somebody moved it.
    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        Err(Error::ContainerNotFound(id.into()))
    }

    /// Usage of a container.
    pub async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        Err(Error::ContainerNotFound(id.into()))
    }
    /// Usage of a sandbox and its containers.
    pub async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats> {
        Err(Error::SandboxNotFound(id.into()))
    }
    /// Usage of the cgroup of all pods.
    pub async fn pods_stats(&self) -> Result<CgroupStats> {
        Err(Error::Interrupted)
    }
    /// Directory with the cgroup files of a path like [`Container::cgroup`] for one controller (`cpu`, `memory`).
    pub fn cgroup_dir(&self, _controller: &str, _cgroup: &std::path::Path) -> Option<PathBuf> {
        None
    }

    /// Kills and removes every sandbox and container, and the cgroups. For `reset`.
    pub async fn cleanup_all(&self) -> Result<()> {
        Ok(())
    }
}
