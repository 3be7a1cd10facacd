//! `persistentVolumeClaim`: from the claim to its bound volume to a path of this node.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::host_path;
use crate::setup::Objects;

/// The directory behind a claim, and whether its files may be given to the pod's group (not for `hostPath`).
pub async fn resolve(namespace: &str, name: &str, objects: &dyn Objects) -> Result<(PathBuf, bool)> {
    let context = |why: &str| Error::Object(format!("error processing PVC {namespace}/{name}: {why}"));
    let claim = objects.claim(namespace, name).await?.ok_or_else(|| {
        context(&format!("failed to fetch PVC from API server: persistentvolumeclaims \"{name}\" not found"))
    })?;
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(context("PVC is being deleted"));
    }
    let volume_name = claim.spec.volume_name.as_str();
    if claim.status.phase != "Bound" || volume_name.is_empty() {
        return Err(context("PVC is not bound"));
    }
    let volume = objects.persistent_volume(volume_name).await?.ok_or_else(|| {
        context(&format!(
            "failed to fetch PV {volume_name} from API server: persistentvolumes \"{volume_name}\" not found"
        ))
    })?;
    let bound_here = volume.spec.claim_ref.as_deref().is_some_and(|r| r.uid == claim.metadata.uid);
    if !bound_here {
        return Err(context(&format!("PV {volume_name} is bound to another claim")));
    }
    if claim.spec.volume_mode.as_deref() == Some("Block") {
        return Err(context("raw block volumes are not supported on this node"));
    }
    if let Some(source) = &volume.spec.host_path {
        let path = PathBuf::from(source.path.as_str());
        host_path::check(&path, source.type_.as_deref().unwrap_or(""))?;
        return Ok((path, false));
    }
    if let Some(source) = &volume.spec.local {
        let path = PathBuf::from(source.path.as_str());
        if !path.is_dir() {
            return Err(Error::Invalid(format!("path \"{}\" does not exist", path.display())));
        }
        return Ok((path, true));
    }
    Err(Error::NoPlugin(volume_name.to_owned()))
}
