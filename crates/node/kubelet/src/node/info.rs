//! What the machine is, read from the kernel once.

use std::collections::BTreeMap;
use std::path::Path;

use meta::{Map, Quantity};
use types::core::v1::NodeSystemInfo;

/// Facts about the machine that do not change while it runs.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Processors.
    pub cpus: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Size in bytes of the file system that holds pods' data.
    pub storage_bytes: i64,
    /// Huge pages: bytes by page size in bytes.
    pub huge_pages: BTreeMap<i64, i64>,
    /// `amd64`, `arm64`.
    pub arch: &'static str,
    /// `status.nodeInfo`, without versions of our own.
    pub info: NodeSystemInfo,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// The architecture's name in the API.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Total and available memory in bytes.
pub fn memory() -> (i64, i64) {
    let text = read("/proc/meminfo");
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|l| l.split_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0) * 1024
    };
    (field("MemTotal"), field("MemAvailable"))
}

/// Size and free space of the file system at `path`: bytes, bytes free, inodes, inodes free. Blocks that the file system
/// reserves for root are neither, as in the percentage of `df`: nobody's pods can fill them, however empty the disk is.
pub fn file_system(path: &Path) -> Option<[u64; 4]> {
    let fs = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = fs.fragment_size();
    let reserved = fs.blocks_free().saturating_sub(fs.blocks_available());
    let usable = fs.blocks().saturating_sub(reserved);
    Some([usable * unit, fs.blocks_available() * unit, fs.files(), fs.files_available()])
}

impl Machine {
    /// Reads the machine; `data` is where pods' data lives.
    pub fn read(data: &Path) -> Machine {
        let release = read("/etc/os-release");
        let pretty = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let machine_id = [read("/etc/machine-id"), read("/var/lib/dbus/machine-id")];
        let machine_id = machine_id.into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        let system_uuid = read("/sys/class/dmi/id/product_uuid");
        let info = NodeSystemInfo {
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid }.into(),
            machine_id: machine_id.into(),
            boot_id: boot_id.into(),
            kernel_version: read("/proc/sys/kernel/osrelease").into(),
            os_image: pretty.map(|p| p.trim_matches('"')).unwrap_or("Linux").into(),
            operating_system: "linux".into(),
            architecture: arch().into(),
            ..Default::default()
        };
        Machine {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as i64),
            memory_bytes: memory().0,
            storage_bytes: file_system(data).map_or(0, |f| f[0] as i64),
            huge_pages: huge_pages(),
            arch: arch(),
            info,
        }
    }

    /// `status.capacity`.
    pub fn capacity(&self, max_pods: i64) -> Map<Quantity> {
        let mut out = Map::new();
        out.insert("cpu", Quantity::new(self.cpus, Default::default()));
        out.insert("memory", kibi(self.memory_bytes));
        out.insert("ephemeral-storage", kibi(self.storage_bytes));
        out.insert("pods", Quantity::new(max_pods, Default::default()));
        for size in [1 << 30, 2 << 20] {
            let bytes = self.huge_pages.get(&size).copied().unwrap_or(0);
            let name = if size == 1 << 30 { "hugepages-1Gi" } else { "hugepages-2Mi" };
            out.insert(name, Quantity::new(bytes, Default::default()));
        }
        out
    }

    /// `status.allocatable`: less what eviction keeps free (100 MiB of memory, a tenth of the disk) and huge pages.
    pub fn allocatable(&self, max_pods: i64) -> Map<Quantity> {
        let mut out = self.capacity(max_pods);
        let huge: i64 = self.huge_pages.values().sum();
        out.insert("memory", kibi((self.memory_bytes - (100 << 20) - huge).max(0)));
        out.insert(
            "ephemeral-storage",
            Quantity::new(self.storage_bytes - self.storage_bytes / 10, Default::default()),
        );
        out
    }
}

fn kibi(bytes: i64) -> Quantity {
    format!("{}Ki", bytes / 1024).parse().expect("a number of Ki is a quantity")
}

fn huge_pages() -> BTreeMap<i64, i64> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let size =
            name.to_str().and_then(|n| n.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<i64>().ok());
        let count = read(&entry.path().join("nr_hugepages").display().to_string()).parse::<i64>();
        if let (Some(size), Ok(count)) = (size, count) {
            out.insert(size * 1024, count * size * 1024);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine() {
        let machine = Machine::read(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory_bytes > 1 << 20 && machine.storage_bytes > 0);
        assert!(!machine.info.kernel_version.is_empty() && !machine.info.boot_id.is_empty());
        let (capacity, allocatable) = (machine.capacity(110), machine.allocatable(110));
        assert_eq!(capacity.get("pods"), Some(&Quantity::new(110, Default::default())));
        assert!(allocatable.get("memory") < capacity.get("memory"));
    }
}
