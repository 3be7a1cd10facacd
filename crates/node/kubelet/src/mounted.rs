//! Where the volumes of the node's pods are, and what they take: for `/stats/summary` and `kubelet_volume_stats_*`.

use std::collections::HashMap;
use std::path::PathBuf;

use meta::Str;
use parking_lot::Mutex;
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
    pub fn measure(&self) -> Option<Usage> {
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

/// The volumes by UID of their pods.
#[derive(Debug, Default)]
pub struct MountedVolumes(Mutex<HashMap<String, Vec<MountedVolume>>>);

impl MountedVolumes {
    /// All volumes of a pod are mounted, by their names.
    pub fn set(&self, pod: &Pod, mounted: &HashMap<String, Mounted>) {
        let of = |volume: &Volume| MountedVolume::of(volume, mounted.get(volume.name.as_str())?);
        let volumes = pod.spec.volumes.iter().filter_map(of).collect();
        self.0.lock().insert(pod.metadata.uid.to_string(), volumes);
    }

    /// Those of a pod, in the pod's order.
    pub fn of(&self, uid: &str) -> Vec<MountedVolume> {
        self.0.lock().get(uid).cloned().unwrap_or_default()
    }

    /// The pod is gone.
    pub fn release(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use types::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, PersistentVolumeClaimVolumeSource};

    use super::*;

    #[test]
    fn claims_are_file_systems_and_others_files() {
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
        volumes.set(&pod, &mounted);
        let known = volumes.of("1");
        let [claim, empty] = &known[..] else { panic!("{known:?}") };
        assert_eq!((claim.claim.as_deref(), empty.claim.as_deref()), (Some("data"), None));
        let (claim, empty) = (claim.measure().unwrap(), empty.measure().unwrap());
        assert!((40_000..100_000).contains(&empty.used_bytes), "{empty:?}");
        assert_eq!(claim.used_bytes, claim.capacity_bytes - claim.available_bytes);
        volumes.release("1");
        assert!(volumes.of("1").is_empty());
    }
}
