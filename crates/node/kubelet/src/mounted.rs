//! Where the volumes of the node's pods are, and what they take: for `/stats/summary` and `kubelet_volume_stats_*`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use env::Clock;
use meta::Str;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use types::core::v1::{Pod, Volume};
use volumes::Mounted;

use crate::node::info::file_system;

/// What is measured of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// The file system that it is.
    FileSystem,
    /// Its files, on a file system that is others' too.
    Files,
}

/// A volume that is mounted.
#[derive(Clone, Debug)]
pub struct MountedVolume {
    /// The pod's name for it.
    pub name: Str,
    /// The claim that it belongs to.
    pub claim: Option<Str>,
    path: PathBuf,
    extent: Extent,
}

/// What a volume takes, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the file system.
    pub capacity_bytes: u64,
    /// Bytes that are left of it.
    pub available_bytes: u64,
    /// Bytes that the volume takes.
    pub used_bytes: u64,
    /// Inodes of the file system.
    pub inodes: u64,
    /// Inodes that are left of it.
    pub inodes_free: u64,
    /// Inodes that the volume takes.
    pub inodes_used: u64,
}

impl MountedVolume {
    /// `None` for what is not measured: a path of the host, a single file.
    fn of(volume: &Volume, mounted: &Mounted) -> Option<MountedVolume> {
        let claim = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone());
        let extent = match &claim {
            Some(_) => Extent::FileSystem,
            None if volume.host_path.is_some() || volume.image.is_some() => return None,
            None => Extent::Files,
        };
        Some(MountedVolume { name: volume.name.clone(), claim, path: mounted.path.clone(), extent })
    }

    /// Measures it: reads directories where it is no file system of its own.
    fn measure(&self) -> Option<Usage> {
        let [capacity_bytes, available_bytes, inodes, inodes_free] = file_system(&self.path)?;
        let (used_bytes, inodes_used) = match self.extent {
            Extent::FileSystem => {
                (capacity_bytes.saturating_sub(available_bytes), inodes.saturating_sub(inodes_free))
            }
            Extent::Files => runtime::disk_usage(&self.path),
        };
        Some(Usage { capacity_bytes, available_bytes, used_bytes, inodes, inodes_free, inodes_used })
    }
}

/// What volumes take, by UID of their pods.
type Usages = HashMap<String, Vec<(MountedVolume, Usage)>>;

/// How long what was measured is told again (upstream's `volumeStatsAggPeriod`): it takes a walk over all files.
const FRESH: Duration = Duration::from_secs(60);
/// How long whoever asks waits for a new measurement; after that, what was measured before is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// The measurement that is told, and the one that is under way: there is one at most, however many ask, and however long
/// a file system that does not answer takes.
#[derive(Debug, Default)]
struct Measurement {
    at: Option<Duration>,
    told: Arc<Usages>,
    /// With the time at which it began. It stays here while somebody waits for it, who may go away at any moment.
    under_way: Option<(Duration, JoinHandle<Usages>)>,
}

/// The volumes by UID of their pods.
#[derive(Debug, Default)]
pub struct MountedVolumes {
    volumes: Mutex<HashMap<String, Vec<MountedVolume>>>,
    measurement: tokio::sync::Mutex<Measurement>,
}

impl MountedVolumes {
    /// All volumes of a pod are mounted, by their names.
    pub fn set(&self, pod: &Pod, mounted: &HashMap<String, Mounted>) {
        let of = |volume: &Volume| MountedVolume::of(volume, mounted.get(volume.name.as_str())?);
        let volumes = pod.spec.volumes.iter().filter_map(of).collect();
        self.volumes.lock().insert(pod.metadata.uid.to_string(), volumes);
    }

    /// What they take, by UID of their pods and in the order of these.
    pub async fn usages(&self, clock: &dyn Clock) -> Arc<Usages> {
        let mut measurement = self.measurement.lock().await;
        let now = clock.monotonic();
        if measurement.at.is_some_and(|at| now.saturating_sub(at) < FRESH) {
            return measurement.told.clone();
        }
        let measurement = &mut *measurement;
        let (began, under_way) = measurement.under_way.get_or_insert_with(|| {
            let all = self.volumes.lock().clone();
            (now, tokio::task::spawn_blocking(move || all.into_iter().map(measure).collect()))
        });
        let began = *began;
        // One that others have waited for already is only looked at.
        let patience = PATIENCE.saturating_sub(now.saturating_sub(began));
        if let Ok(measured) = tokio::time::timeout(patience, under_way).await {
            measurement.under_way = None;
            if let Ok(measured) = measured {
                measurement.told = Arc::new(measured);
                measurement.at = Some(began);
            }
        }
        measurement.told.clone()
    }

    /// The pod is gone.
    pub fn release(&self, uid: &str) {
        self.volumes.lock().remove(uid);
    }
}

fn measure((uid, volumes): (String, Vec<MountedVolume>)) -> (String, Vec<(MountedVolume, Usage)>) {
    let measured = volumes.into_iter().filter_map(|volume| volume.measure().map(|usage| (volume, usage)));
    (uid, measured.collect())
}

#[cfg(test)]
mod tests {
    use types::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, PersistentVolumeClaimVolumeSource};

    use super::*;

    #[tokio::test]
    async fn claims_are_file_systems_and_others_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), vec![b'x'; 40_000]).unwrap();
        let volume = |name: &str| Volume { name: name.into(), ..Default::default() };
        let mut pod = Pod::default();
        pod.metadata.uid = "1".into();
        let mut claim = volume("claim");
        claim.persistent_volume_claim = Some(Box::new(PersistentVolumeClaimVolumeSource {
            claim_name: "data".into(),
            ..Default::default()
        }));
        let mut empty = volume("empty");
        empty.empty_dir = Some(Box::<EmptyDirVolumeSource>::default());
        let mut host = volume("host");
        host.host_path = Some(Box::<HostPathVolumeSource>::default());
        pod.spec.volumes = [claim, empty, host].into_iter().collect();
        let at = Mounted { path: directory.path().to_owned(), read_only: false, refresh_at: None };
        let mounted = ["claim", "empty", "host"].map(|name| (name.to_owned(), at.clone())).into();
        let volumes = MountedVolumes::default();
        let (_, clock) = env::Env::simulated(1);
        volumes.set(&pod, &mounted);
        let known = volumes.usages(&*clock).await;
        let [(claim, of_claim), (empty, of_empty)] = &known["1"][..] else { panic!("{known:?}") };
        assert_eq!((claim.claim.as_deref(), empty.claim.as_deref()), (Some("data"), None));
        let (claim, empty) = (of_claim, of_empty);
        assert!((40_000..100_000).contains(&empty.used_bytes), "{empty:?}");
        assert_eq!(claim.used_bytes, claim.capacity_bytes - claim.available_bytes);
        volumes.release("1");
        assert!(!volumes.usages(&*clock).await.is_empty(), "what was measured is told again for a while");
        clock.advance(FRESH);
        assert!(volumes.usages(&*clock).await.is_empty());
    }
}
