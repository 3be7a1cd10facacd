//! What the runtime is asked for: sandbox and container configurations built from a pod.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runtime::{
    ContainerConfig, DnsConfig, LogLimits, Mount, NetworkMode, PidMode, Propagation, SandboxConfig,
};
use types::core::v1::{Container, Pod, VolumeMount};

use super::expand::expand;
use super::{Role, resources, security};

/// Label with the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label with the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label with the pod's UID: what adoption after a restart matches.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label with the container's name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: the pod's grace period in seconds, for containers whose pod object is gone.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation: where the container writes its last words.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the host's file behind the termination message path.
pub const TERMINATION_FILE: &str = "ferrokube.io/termination-message-file";

/// Settings of the node that go into configurations.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Directory of all pods' logs (`/var/log/pods`).
    pub pod_logs_dir: PathBuf,
    /// Containers without a seccomp profile get `RuntimeDefault`.
    pub seccomp_default: bool,
    /// Limit of processes in a pod.
    pub pod_pids_limit: Option<i64>,
    /// The node's memory in bytes.
    pub memory_capacity_bytes: i64,
    /// Log rotation.
    pub log: LogLimits,
}

/// Directory with the logs of a pod.
pub fn log_directory(root: &Path, pod: &Pod) -> PathBuf {
    root.join(format!("{}_{}_{}", pod.metadata.namespace, pod.metadata.name, pod.metadata.uid))
}

fn labels(pod: &Pod) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> =
        pod.metadata.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    out.insert(POD_NAME.into(), pod.metadata.name.to_string());
    out.insert(POD_NAMESPACE.into(), pod.metadata.namespace.to_string());
    out.insert(POD_UID.into(), pod.metadata.uid.to_string());
    out
}

/// The sandbox of a pod.
pub fn sandbox(
    pod: &Pod,
    attempt: u32,
    hostname: String,
    dns: Option<DnsConfig>,
    hosts: String,
    node: &NodeSettings,
) -> SandboxConfig {
    let spec = &pod.spec;
    let sysctls = spec.security_context.iter().flat_map(|s| s.sysctls.iter());
    SandboxConfig {
        name: pod.metadata.name.to_string(),
        namespace: pod.metadata.namespace.to_string(),
        uid: pod.metadata.uid.to_string(),
        attempt,
        hostname,
        log_directory: log_directory(&node.pod_logs_dir, pod),
        dns,
        hosts: Some(hosts),
        labels: labels(pod),
        annotations: pod.metadata.annotations.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        network: if spec.host_network { NetworkMode::Node } else { NetworkMode::Pod },
        pid: match (spec.host_pid, spec.share_process_namespace) {
            (true, _) => PidMode::Node,
            (_, Some(true)) => PidMode::Pod,
            _ => PidMode::Container,
        },
        host_ipc: spec.host_ipc,
        sysctls: sysctls.map(|s| (s.name.as_str().replace('/', "."), s.value.to_string())).collect(),
        shm_size_bytes: 0,
        resources: resources::pod_cgroup(pod, node.pod_pids_limit),
        qos: resources::qos(pod),
    }
}

/// Parts of a container's configuration that had to be fetched or made.
pub struct Prepared {
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Mounts of its volumes.
    pub mounts: Vec<Mount>,
    /// The host's file for its termination message.
    pub termination_file: Option<PathBuf>,
}

/// One container of a pod.
pub fn container(
    pod: &Pod,
    container: &Container,
    role: Role,
    attempt: u32,
    prepared: Prepared,
    node: &NodeSettings,
) -> ContainerConfig {
    let env = &prepared.env;
    let lookup = |name: &str| env.get(name).map(String::as_str);
    let words = |list: &meta::List<meta::Str>| list.iter().map(|w| expand(w, lookup)).collect();
    let name = container.name.to_string();
    let mut mounts = prepared.mounts;
    let mut annotations = BTreeMap::new();
    annotations.insert(TERMINATION_PATH.into(), container.termination_message_path.to_string());
    annotations.insert(TERMINATION_POLICY.into(), container.termination_message_policy.to_string());
    if let Some(seconds) = pod.spec.termination_grace_period_seconds {
        annotations.insert(GRACE_PERIOD.into(), seconds.to_string());
    }
    if let Some(file) = prepared.termination_file {
        annotations.insert(TERMINATION_FILE.into(), file.display().to_string());
        mounts.push(Mount {
            host_path: file,
            container_path: container.termination_message_path.as_str().into(),
            ..Mount::default()
        });
    }
    let mut labels = labels(pod);
    labels.insert(CONTAINER_NAME.into(), name.clone());
    ContainerConfig {
        log_path: PathBuf::from(&name).join(format!("{attempt}.log")),
        name,
        attempt,
        image: container.image.to_string(),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.to_string(),
        env: prepared.env.into_iter().collect(),
        mounts,
        devices: vec![],
        labels,
        annotations,
        log: node.log,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        resources: if role == Role::Ephemeral {
            Default::default()
        } else {
            resources::container_cgroup(pod, container)
        },
        oom_score_adj: Some(resources::oom_score_adj(pod, container, node.memory_capacity_bytes)),
        security: security::effective(pod, container, node.seccomp_default),
        rlimits: vec![],
        pid_of: None,
        stop_signal: container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref()).map(str::to_owned),
    }
}

/// One volume mount, where `source` is what the volume (or its subPath) is on the host.
pub fn mount(mount: &VolumeMount, source: PathBuf, volume_read_only: bool) -> Mount {
    let readonly = mount.read_only || volume_read_only;
    Mount {
        host_path: source,
        container_path: absolute(&mount.mount_path),
        readonly,
        recursive_readonly: readonly
            && matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        },
        tmpfs_size_bytes: None,
    }
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}
