//! Pods that take more of the node's disk than their limits allow are evicted, as upstream's `localStorageEviction` does:
//! an emptyDir above its `sizeLimit`, a pod or a container above its limit of `ephemeral-storage`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use types::core::v1::{Pod, Volume};

use crate::gc::{end, is_evictable};
use crate::manager::Pods;
use crate::pod::resources::limits;
use crate::shared::Shared;

/// How often the disk is measured (upstream's `monitoringInterval`): nothing tells when a file grows.
const INTERVAL: Duration = Duration::from_secs(10);
const RESOURCE: &str = "ephemeral-storage";

/// Runs until dropped.
pub async fn run(shared: Arc<Shared>, pods: Arc<Pods>) {
    loop {
        shared.env.sleep(INTERVAL).await;
        for pod in pods.list().iter().filter(|pod| is_limited(pod) && is_evictable(pod)) {
            let Some(usage) = measure(&shared, pod).await else { continue };
            if let Some((signal, message)) = excess(pod, &usage) {
                end(&shared, &pods, pod, signal, message);
            }
        }
    }
}

/// Bytes that a pod takes of the disk.
#[derive(Default)]
struct Usage {
    /// Files and logs of each container, by its name.
    containers: HashMap<String, u64>,
    /// emptyDirs on the disk, by the name of the volume.
    empty_dirs: HashMap<String, u64>,
}

/// Whether any of the pod's limits is about the disk: the others need not be measured.
fn is_limited(pod: &Pod) -> bool {
    let sized = |volume: &Volume| on_disk(volume) && size_limit(volume).is_some();
    limits(pod).get(RESOURCE).is_some() || pod.spec.volumes.iter().any(sized)
}

fn on_disk(volume: &Volume) -> bool {
    volume.empty_dir.as_ref().is_some_and(|source| source.medium.is_empty())
}

fn size_limit(volume: &Volume) -> Option<&meta::Quantity> {
    volume.empty_dir.as_ref()?.size_limit.as_ref().filter(|limit| limit.value() > 0)
}

/// `None` where the pod does not run yet.
async fn measure(shared: &Shared, pod: &Pod) -> Option<Usage> {
    let uid = pod.metadata.uid.as_str();
    let sandbox =
        shared.runtime.sandboxes().into_iter().find(|sandbox| sandbox.ready && sandbox.config.uid == uid)?;
    let stats = shared.runtime.sandbox_stats(&sandbox.id).await.ok()?;
    let known = shared.runtime.containers();
    let mut usage = Usage::default();
    for container in &stats.containers {
        let name = known
            .iter()
            .find(|known| known.id == container.container_id)
            .map(|known| known.config.name.clone());
        // What an earlier run of the same container left counts too until it is collected.
        *usage.containers.entry(name.unwrap_or_default()).or_default() += container.disk_bytes();
    }
    let root = shared.pod_dir(uid);
    let volumes: Vec<String> = pod
        .spec
        .volumes
        .iter()
        .filter(|volume| on_disk(volume))
        .map(|volume| volume.name.to_string())
        .collect();
    let measured = tokio::task::spawn_blocking(move || {
        volumes.into_iter().map(|name| (name.clone(), bytes_of(&root, &name))).collect()
    });
    usage.empty_dirs = measured.await.ok()?;
    Some(usage)
}

fn bytes_of(pod_dir: &Path, volume: &str) -> u64 {
    runtime::disk_usage(&volumes::volume_dir(pod_dir, "kubernetes.io~empty-dir", volume)).0
}

/// The first limit that is exceeded, in upstream's order: its eviction signal and what is told.
fn excess(pod: &Pod, usage: &Usage) -> Option<(&'static str, String)> {
    let above = |used: u64, limit: &meta::Quantity| i64::try_from(used).unwrap_or(i64::MAX) > limit.value();
    for volume in pod.spec.volumes.iter().filter(|volume| on_disk(volume)) {
        let used = usage.empty_dirs.get(volume.name.as_str()).copied().unwrap_or(0);
        if let Some(limit) = size_limit(volume).filter(|limit| above(used, limit)) {
            let message =
                format!("Usage of EmptyDir volume \"{}\" exceeds the limit \"{limit}\". ", volume.name);
            return Some(("emptydirfs.limit", message));
        }
    }
    let total = usage.containers.values().chain(usage.empty_dirs.values()).sum();
    if let Some(limit) = limits(pod).get(RESOURCE).filter(|limit| above(total, limit)) {
        let message =
            format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. ");
        return Some(("ephemeralpodfs.limit", message));
    }
    pod.spec.containers.iter().find_map(|container| {
        let limit = container.resources.limits.get(RESOURCE).filter(|limit| limit.value() > 0)?;
        let used = usage.containers.get(container.name.as_str()).copied().unwrap_or(0);
        let message =
            format!("Container {} exceeded its local ephemeral storage limit \"{limit}\". ", container.name);
        above(used, limit).then_some(("ephemeralcontainerfs.limit", message))
    })
}

#[cfg(test)]
mod tests {
    use meta::Codec;

    use super::*;

    const MI: u64 = 1 << 20;

    fn pod() -> Pod {
        let text = r#"{"spec":{
            "volumes":[{"name":"small","emptyDir":{"sizeLimit":"2Mi"}},{"name":"free","emptyDir":{}},{"name":"ram","emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}}],
            "containers":[{"name":"a","resources":{"limits":{"ephemeral-storage":"5Mi"}}},{"name":"b","resources":{"limits":{"ephemeral-storage":"10Mi"}}}]}}"#;
        Pod::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_limit_is_told_of() {
        for (containers, empty_dirs, want) in [
            ([5, 8], [2, 0], None),
            ([0, 0], [3, 0], Some("Usage of EmptyDir volume \"small\" exceeds the limit \"2Mi\". ")),
            ([6, 0], [0, 0], Some("Container a exceeded its local ephemeral storage limit \"5Mi\". ")),
            (
                [5, 5],
                [0, 6],
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 15Mi. "),
            ),
        ] {
            let named = |names: [&str; 2], sizes: [u64; 2]| {
                names.iter().zip(sizes).map(|(name, size)| ((*name).to_owned(), size * MI)).collect()
            };
            let usage = Usage {
                containers: named(["a", "b"], containers),
                empty_dirs: named(["small", "free"], empty_dirs),
            };
            assert_eq!(excess(&pod(), &usage).map(|(_, message)| message).as_deref(), want);
        }
    }

    #[test]
    fn only_pods_with_limits_are_measured() {
        let mut free = pod();
        assert!(is_limited(&free));
        free.spec.containers.clear();
        assert!(is_limited(&free), "an emptyDir is");
        free.spec.volumes.retain(|volume| volume.name != "small");
        assert!(!is_limited(&free), "memory is bound by its own file system");
    }
}
