//! Usage of containers, sandboxes and all pods.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::namespace::{in_thread, interfaces};
use super::{Runtime, blocking};
use crate::error::{Error, Result};
use crate::status::{CgroupStats, ContainerState, ContainerStats, SandboxStats};

impl Runtime {
    /// Usage of a container.
    pub async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        let entry = self.inner.container(id)?;
        let inner = self.inner.clone();
        blocking(move || {
            let record = &entry.record;
            let running = matches!(*entry.state.borrow(), ContainerState::Running { .. });
            let (writable_bytes, writable_inodes) = disk_usage(&inner.bundle(&record.id).join("upper"));
            let rotated = crate::shim::log::rotated(&record.log_path);
            let logs = rotated.iter().chain([&record.log_path]).filter_map(|p| fs::metadata(p).ok());
            Ok(ContainerStats {
                container_id: record.id.clone(),
                cgroup: if running { inner.cgroups.stats(&record.cgroup).ok() } else { None },
                writable_bytes,
                writable_inodes,
                log_bytes: logs.filter(|m| m.is_file()).map(|m| m.len()).sum(),
            })
        })
        .await
    }

    /// Usage of a sandbox and its containers.
    pub async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats> {
        let sandbox = self.sandbox(id)?;
        let mut stats = SandboxStats { sandbox_id: id.to_owned(), ..SandboxStats::default() };
        for container in self.inner.containers_of(id) {
            stats.containers.push(self.container_stats(&container.record.id).await?);
        }
        if sandbox.ready {
            let (inner, cgroup) = (self.inner.clone(), sandbox.cgroup.clone());
            stats.cgroup = blocking(move || Ok(inner.cgroups.stats(&cgroup).ok())).await?;
            if let Some(netns) = sandbox.netns {
                stats.interfaces = in_thread(move || interfaces(&netns)).await?;
            }
        }
        Ok(stats)
    }

    /// Usage of the cgroup of all pods.
    pub async fn pods_stats(&self) -> Result<CgroupStats> {
        let inner = self.inner.clone();
        blocking(move || {
            let prefix = &inner.config.cgroup_prefix;
            inner
                .cgroups
                .stats(prefix)
                .map_err(Error::io(format!("cannot read usage of {}", prefix.display())))
        })
        .await
    }
}

/// What is below a directory, as far as it is on the same file system: bytes that are taken on the disk, and entries.
/// Blocks; containers may have made the tree as deep as they like.
pub fn disk_usage(dir: &Path) -> (u64, u64) {
    let (mut bytes, mut entries) = (0, 0);
    let Ok(top) = fs::metadata(dir) else { return (0, 0) };
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() {
                continue;
            }
            bytes += meta.blocks() * 512;
            entries += 1;
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    (bytes, entries)
}
