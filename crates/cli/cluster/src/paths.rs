//! Where a cluster keeps its files. One data directory holds everything that must survive a reboot, one state directory
//! what lives as long as the machine is up.

use std::path::{Path, PathBuf};

/// The directories and files of one cluster member.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
    state: PathBuf,
}

impl Paths {
    /// Where a cluster lives unless it is told otherwise.
    pub const DATA_DEFAULT: &str = "/var/lib/ferrokube";
    /// Where it keeps sockets and the state of running containers.
    pub const STATE_DEFAULT: &str = "/run/ferrokube";

    /// The files below `data`. Another data directory than the default gets its own state directory inside it, so that
    /// two clusters on one machine never meet.
    pub fn new(data: &Path) -> Self {
        let state = if data == Path::new(Self::DATA_DEFAULT) {
            PathBuf::from(Self::STATE_DEFAULT)
        } else {
            data.join("run")
        };
        Paths { data: data.to_owned(), state }
    }

    /// The data directory itself.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The state directory: runtime state, sockets, network namespaces.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    /// The embedded store.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Image layers and indexes.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// The node's own files: pod directories, volumes, logs of containers.
    pub fn kubelet(&self) -> PathBuf {
        self.data.join("kubelet")
    }

    /// Static pod manifests.
    pub fn manifests(&self) -> PathBuf {
        self.data.join("manifests")
    }

    /// The administrator's kubeconfig, mode 0600.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    /// What the background server prints.
    pub fn log(&self) -> PathBuf {
        self.data.join("ferrokube.log")
    }

    /// Settings of the last `up`, so that the other commands find the cluster as it was started.
    pub fn settings(&self) -> PathBuf {
        self.data.join("cluster.json")
    }

    /// Where the node of a `ferrokube kubelet` lives, so that `reset` finds all that it made.
    pub fn site(&self) -> PathBuf {
        self.data.join("node.json")
    }

    /// The process id of the running server. The server holds a lock on this file while it lives.
    pub fn pid_file(&self) -> PathBuf {
        self.state.join("ferrokube.pid")
    }
}
