//! Housekeeping: unused images when the disk fills, and the eviction of pods when memory or disk runs out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use reconcile::EventType::Warning;
use tokio::sync::watch;
use types::core::v1::Pod;

use crate::backend::ImageInfo;
use crate::manager::Pods;
use crate::metrics::{EVICTIONS, IMAGES_COLLECTED};
use crate::node::info::file_system;
use crate::node::pressure::{Pressure, Sample};
use crate::pod::resources::{qos, requests};
use crate::pod::status::Verdict;
use crate::shared::Shared;
use crate::worker::Msg;

/// Images are removed above this part of the disk in use, down to the lower one (upstream's defaults).
const HIGH: f64 = 0.85;
const LOW: f64 = 0.80;
/// An image that was first seen, or last used, less than this ago is left alone (upstream's default): a pod may be about
/// to use it.
const AGE_MIN: Duration = Duration::from_secs(120);
/// How often the disk is looked at.
const INTERVAL: Duration = Duration::from_secs(300);
/// How long between evictions, for a pod to end and its memory to come back.
const BETWEEN: Duration = Duration::from_secs(10);

/// Runs until dropped.
pub async fn run(shared: Arc<Shared>, pods: Arc<Pods>, mut pressure: watch::Receiver<Pressure>) {
    let mut ages = Ages::default();
    loop {
        let now = *pressure.borrow_and_update();
        collect_images(&shared, &mut ages, if now.disk { 0.0 } else { LOW }).await;
        // Measured anew: what was removed just now may have been enough, and a pod is worth more than an image.
        let left = Sample::take(&shared.root_dir, &shared.runtime.image_root()).pressure();
        let left = Pressure { memory: now.memory && left.memory, disk: now.disk && left.disk };
        if left != Pressure::default() {
            evict(&shared, &pods, left).await;
        }
        let pause = if now == Pressure::default() { INTERVAL } else { BETWEEN };
        tokio::select! {
            () = shared.env.sleep(pause) => {}
            changed = pressure.changed() => if changed.is_err() { return },
        }
    }
}

/// When each image was first seen and last seen in use, on the monotonic clock.
#[derive(Default)]
struct Ages(HashMap<String, (Duration, Duration)>);

impl Ages {
    /// Takes note of what is there, and returns what may go, longest unused first.
    fn removable(
        &mut self,
        images: Vec<ImageInfo>,
        busy: &BTreeSet<String>,
        now: Duration,
    ) -> Vec<ImageInfo> {
        self.0.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in &images {
            let (_, used) = self.0.entry(image.id.clone()).or_insert((now, Duration::ZERO));
            if busy.contains(&image.id) {
                *used = now;
            }
        }
        let age = |image: &ImageInfo| self.0.get(&image.id).copied().unwrap_or((now, now));
        let mut out: Vec<ImageInfo> = images
            .into_iter()
            // What came from a file has no digest in any registry, and could not be fetched again.
            .filter(|image| !image.pinned && !image.repo_digests.is_empty() && !busy.contains(&image.id))
            .filter(|image| {
                let (first, used) = age(image);
                now.saturating_sub(first.max(used)) >= AGE_MIN
            })
            .collect();
        out.sort_by_key(|image| {
            let (first, used) = age(image);
            (used, first)
        });
        out
    }
}

/// Removes unused images, longest unused first, until less than `down_to` of the disk is in use. Does nothing below the
/// high mark (unless `down_to` is zero, when everything unused goes).
async fn collect_images(shared: &Shared, ages: &mut Ages, down_to: f64) {
    let root = shared.runtime.image_root();
    let used = |fs: [u64; 4]| if fs[0] == 0 { 0.0 } else { 1.0 - fs[1] as f64 / fs[0] as f64 };
    let now = shared.env.clock.monotonic();
    let busy = shared.runtime.images_in_use();
    let candidates = ages.removable(shared.runtime.images(), &busy, now);
    let Some(fs) = file_system(&root) else { return };
    if used(fs) < HIGH && down_to > 0.0 {
        return;
    }
    for image in candidates {
        if file_system(&root).map_or(0.0, used) < down_to {
            return;
        }
        match shared.runtime.remove_image(&image.id).await {
            Ok(bytes) => {
                IMAGES_COLLECTED.with(&["space"]).inc();
                tracing::info!(image = %image.id, bytes, "removed an unused image to free disk space")
            }
            Err(error) => tracing::debug!(image = %image.id, %error, "cannot remove an image"),
        }
    }
}

/// Ends one pod: of those above their memory request first, then by priority, then by how far above.
async fn evict(shared: &Shared, pods: &Pods, pressure: Pressure) {
    let mut candidates = vec![];
    let sandboxes = shared.runtime.sandboxes();
    for pod in pods.list() {
        if !is_evictable(&pod) {
            continue;
        }
        let Some(sandbox) = sandboxes.iter().find(|s| s.ready && pod.metadata.uid == s.config.uid.as_str())
        else {
            continue;
        };
        let Ok(stats) = shared.runtime.sandbox_stats(&sandbox.id).await else { continue };
        let used = if pressure.memory {
            stats.cgroup.map_or(0, |c| c.memory_working_set_bytes as i64)
        } else {
            stats.containers.iter().map(|c| c.disk_bytes() as i64).sum()
        };
        // Ending a pod that takes nothing of the disk would cost its work and bring nothing back.
        if used == 0 {
            continue;
        }
        candidates.push((rank(&pod, used, pressure), pod, used));
    }
    candidates.sort_by_key(|(rank, _, _)| *rank);
    let Some((_, pod, used)) = candidates.into_iter().next() else { return };
    let resource = if pressure.memory { "memory" } else { "ephemeral-storage" };
    let message = format!(
        "The node was low on resource: {resource}. Container(s) of the pod were using {}Ki, request is {}, has larger consumption of {resource}. ",
        used / 1024,
        requests(&pod).get(resource).map_or_else(|| "0".to_owned(), |q| q.to_string()),
    );
    let signal = if pressure.memory { "memory.available" } else { "nodefs.available" };
    end(shared, pods, &pod, signal, message);
}

/// Whether a pod may be evicted: it runs, and is neither critical nor the node's own.
pub(crate) fn is_evictable(pod: &Pod) -> bool {
    let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
        || pod.metadata.deletion_timestamp.is_some();
    !ended && pod.spec.priority.unwrap_or(0) < 2_000_000_000 && !crate::pod::is_static(pod)
}

/// Evicts a pod; `signal` names the eviction signal in the metrics.
pub(crate) fn end(shared: &Shared, pods: &Pods, pod: &Pod, signal: &str, message: String) {
    shared.pod_event(pod, Warning, "Evicted", message.clone());
    EVICTIONS.with(&[signal]).inc();
    pods.send(&pod.metadata.uid, Msg::Evict(Verdict { reason: "Evicted".into(), message }));
}

/// Lower goes first.
fn rank(pod: &Pod, used: i64, pressure: Pressure) -> (bool, i32, std::cmp::Reverse<i64>, u8) {
    let resource = if pressure.memory { "memory" } else { "ephemeral-storage" };
    let request = requests(pod).get(resource).map_or(0, |q| q.value());
    let class = match qos(pod) {
        runtime::QosClass::BestEffort => 0,
        runtime::QosClass::Burstable => 1,
        runtime::QosClass::Guaranteed => 2,
    };
    (used <= request, pod.spec.priority.unwrap_or(0), std::cmp::Reverse(used - request), class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_go_by_age() {
        let image = |id: &str, digests: &[&str]| ImageInfo {
            id: id.into(),
            repo_digests: digests.iter().map(|d| (*d).to_owned()).collect(),
            ..ImageInfo::default()
        };
        let all =
            || vec![image("used", &["d"]), image("old", &["d"]), image("file", &[]), image("busy", &["d"])];
        let ids = |list: Vec<ImageInfo>| list.into_iter().map(|i| i.id).collect::<Vec<_>>().join(" ");
        let busy = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        let at = Duration::from_secs;
        let mut ages = Ages::default();
        assert_eq!(ids(ages.removable(all(), &busy(&["used", "busy"]), at(1000))), "", "seen just now");
        assert_eq!(ids(ages.removable(all(), &busy(&["busy"]), at(1119))), "");
        assert_eq!(ids(ages.removable(all(), &busy(&["busy"]), at(1120))), "old used");
    }

    #[test]
    fn who_goes_first() {
        let pod = |request: &str, priority: i32| {
            let mut container = types::core::v1::Container::default();
            container.resources.requests.insert("memory", request.parse().unwrap());
            let mut pod = Pod::default();
            pod.spec.priority = Some(priority);
            pod.spec.containers.push(container);
            pod
        };
        let memory = Pressure { memory: true, disk: false };
        let within = rank(&pod("1Gi", 0), 1 << 20, memory);
        let above = rank(&pod("1Mi", 100), 1 << 30, memory);
        let far_above = rank(&pod("1Mi", 0), 1 << 31, memory);
        assert!(far_above < above && above < within);
    }
}
