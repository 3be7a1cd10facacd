//! Turns one entry of `spec.volumes` into a directory of the host: picks the volume type and does what they share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use meta::{Map, Quantity};
use types::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Volume};

use crate::atomic::{self, Owner};
use crate::error::{Error, Result};
use crate::payload::{self, Payload};
use crate::{claim, downward, empty_dir, host_path, ownership, projected};

/// What a service account token is wanted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// Namespace of the pod and of its service account.
    pub namespace: String,
    /// Name of the service account.
    pub service_account: String,
    /// Who shall accept it; empty means the API server.
    pub audience: String,
    /// Wanted life in seconds.
    pub expiration_seconds: i64,
    /// Name of the pod that the token is bound to.
    pub pod_name: String,
    /// UID of the pod that the token is bound to.
    pub pod_uid: String,
}

/// A service account token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub token: String,
    /// When the kubelet should have replaced it.
    pub refresh_at: SystemTime,
}

/// Where volumes get their objects from. Errors are worded for the user (`configmap "x" not found`).
#[async_trait]
pub trait Objects: Send + Sync {
    /// A ConfigMap; `None` if there is none.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>>;
    /// A Secret; `None` if there is none.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>>;
    /// A claim; `None` if there is none.
    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<Arc<PersistentVolumeClaim>>>;
    /// A persistent volume; `None` if there is none.
    async fn persistent_volume(&self, name: &str) -> Result<Option<Arc<PersistentVolume>>>;
    /// A token that is fresh enough.
    async fn token(&self, request: &TokenRequest) -> Result<Token>;
    /// PEM certificates of a cluster trust bundle, by name.
    async fn trust_bundle(&self, name: &str) -> Result<Option<String>>;
    /// A directory with the files of an image, for `image` volumes, and whether the pull policy allows it.
    async fn image_dir(&self, pod: &Pod, reference: &str, policy: &str) -> Result<PathBuf>;
}

/// What volumes may want to know of the pod's surroundings.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Addresses of the node.
    pub host_ips: Vec<String>,
    /// Addresses of the pod, empty as long as it has none.
    pub pod_ips: Vec<String>,
    /// The node's allocatable resources.
    pub allocatable: Map<Quantity>,
}

/// A volume that is ready to be mounted into containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Directory (or for a hostPath file: the file) on the host.
    pub path: PathBuf,
    /// The volume itself allows no writes.
    pub read_only: bool,
    /// When the content wants to be written again by [`set_up`], for tokens.
    pub refresh_at: Option<SystemTime>,
}

impl Mounted {
    fn at(path: PathBuf) -> Mounted {
        Mounted { path, read_only: false, refresh_at: None }
    }
}

/// Names of ConfigMaps and Secrets that the pod's volumes show: changes of these want [`set_up`] again.
pub fn objects_of(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for volume in &pod.spec.volumes {
        if let Some(source) = &volume.config_map {
            maps.insert(source.name.to_string());
        }
        if let Some(source) = &volume.secret {
            secrets.insert(source.secret_name.to_string());
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter()) {
            maps.extend(source.config_map.iter().map(|s| s.name.to_string()));
            secrets.extend(source.secret.iter().map(|s| s.name.to_string()));
        }
    }
    (maps, secrets)
}

/// Where a volume of a pod lives, for a plugin name such as `kubernetes.io~secret`.
pub fn volume_dir(pod_dir: &Path, plugin: &str, name: &str) -> PathBuf {
    pod_dir.join("volumes").join(plugin).join(name)
}

/// The plugin whose volume it is, as upstream's metrics name it.
pub fn plugin(volume: &Volume) -> &'static str {
    match volume {
        volume if volume.empty_dir.is_some() => "kubernetes.io/empty-dir",
        volume if volume.host_path.is_some() => "kubernetes.io/host-path",
        volume if volume.config_map.is_some() => "kubernetes.io/configmap",
        volume if volume.secret.is_some() => "kubernetes.io/secret",
        volume if volume.downward_api.is_some() => "kubernetes.io/downward-api",
        volume if volume.projected.is_some() => "kubernetes.io/projected",
        volume if volume.persistent_volume_claim.is_some() => "kubernetes.io/persistent-claim",
        volume if volume.image.is_some() => "kubernetes.io/image",
        _ => "",
    }
}

/// Sets up one volume, or brings its content up to date. Safe to call again at any time.
///
/// # Errors
/// The text is what belongs behind `MountVolume.SetUp failed for volume "x" : `.
pub async fn set_up(
    pod: &Pod,
    volume: &Volume,
    pod_dir: &Path,
    host: &Host,
    objects: &dyn Objects,
    now: SystemTime,
) -> Result<Mounted> {
    let name = volume.name.as_str();
    let namespace = pod.metadata.namespace.as_str();
    let security = pod.spec.security_context.as_deref();
    let fs_group = security.and_then(|s| s.fs_group).and_then(|g| u32::try_from(g).ok());
    let on_root_mismatch =
        security.and_then(|s| s.fs_group_change_policy.as_deref()).is_some_and(|p| p == "OnRootMismatch");
    let dir = |plugin: &str| volume_dir(pod_dir, plugin, name);

    if let Some(source) = &volume.empty_dir {
        let dir = dir("kubernetes.io~empty-dir");
        let limit = source.size_limit.as_ref().map(|q| q.value()).filter(|v| *v > 0);
        match source.medium.as_str() {
            "" => empty_dir::on_disk(&dir)?,
            "Memory" => empty_dir::in_memory(&dir, limit.or_else(|| memory_bound(pod, host)))?,
            "HugePages" => empty_dir::in_huge_pages(&dir, 2 << 20)?,
            other => {
                let page = other.strip_prefix("HugePages-").and_then(|s| s.parse::<Quantity>().ok());
                let page = page.ok_or_else(|| Error::Invalid(format!("unknown storage medium {other:?}")))?;
                empty_dir::in_huge_pages(&dir, page.value())?;
            }
        }
        if let Some(gid) = fs_group {
            ownership::apply(&dir, gid, false, on_root_mismatch)?;
        }
        return Ok(Mounted::at(dir));
    }
    if let Some(source) = &volume.host_path {
        let path = PathBuf::from(source.path.as_str());
        host_path::check(&path, source.type_.as_deref().unwrap_or(""))?;
        return Ok(Mounted::at(path));
    }
    if let Some(source) = &volume.config_map {
        let optional = source.optional.unwrap_or(false);
        let map =
            found(objects.config_map(namespace, &source.name).await?, optional, "configmap", &source.name)?;
        let payload = payload::config_map(map.as_deref(), &source.items, source.default_mode, optional)?;
        let dir = dir("kubernetes.io~configmap");
        empty_dir::on_disk(&dir)?;
        return write(dir, payload, fs_group, now, None);
    }
    if let Some(source) = &volume.secret {
        let optional = source.optional.unwrap_or(false);
        let secret = found(
            objects.secret(namespace, &source.secret_name).await?,
            optional,
            "secret",
            &source.secret_name,
        )?;
        let payload = payload::secret(secret.as_deref(), &source.items, source.default_mode, optional)?;
        let dir = dir("kubernetes.io~secret");
        empty_dir::in_memory(&dir, memory_bound(pod, host))?;
        return write(dir, payload, fs_group, now, None);
    }
    if let Some(source) = &volume.downward_api {
        let payload = downward::payload(pod, host, source.items.iter(), source.default_mode)?;
        let dir = dir("kubernetes.io~downward-api");
        empty_dir::in_memory(&dir, memory_bound(pod, host))?;
        return write(dir, payload, fs_group, now, None);
    }
    if let Some(source) = &volume.projected {
        let (payload, refresh_at) = projected::payload(pod, source, host, objects).await?;
        let dir = dir("kubernetes.io~projected");
        empty_dir::in_memory(&dir, memory_bound(pod, host))?;
        return write(dir, payload, fs_group, now, refresh_at);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let (path, own) = claim::resolve(namespace, source.claim_name.as_str(), objects).await?;
        if own
            && !source.read_only
            && let Some(gid) = fs_group
        {
            ownership::apply(&path, gid, false, on_root_mismatch)?;
        }
        return Ok(Mounted { path, read_only: source.read_only, refresh_at: None });
    }
    if let Some(source) = &volume.image {
        let path = objects.image_dir(pod, &source.reference, &source.pull_policy).await?;
        return Ok(Mounted { path, read_only: true, refresh_at: None });
    }
    Err(Error::NoPlugin(name.to_owned()))
}

/// `None` from the API is an error unless the pod says that it does not mind.
pub(crate) fn found<T>(
    object: Option<Arc<T>>,
    optional: bool,
    kind: &str,
    name: &str,
) -> Result<Option<Arc<T>>> {
    match object {
        None if !optional => Err(Error::Object(format!("{kind} \"{name}\" not found"))),
        other => Ok(other),
    }
}

/// A memory volume cannot grow beyond what the pod, or else the node, may use.
fn memory_bound(pod: &Pod, host: &Host) -> Option<i64> {
    let limits: Option<Vec<i64>> =
        pod.spec.containers.iter().map(|c| c.resources.limits.get("memory").map(|q| q.value())).collect();
    limits
        .map(|l| l.iter().sum())
        .or_else(|| host.allocatable.get("memory").map(|q| q.value()))
        .filter(|v| *v > 0)
}

/// Puts the files in place. Their group is `fsGroup`, which may always read them.
fn write(
    dir: PathBuf,
    mut payload: Payload,
    fs_group: Option<u32>,
    now: SystemTime,
    refresh_at: Option<SystemTime>,
) -> Result<Mounted> {
    if fs_group.is_some() {
        for file in payload.values_mut() {
            file.mode |= 0o440;
        }
    }
    atomic::write(&dir, &payload, Owner { uid: None, gid: fs_group }, now)?;
    if let Some(gid) = fs_group {
        std::os::unix::fs::chown(&dir, None, Some(gid))
            .map_err(Error::io("cannot change the owner of", &dir))?;
    }
    Ok(Mounted { path: dir, read_only: false, refresh_at })
}
