//! The server's side of the runtime: one handle that the kubelet and CRI talk to.
//!
//! Under `root`: `sandboxes/<id>/sandbox.json`, `containers/<id>/` with `container.json`, the OCI specification, the
//! writable layer and `exit.json`. Under `state`: `s/<id>/` with pinned namespaces, `/dev/shm` and the files of `/etc`,
//! `c/<id>/` with the mounted root file system and the shim's socket.

mod adopt;
mod container;
mod devices;
mod exec;
mod namespace;
mod records;
mod rootfs;
mod sandbox;
mod shims;
mod signals;
mod stats;

pub use stats::disk_usage;
mod streams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use crate::cgroup::{self, Cgroups};
use crate::config::{NetworkMode, RuntimeConfig};
use crate::error::{Error, Result};
use crate::status::{Container, ContainerState, Exit, RuntimeEvent, Sandbox};
use records::{ContainerRecord, SandboxRecord};

/// Events that a slow subscriber may be behind.
const EVENTS_BEHIND_MAX: usize = 4096;

/// Sandboxes and containers of one node. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    config: RuntimeConfig,
    cgroups: Box<dyn Cgroups>,
    apparmor: bool,
    boot_id: String,
    events: broadcast::Sender<RuntimeEvent>,
    sandboxes: Mutex<BTreeMap<String, Arc<SandboxEntry>>>,
    containers: Mutex<BTreeMap<String, Arc<ContainerEntry>>>,
}

/// A sandbox in memory.
struct SandboxEntry {
    record: Mutex<SandboxRecord>,
    /// Changes of one sandbox come one after the other.
    turn: tokio::sync::Mutex<()>,
}

/// A container in memory.
struct ContainerEntry {
    record: ContainerRecord,
    state: watch::Sender<ContainerState>,
    /// Changes of one container come one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Runtime {
    /// Opens the runtime and adopts every sandbox and container recorded under its directories. Blocking; call it
    /// within a tokio runtime, since it starts tasks that watch the shims.
    pub fn open(config: RuntimeConfig) -> Result<Runtime> {
        for dir in [
            config.root.join("sandboxes"),
            config.root.join("containers"),
            config.state.join("s"),
            config.state.join("c"),
        ] {
            records::create_dir(&dir)?;
        }
        let cgroups = cgroup::detect().map_err(Error::io("cannot use control groups"))?;
        let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|t| t.starts_with('Y'));
        let inner = Arc::new(Inner {
            cgroups,
            apparmor,
            boot_id: records::boot_id(),
            events: broadcast::channel(EVENTS_BEHIND_MAX).0,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            config,
        });
        inner.prepare_cgroups()?;
        inner.adopt()?;
        Ok(Runtime { inner })
    }

    /// How it was set up.
    pub fn config(&self) -> &RuntimeConfig {
        &self.inner.config
    }

    /// Events from now on. A receiver that lags must list again.
    pub fn subscribe(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }

    /// All sandboxes.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        let entries: Vec<_> = self.inner.sandboxes.lock().values().cloned().collect();
        entries.iter().map(|e| self.inner.show_sandbox(e)).collect()
    }

    /// One sandbox.
    pub fn sandbox(&self, id: &str) -> Result<Sandbox> {
        Ok(self.inner.show_sandbox(&*self.inner.sandbox(id)?))
    }

    /// All containers.
    pub fn containers(&self) -> Vec<Container> {
        self.inner.containers.lock().values().map(|e| e.show()).collect()
    }

    /// One container.
    pub fn container_status(&self, id: &str) -> Result<Container> {
        Ok(self.inner.container(id)?.show())
    }

    /// Resolves when it has ended.
    pub async fn wait_container(&self, id: &str) -> Result<Exit> {
        self.inner.container(id)?.ended().await
    }

    /// Directory with the cgroup files of a path like [`Container::cgroup`] for one controller (`cpu`, `memory`).
    pub fn cgroup_dir(&self, controller: &str, cgroup: &Path) -> Option<PathBuf> {
        self.inner.cgroups.dir(controller, cgroup).filter(|d| d.exists())
    }

    /// Kills and removes every sandbox and container, and the cgroups. For `reset`.
    pub async fn cleanup_all(&self) -> Result<()> {
        let sandboxes: Vec<String> = self.inner.sandboxes.lock().keys().cloned().collect();
        let removals = sandboxes.iter().map(|id| self.remove_sandbox(id));
        for removed in futures::future::join_all(removals).await {
            removed?;
        }
        let containers: Vec<String> = self.inner.containers.lock().keys().cloned().collect();
        for id in &containers {
            self.remove_container(id).await?;
        }
        self.inner.remove_all_cgroups().await
    }
}

impl Inner {
    fn sandbox(&self, id: &str) -> Result<Arc<SandboxEntry>> {
        self.sandboxes.lock().get(id).cloned().ok_or_else(|| Error::SandboxNotFound(id.into()))
    }

    fn container(&self, id: &str) -> Result<Arc<ContainerEntry>> {
        self.containers.lock().get(id).cloned().ok_or_else(|| Error::ContainerNotFound(id.into()))
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<ContainerEntry>> {
        self.containers.lock().values().filter(|c| c.record.sandbox_id == sandbox).cloned().collect()
    }

    fn show_sandbox(&self, entry: &SandboxEntry) -> Sandbox {
        let record = entry.record.lock().clone();
        let netns = match &record.config.network {
            NetworkMode::Pod => Some(self.sandbox_state(&record.id).join("net")),
            NetworkMode::Path(path) => Some(path.clone()),
            NetworkMode::Node => None,
        };
        Sandbox {
            netns,
            id: record.id,
            config: Arc::new(record.config),
            ready: record.ready,
            created_at_ns: record.created_at_ns,
            ips: record.ips,
            cgroup: record.cgroup,
        }
    }

    /// Durable directory of a sandbox.
    fn sandbox_root(&self, id: &str) -> PathBuf {
        self.config.root.join("sandboxes").join(id)
    }

    /// Directory of a sandbox for namespaces, shared memory and files.
    fn sandbox_state(&self, id: &str) -> PathBuf {
        self.config.state.join("s").join(id)
    }

    /// Durable directory of a container: its OCI bundle.
    fn bundle(&self, id: &str) -> PathBuf {
        self.config.root.join("containers").join(id)
    }

    /// Directory of a container for the mounted root and the shim's socket.
    fn run_dir(&self, id: &str) -> PathBuf {
        self.config.state.join("c").join(id)
    }

    /// Nobody listening is no error.
    fn tell(&self, event: RuntimeEvent) {
        let _ = self.events.send(event);
    }
}

impl ContainerEntry {
    fn new(record: ContainerRecord, state: ContainerState) -> Arc<ContainerEntry> {
        Arc::new(ContainerEntry {
            record,
            state: watch::Sender::new(state),
            turn: tokio::sync::Mutex::default(),
        })
    }

    fn show(&self) -> Container {
        let r = &self.record;
        Container {
            id: r.id.clone(),
            sandbox_id: r.sandbox_id.clone(),
            config: r.config.clone(),
            image_id: r.image_id.clone(),
            image_ref: r.image_ref.clone(),
            state: self.state.borrow().clone(),
            created_at_ns: r.created_at_ns,
            log_path: r.log_path.clone(),
            user: r.user.clone(),
            cgroup: r.cgroup.clone(),
            stop_signal: r.stop_signal.clone(),
        }
    }

    /// Waits for the end.
    async fn ended(&self) -> Result<Exit> {
        let mut state = self.state.subscribe();
        let ended = state
            .wait_for(|s| matches!(s, ContainerState::Exited(_)))
            .await
            .map_err(|_| Error::Interrupted)?;
        match &*ended {
            ContainerState::Exited(exit) => Ok(exit.clone()),
            _ => Err(Error::Interrupted),
        }
    }

    /// PID of a running container.
    fn pid(&self, operation: &'static str) -> Result<i32> {
        match &*self.state.borrow() {
            ContainerState::Running { pid, .. } => Ok(*pid),
            other => Err(Error::WrongState { id: self.record.id.clone(), state: other.name(), operation }),
        }
    }
}

/// Runs file system work on a thread made for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Interrupted)?
}
