//! What a caller gets to see: sandboxes, containers, their states, events and usage.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, SandboxConfig};

/// A sandbox as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    /// 64 hexadecimal digits.
    pub id: String,
    /// As it was asked for.
    pub config: Arc<SandboxConfig>,
    /// Whether containers can be made in it.
    pub ready: bool,
    /// Unix time in nanoseconds.
    pub created_at_ns: i64,
    /// Path of the pinned network namespace; `None` with the host's network.
    pub netns: Option<PathBuf>,
    /// Addresses that the caller stored with [`crate::Runtime::set_sandbox_ips`].
    pub ips: Vec<IpAddr>,
    /// The pod's cgroup, from the root of each hierarchy.
    pub cgroup: PathBuf,
}

/// A container as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// As it was asked for.
    pub config: Arc<ContainerConfig>,
    /// The image's ID (`sha256:…`).
    pub image_id: String,
    /// The image by digest, or its ID where it has no registry digest.
    pub image_ref: String,
    /// Created, running or exited.
    pub state: ContainerState,
    /// Unix time in nanoseconds.
    pub created_at_ns: i64,
    /// Absolute path of the log file.
    pub log_path: PathBuf,
    /// Who it runs as, after the image and its files were looked at.
    pub user: User,
    /// Its cgroup, from the root of each hierarchy.
    pub cgroup: PathBuf,
    /// Signal that asks it to stop, by name (`SIGTERM`).
    pub stop_signal: String,
}

/// User and groups of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Further groups.
    pub supplemental_groups: Vec<u32>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It has a root file system and no process yet.
    Created,
    /// Its process runs.
    Running {
        /// Process ID as the host sees it.
        pid: i32,
        /// Unix time in nanoseconds.
        started_at_ns: i64,
    },
    /// Its process ended, or could not be started.
    Exited(Exit),
}

impl ContainerState {
    /// The state's name in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            ContainerState::Created => "created",
            ContainerState::Running { .. } => "running",
            ContainerState::Exited(_) => "exited",
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 and the signal's number if it was killed.
    pub exit_code: i32,
    /// The signal that killed it, else 0.
    #[serde(default)]
    pub signal: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerCannotRun` or `Unknown` (the machine went down).
    pub reason: String,
    /// More about a start that failed.
    #[serde(default)]
    pub message: String,
    /// Unix time in nanoseconds; 0 if it never started.
    pub started_at_ns: i64,
    /// Unix time in nanoseconds.
    pub finished_at_ns: i64,
}

/// What happened to a container or sandbox. Sent after the change is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A sandbox is ready.
    SandboxStarted {
        /// The sandbox.
        sandbox_id: String,
    },
    /// A sandbox was stopped.
    SandboxStopped {
        /// The sandbox.
        sandbox_id: String,
    },
    /// A sandbox is gone.
    SandboxRemoved {
        /// The sandbox.
        sandbox_id: String,
    },
    /// A container was made.
    ContainerCreated {
        /// The container.
        container_id: String,
        /// Its sandbox.
        sandbox_id: String,
    },
    /// A container's process runs.
    ContainerStarted {
        /// The container.
        container_id: String,
        /// Its sandbox.
        sandbox_id: String,
    },
    /// A container's process ended.
    ContainerExited {
        /// The container.
        container_id: String,
        /// Its sandbox.
        sandbox_id: String,
        /// How it ended.
        exit: Exit,
    },
    /// A container is gone.
    ContainerRemoved {
        /// The container.
        container_id: String,
        /// Its sandbox.
        sandbox_id: String,
    },
}

/// Usage of one cgroup at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupStats {
    /// Unix time in nanoseconds of the reading.
    pub at_ns: i64,
    /// CPU time used since the start, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Periods in which the group was held back by its quota.
    pub cpu_throttled_periods: u64,
    /// Periods in all.
    pub cpu_periods: u64,
    /// Time for which it was held back, in nanoseconds.
    pub cpu_throttled_ns: u64,
    /// All memory charged, in bytes.
    pub memory_usage_bytes: u64,
    /// Memory charged less inactive file cache: what eviction and `kubectl top` look at.
    pub memory_working_set_bytes: u64,
    /// Anonymous memory in bytes.
    pub memory_rss_bytes: u64,
    /// Page faults.
    pub memory_page_faults: u64,
    /// Page faults that had to read.
    pub memory_major_page_faults: u64,
    /// Limit in bytes; `None` without one.
    pub memory_limit_bytes: Option<u64>,
    /// Number of processes and threads.
    pub pids: u64,
    /// Kills by the out-of-memory killer so far.
    pub oom_kills: u64,
}

/// Usage of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerStats {
    /// The container.
    pub container_id: String,
    /// Its cgroup; `None` when it does not run.
    pub cgroup: Option<CgroupStats>,
    /// Bytes in its writable layer.
    pub writable_bytes: u64,
    /// Files in its writable layer.
    pub writable_inodes: u64,
    /// Bytes of its log files.
    pub log_bytes: u64,
}

impl ContainerStats {
    /// Bytes that it takes of the node's disk.
    pub fn disk_bytes(&self) -> u64 {
        self.writable_bytes + self.log_bytes
    }
}

/// Usage of a sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxStats {
    /// The sandbox.
    pub sandbox_id: String,
    /// The pod's cgroup.
    pub cgroup: Option<CgroupStats>,
    /// Counters of the pod's network interfaces (without `lo`); empty with the host's network.
    pub interfaces: Vec<InterfaceStats>,
    /// Its containers.
    pub containers: Vec<ContainerStats>,
}

/// Counters of a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// Name in the pod.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Errors while receiving.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Errors while sending.
    pub tx_errors: u64,
}
