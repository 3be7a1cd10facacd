//! What a caller asks for: sandboxes, containers and limits as plain data, shaped like CRI's messages.
//!
//! Everything here is stored on disk as it was given, so that a restarted server knows its containers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a [`crate::Runtime`] is set up.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Durable data: records of sandboxes and containers, writable layers.
    pub root: PathBuf,
    /// Data that a reboot may forget: mount points, sockets, namespaces. Keep it short (unix sockets live here).
    pub state: PathBuf,
    /// Cgroup under which `kubepods` is made, e.g. `/ferrokube-a/kubepods`: absolute, from the root of each hierarchy.
    pub cgroup_prefix: PathBuf,
    /// Program to execute for shims and helpers; its `main` must call [`crate::dispatch`] first.
    pub self_exe: PathBuf,
    /// Where images come from.
    pub images: images::Store,
    /// Directory of `Localhost` seccomp profiles (`/var/lib/kubelet/seccomp`).
    pub seccomp_dir: PathBuf,
}

/// A pod's shared part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Name of the pod.
    pub name: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// UID of the pod.
    pub uid: String,
    /// Counts the sandboxes of one pod.
    pub attempt: u32,
    /// Host name; ignored with the host's network.
    pub hostname: String,
    /// Directory of the container logs (`/var/log/pods/<ns>_<name>_<uid>`).
    pub log_directory: PathBuf,
    /// Content of `/etc/resolv.conf`; `None` leaves the image's file.
    pub dns: Option<DnsConfig>,
    /// Content of `/etc/hosts` when the container mounts none of its own. [`crate::Runtime::set_hosts`] replaces it.
    pub hosts: Option<String>,
    /// Free-form.
    pub labels: BTreeMap<String, String>,
    /// Free-form.
    pub annotations: BTreeMap<String, String>,
    /// Network namespace.
    pub network: NetworkMode,
    /// Process namespace of the containers.
    pub pid: PidMode,
    /// IPC namespace: shared by the pod, or the host's.
    pub host_ipc: bool,
    /// Kernel settings of the pod's namespaces, in dot form.
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm` in bytes; 0 means 64 MiB.
    pub shm_size_bytes: u64,
    /// Limits of the pod as a whole.
    pub resources: Resources,
    /// Which parent cgroup the pod goes to.
    pub qos: QosClass,
}

/// Network namespace of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// A new one, pinned under the state directory.
    #[default]
    Pod,
    /// The host's (`hostNetwork`).
    Node,
    /// One that somebody else made.
    Path(PathBuf),
}

/// Process namespace of the containers of a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// One for each container.
    #[default]
    Container,
    /// One for the pod, with a pause process as PID 1 (`shareProcessNamespace`).
    Pod,
    /// The host's (`hostPID`).
    Node,
}

/// Quality of service class of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QosClass {
    /// Directly under the prefix.
    Guaranteed,
    /// Under `burstable`.
    Burstable,
    /// Under `besteffort`.
    #[default]
    BestEffort,
}

/// `/etc/resolv.conf` as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// Limits of a cgroup. `None` leaves a setting as it is (at creation: the kernel's default).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Weight, in v1's scale (2..=262144, 1024 is one CPU); converted for v2.
    pub cpu_shares: Option<u64>,
    /// CPU time in microseconds for each period; -1 is unlimited.
    pub cpu_quota_us: Option<i64>,
    /// The period in microseconds.
    pub cpu_period_us: Option<u64>,
    /// CPU time that may be saved up and spent beyond the quota, in microseconds.
    pub cpu_burst_us: Option<u64>,
    /// `SCHED_IDLE` for the whole group.
    pub cpu_idle: Option<bool>,
    /// CPUs, as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Memory in bytes; -1 is unlimited.
    pub memory_limit_bytes: Option<i64>,
    /// Memory and swap together in bytes; -1 is unlimited. v2's `memory.swap.max` is the difference.
    pub memory_swap_limit_bytes: Option<i64>,
    /// v2's `memory.high` in bytes.
    pub memory_high_bytes: Option<i64>,
    /// v2's `memory.min` in bytes (v1's soft limit).
    pub memory_min_bytes: Option<i64>,
    /// Number of processes; -1 is unlimited.
    pub pids_limit: Option<i64>,
    /// Huge pages: size as in the file names (`2MB`) to bytes.
    pub hugepage_limits: BTreeMap<String, u64>,
    /// Anything else of v2, file name to value.
    pub unified: BTreeMap<String, String>,
}

/// One container of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Name within the pod.
    pub name: String,
    /// Counts the restarts.
    pub attempt: u32,
    /// The image as the pod's author wrote it (shown in statuses).
    pub image: String,
    /// Replaces the image's entrypoint (and drops its cmd) unless empty.
    pub command: Vec<String>,
    /// Replaces the image's cmd unless empty.
    pub args: Vec<String>,
    /// Replaces the image's working directory unless empty.
    pub working_dir: String,
    /// Added to, and replacing, the image's environment.
    pub env: Vec<(String, String)>,
    /// Mounts beside the ones that every container has.
    pub mounts: Vec<Mount>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Free-form.
    pub labels: BTreeMap<String, String>,
    /// Free-form.
    pub annotations: BTreeMap<String, String>,
    /// Log file: absolute, or relative to the sandbox's log directory.
    pub log_path: PathBuf,
    /// How far logs grow.
    pub log: LogLimits,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input when the first attached client goes.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// `oom_score_adj`; a negative value that the kernel refuses is left out.
    pub oom_score_adj: Option<i32>,
    /// Who it runs as and what it may do.
    pub security: SecurityContext,
    /// `RLIMIT_*` by name.
    pub rlimits: Vec<Rlimit>,
    /// Replaces the image's stop signal (`SIGTERM`, `TERM`, `15`).
    pub stop_signal: Option<String>,
    /// Id of the running container whose processes this one sees, where containers have process namespaces of their own.
    #[serde(default)]
    pub pid_of: Option<String>,
}

/// Rotation of a container's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Rotate beyond this size in bytes; 0 never rotates.
    pub size_bytes_max: u64,
    /// Files kept, with the current one.
    pub files_max: u32,
}

impl Default for LogLimits {
    /// The kubelet's defaults: 10 MiB, 5 files.
    fn default() -> Self {
        LogLimits { size_bytes_max: 10 << 20, files_max: 5 }
    }
}

/// A bind mount from the host, or a tmpfs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path on the host; ignored for a tmpfs.
    pub host_path: PathBuf,
    /// Path in the container, absolute.
    pub container_path: PathBuf,
    /// Read-only.
    pub readonly: bool,
    /// Read-only for mounts below it too.
    pub recursive_readonly: bool,
    /// How mounts spread.
    pub propagation: Propagation,
    /// `Some(bytes)` mounts a tmpfs of this size (0: unlimited) in place of a host path.
    pub tmpfs_size_bytes: Option<u64>,
}

/// Mount propagation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `None`: nothing spreads (rprivate).
    #[default]
    Private,
    /// `HostToContainer` (rslave).
    HostToContainer,
    /// `Bidirectional` (rshared).
    Bidirectional,
}

/// A device of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host_path: PathBuf,
    /// Path in the container.
    pub container_path: PathBuf,
    /// Any of `rwm`.
    pub permissions: String,
}

/// A resource limit of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and so on.
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Who a container runs as and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecurityContext {
    /// All capabilities and devices, no masks, no seccomp.
    pub privileged: bool,
    /// Capabilities to add to the default set (`NET_ADMIN`, `ALL`).
    pub add_capabilities: Vec<String>,
    /// Capabilities to take away (`ALL`).
    pub drop_capabilities: Vec<String>,
    /// Numeric user; overrides the image's.
    pub run_as_user: Option<i64>,
    /// User by name, looked up in the image.
    pub run_as_username: Option<String>,
    /// Numeric group; needs a user.
    pub run_as_group: Option<i64>,
    /// Further groups (with `fsGroup`).
    pub supplemental_groups: Vec<i64>,
    /// `supplementalGroupsPolicy: Strict`: leave out the groups that the image's `/etc/group` names.
    pub strict_groups: bool,
    /// Root file system read-only.
    pub readonly_rootfs: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privs: bool,
    /// Replaces the default masked paths.
    pub masked_paths: Option<Vec<String>>,
    /// Replaces the default read-only paths.
    pub readonly_paths: Option<Vec<String>>,
    /// System calls that are allowed.
    pub seccomp: SeccompProfile,
    /// AppArmor profile; ignored where the kernel has no AppArmor.
    pub apparmor: Option<String>,
}

/// Seccomp profile of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// No filter.
    #[default]
    Unconfined,
    /// The usual allow-list.
    RuntimeDefault,
    /// A JSON file relative to the seccomp directory.
    Localhost(String),
}

/// A command to run in a running container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub args: Vec<String>,
    /// Added to, and replacing, the container's environment.
    pub env: Vec<(String, String)>,
    /// Replaces the container's working directory.
    pub cwd: Option<String>,
    /// Replaces the container's user (`user`, `uid`, `user:group`).
    pub user: Option<String>,
    /// Give it a terminal; standard error then comes with standard output.
    pub tty: bool,
    /// Terminal size at the start.
    pub size: Option<TermSize>,
    /// Connect standard input.
    pub stdin: bool,
    /// Connect standard output.
    pub stdout: bool,
    /// Connect standard error.
    pub stderr: bool,
}

/// Streams to connect to a running container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Connect standard input.
    pub stdin: bool,
    /// Connect standard output.
    pub stdout: bool,
    /// Connect standard error (never with a terminal).
    pub stderr: bool,
    /// Terminal size at the start.
    pub size: Option<TermSize>,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Outcome of [`crate::Runtime::exec_sync`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// What it wrote to standard output, at most 16 MiB.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, at most 16 MiB.
    pub stderr: Vec<u8>,
    /// Exit code; 128 and the signal's number if it was killed.
    pub exit_code: i32,
}

/// How long a container may take to obey its stop signal before it is killed.
pub type Grace = Duration;
