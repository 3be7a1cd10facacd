//! Records on disk: what a restarted server must know, one JSON file for each sandbox and container.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, SandboxConfig};
use crate::error::{Error, Result};
use crate::status::User;

/// A sandbox on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub id: String,
    pub config: SandboxConfig,
    pub ready: bool,
    pub created_at_ns: i64,
    pub ips: Vec<IpAddr>,
    pub cgroup: PathBuf,
    /// Pause process of a shared PID namespace.
    pub pause: Option<ProcessId>,
    /// The boot in which it was made; namespaces do not survive another one.
    pub boot_id: String,
}

/// A container on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub id: String,
    pub sandbox_id: String,
    #[serde(with = "shared")]
    pub config: Arc<ContainerConfig>,
    pub image_id: String,
    pub image_ref: String,
    pub created_at_ns: i64,
    pub log_path: PathBuf,
    pub user: User,
    pub cgroup: PathBuf,
    pub stop_signal: String,
}

/// A shared value is stored like the value itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        T::serialize(value, to)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start: u64,
}

impl ProcessId {
    pub(super) fn of(pid: i32) -> Option<ProcessId> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, but ends with the last parenthesis; the start time is the 20th field after it.
        let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        Some(ProcessId { pid, start })
    }

    pub(super) fn alive(self) -> bool {
        ProcessId::of(self.pid) == Some(self)
    }
}

pub(super) fn save<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).expect("records have string keys only");
    let tmp = path.with_extension("tmp");
    fs::write(&tmp, bytes)
        .and_then(|()| fs::rename(&tmp, path))
        .map_err(Error::io(format!("cannot write {}", path.display())))
}

pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(Error::io(format!("cannot read {}", path.display())))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::Malformed { what: path.display().to_string(), why: e.to_string() })
}

/// Random 256 bits in hexadecimal, as CRI identifiers look.
pub(super) fn new_id() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(Error::io("cannot read /dev/urandom"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

pub(super) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io(format!("cannot create {}", path.display())))
}

/// Removes a directory; one that is missing is no error.
pub(super) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", path.display()))(e))
        }
        _ => Ok(()),
    }
}
