//! Images for containers: when to pull, with which credentials, and what users read when it fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use serde::Deserialize;
use types::core::v1::{Pod, Secret};

use crate::backend::{BackendError, ContainerRuntime, Credential, ImageInfo};

/// Why an image is not there, as `state.waiting` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullError {
    /// `ErrImagePull`, `InvalidImageName`, ...
    pub reason: &'static str,
    /// More.
    pub message: String,
}

/// What the pull policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Use what is there.
    Use,
    /// Ask the registry.
    Pull,
    /// Not there and not to be fetched.
    Never,
}

/// Decides by policy (empty: by the tag) and presence.
pub fn decide(policy: &str, reference: &str, present: bool) -> Decision {
    let policy = match policy {
        "" if has_tag_latest(reference) => "Always",
        "" => "IfNotPresent",
        policy => policy,
    };
    match (policy, present) {
        ("Never", false) => Decision::Never,
        ("Always", _) | (_, false) => Decision::Pull,
        _ => Decision::Use,
    }
}

fn has_tag_latest(reference: &str) -> bool {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Host of the registry that a reference names.
pub fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: std::collections::BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    registrytoken: String,
}

/// Credentials for `reference` in a pull secret of either type.
pub fn credentials(secret: &Secret, reference: &str) -> Vec<Credential> {
    let config: Option<DockerConfig> = match secret.type_.as_str() {
        "kubernetes.io/dockerconfigjson" => {
            secret.data.get(".dockerconfigjson").and_then(|d| serde_json::from_slice(&d.0).ok())
        }
        "kubernetes.io/dockercfg" => {
            let auths = secret.data.get(".dockercfg").and_then(|d| serde_json::from_slice(&d.0).ok());
            auths.map(|auths| DockerConfig { auths })
        }
        _ => None,
    };
    let host = registry(reference);
    let matches = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        let key = key.split('/').next().unwrap_or(key);
        key == host || (host == "docker.io" && key == "index.docker.io") || glob(key, host)
    };
    let auths = config.into_iter().flat_map(|c| c.auths).filter(|(key, _)| matches(key));
    auths.filter_map(|(_, auth)| credential(auth)).collect()
}

/// `*.example.com` matches one label.
fn glob(pattern: &str, host: &str) -> bool {
    let Some(rest) = pattern.strip_prefix("*.") else { return false };
    host.split_once('.').is_some_and(|(_, tail)| tail == rest)
}

fn credential(auth: Auth) -> Option<Credential> {
    if !auth.registrytoken.is_empty() {
        return Some(Credential::Bearer(auth.registrytoken));
    }
    if !auth.username.is_empty() {
        return Some(Credential::Basic { username: auth.username, password: auth.password });
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(auth.auth).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credential::Basic {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

/// Pulls, and words what goes wrong.
///
/// # Errors
/// As `state.waiting` shows it.
pub async fn pull(
    runtime: &dyn ContainerRuntime,
    reference: &str,
    credentials: Vec<Credential>,
) -> Result<ImageInfo, PullError> {
    runtime.pull(reference, credentials).await.map_err(|error| match error {
        BackendError::Invalid(why) => PullError {
            reason: "InvalidImageName",
            message: format!("Failed to apply default image tag \"{reference}\": {why}"),
        },
        other => PullError { reason: "ErrImagePull", message: other.to_string() },
    })
}

/// `1.234s`, as Go prints durations rounded to milliseconds.
pub fn go_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

/// `image` volumes: the files of an image, read-only.
pub struct ImageVolumes {
    runtime: Arc<dyn ContainerRuntime>,
    root: PathBuf,
}

impl ImageVolumes {
    /// Mounts go below `root` (the pods' directory).
    pub fn new(runtime: Arc<dyn ContainerRuntime>, root: PathBuf) -> ImageVolumes {
        ImageVolumes { runtime, root }
    }

    /// The directory with the image's files.
    ///
    /// # Errors
    /// In words for an event.
    pub async fn mount(&self, pod: &Pod, reference: &str, policy: &str) -> Result<PathBuf, String> {
        let present = self.runtime.image(reference);
        let image = match (decide(policy, reference, present.is_some()), present) {
            (Decision::Never, _) => {
                return Err(format!("image {reference:?} is not present with pull policy of Never"));
            }
            (Decision::Use, Some(image)) => image,
            _ => pull(&*self.runtime, reference, vec![])
                .await
                .map_err(|e| format!("{}: {}", e.reason, e.message))?,
        };
        let layers = self.runtime.image_layers(&image.id);
        let hash = image.id.rsplit(':').next().unwrap_or_default().chars().take(16).collect::<String>();
        let dir = self.root.join(pod.metadata.uid.as_str()).join("image-volumes").join(hash);
        let mounted = tokio::task::spawn_blocking(move || mount_layers(&dir, &layers).map(|()| dir));
        mounted.await.map_err(|e| e.to_string())?
    }
}

fn mount_layers(dir: &std::path::Path, layers: &[PathBuf]) -> Result<(), String> {
    use nix::mount::{MsFlags, mount};
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    if volumes::is_mount_point(dir) {
        return Ok(());
    }
    let read_only = MsFlags::MS_RDONLY;
    let result = match layers {
        [] => return Err("the image has no layers".into()),
        // An overlay wants at least two lower directories.
        [only] => mount(Some(only), dir, None::<&str>, MsFlags::MS_BIND, None::<&str>).and_then(|()| {
            mount(
                None::<&str>,
                dir,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REMOUNT | read_only,
                None::<&str>,
            )
        }),
        many => {
            let lower: Vec<_> = many.iter().map(|p| p.display().to_string()).collect();
            let options = format!("lowerdir={}", lower.join(":"));
            mount(Some("overlay"), dir, Some("overlay"), read_only, Some(options.as_str()))
        }
    };
    result.map_err(|e| format!("cannot mount an image on {}: {e}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::ByteString;

    #[test]
    fn policies() {
        for (policy, reference, present, want) in [
            ("", "nginx", true, Decision::Pull),
            ("", "nginx:1.25", true, Decision::Use),
            ("", "nginx:1.25", false, Decision::Pull),
            ("IfNotPresent", "nginx", true, Decision::Use),
            ("Always", "nginx:1.25", true, Decision::Pull),
            ("Never", "nginx", false, Decision::Never),
            ("Never", "nginx", true, Decision::Use),
            ("", "localhost:5000/a", true, Decision::Pull),
            ("", "a@sha256:00", true, Decision::Use),
        ] {
            assert_eq!(decide(policy, reference, present), want, "{policy} {reference} {present}");
        }
    }

    #[test]
    fn pull_secrets() {
        let mut secret = Secret { type_: "kubernetes.io/dockerconfigjson".into(), ..Default::default() };
        let auth = base64::engine::general_purpose::STANDARD.encode("u:p:q");
        let json = format!(r#"{{"auths":{{"https://reg.example.com/v1/":{{"auth":"{auth}"}},"x.y":{{}}}}}}"#);
        secret.data.insert(".dockerconfigjson", ByteString(json.into_bytes()));
        let want = Credential::Basic { username: "u".into(), password: "p:q".into() };
        assert_eq!(credentials(&secret, "reg.example.com/a/b:1"), [want]);
        assert!(credentials(&secret, "other.example.com/a").is_empty());
        assert_eq!(registry("busybox"), "docker.io");
        assert!(glob("*.example.com", "reg.example.com") && !glob("*.com", "a.b.com"));
    }

    #[test]
    fn durations() {
        for (ms, want) in [(7, "7ms"), (1234, "1.234s"), (2000, "2s"), (61_500, "1m1.5s")] {
            assert_eq!(go_duration(Duration::from_millis(ms)), want);
        }
    }
}
