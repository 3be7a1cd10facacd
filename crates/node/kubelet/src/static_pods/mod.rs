//! Static pods: manifests in a directory of the node, shown in the API by mirror pods that nobody can use to change them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meta::Codec as _;
use meta::v1::OwnerReference;
use rules::Rules;
use rules::references::MIRROR;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use types::core::v1::{Pod, Toleration};

use crate::manager::News;
use crate::shared::Shared;
use env::DirWatch;

/// Follows the directory until dropped.
pub async fn run(shared: Arc<Shared>, dir: PathBuf, news: mpsc::UnboundedSender<News>) {
    if let Err(error) = std::fs::create_dir_all(&dir) {
        tracing::error!(dir = %dir.display(), %error, "cannot make the directory of static pods");
        let _ = news.send(News::Synced);
        return;
    }
    let watch = match DirWatch::new(&dir) {
        Ok(watch) => watch,
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "cannot watch the directory of static pods");
            let _ = news.send(News::Synced);
            return;
        }
    };
    let mut known: HashMap<PathBuf, Arc<Pod>> = HashMap::new();
    let mut first = true;
    loop {
        let found = read(&dir, &shared.node_name);
        for (path, pod) in &found {
            let before = known.get(path);
            if before.is_some_and(|b| b.metadata.uid == pod.metadata.uid) {
                continue;
            }
            if let Some(before) = before {
                let _ = news.send(News::StaticGone(before.metadata.uid.to_string()));
                delete_mirror(&shared, before).await;
            }
            let _ = news.send(News::Static(pod.clone()));
            // The API may not be there yet, and the pod need not wait for it.
            let (shared, pod) = (shared.clone(), pod.clone());
            env::spawn_detached("mirror-pod", async move { create_mirror(&shared, &pod).await });
        }
        for (path, pod) in &known {
            if !found.contains_key(path) {
                let _ = news.send(News::StaticGone(pod.metadata.uid.to_string()));
                delete_mirror(&shared, pod).await;
            }
        }
        known = found;
        if std::mem::take(&mut first) {
            let _ = news.send(News::Synced);
        }
        // Whatever changed, the whole directory is read again: it is small, and events can be lost.
        watch.changed().await;
    }
}

fn read(dir: &Path, node: &str) -> HashMap<PathBuf, Arc<Pod>> {
    let mut out = HashMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let hidden = path.file_name().and_then(|n| n.to_str()).is_none_or(|n| n.starts_with('.'));
        if hidden || !path.is_file() {
            continue;
        }
        match std::fs::read(&path).map_err(|e| e.to_string()).and_then(|bytes| parse(&bytes, &path, node)) {
            Ok(pod) => {
                out.insert(path, Arc::new(pod));
            }
            Err(why) => tracing::warn!(path = %path.display(), %why, "not a manifest of a pod"),
        }
    }
    out
}

/// The pod of a manifest: named after the node, bound to it, its UID a hash of what it says unless it gives one; filled in
/// and judged as the API server would. It runs without the API, so it may refer to nothing there.
fn parse(bytes: &[u8], path: &Path, node: &str) -> Result<Pod, String> {
    let value: serde_json::Value = serde_norway::from_slice(bytes).map_err(|e| e.to_string())?;
    if value.get("kind").and_then(|k| k.as_str()) != Some("Pod") {
        return Err("kind is not Pod".into());
    }
    let mut pod: Pod = meta::from_value(value).map_err(|e| e.to_string())?;
    if pod.metadata.name.is_empty() {
        return Err("invalid pod: name is needed for the pod".into());
    }
    <Pod as Rules>::default(&mut pod);
    if pod.metadata.uid.is_empty() {
        let hash = Sha256::new()
            .chain_update(node)
            .chain_update(path.as_os_str().as_encoded_bytes())
            .chain_update(pod.to_json())
            .finalize();
        pod.metadata.uid = hex_string(&hash[..16]).into();
    }
    pod.metadata.name = format!("{}-{}", pod.metadata.name, node.to_lowercase()).into();
    if pod.metadata.namespace.is_empty() {
        pod.metadata.namespace = "default".into();
    }
    pod.metadata.annotations.insert("kubernetes.io/config.source", "file".into());
    pod.metadata.annotations.insert("kubernetes.io/config.hash", pod.metadata.uid.clone());
    pod.spec.node_name = node.into();
    tolerate_everything(&mut pod);
    let rules = rules::of("", "v1", "Pod").ok_or("pods have no rules")?;
    let wrong = rules.validate_create(&rules::Context::default(), &pod);
    if !wrong.is_empty() {
        return Err(format!(
            "invalid pod: {}",
            meta::aggregate_message(wrong.iter().map(ToString::to_string))
        ));
    }
    match rules::references::api_object(&pod)? {
        Some(resource) => Err(format!("static pods may not reference {resource}")),
        None => Ok(pod),
    }
}

/// What goes wrong with the node does not drive its own pods away.
fn tolerate_everything(pod: &mut Pod) {
    let every = Toleration { operator: "Exists".into(), effect: "NoExecute".into(), ..Toleration::default() };
    if !pod.spec.tolerations.contains(&every) {
        pod.spec.tolerations.push(every);
    }
}

fn hex_string(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Shows a static pod in the API; tries for a while when that fails.
pub async fn create_mirror(shared: &Shared, pod: &Pod) {
    let mut mirror: Pod = pod.clone();
    let hash = pod.metadata.uid.clone();
    mirror.metadata.uid = Default::default();
    mirror.metadata.annotations.insert(MIRROR, hash.clone());
    let node = shared.node.read().clone();
    mirror.metadata.owner_references.push(OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: shared.node_name.as_str().into(),
        uid: node.metadata.uid.clone(),
        controller: Some(true),
        ..Default::default()
    });
    let api = shared.client.namespaced::<Pod>(&pod.metadata.namespace);
    let mut pause = std::time::Duration::from_millis(200);
    loop {
        let result = api.create(mirror.clone()).await;
        match result {
            Ok(_) => return,
            Err(status) if status.code == 409 => match api.get_optional(&pod.metadata.name).await {
                Ok(Some(have)) if have.metadata.annotations.get(MIRROR) == Some(&hash) => return,
                Ok(Some(_)) => delete_mirror(shared, pod).await,
                _ => {}
            },
            Err(status) => {
                // The node's namespace or account may not be there yet; the pod itself runs meanwhile.
                tracing::debug!(status = %status.message, "cannot create a mirror pod");
                if pause > std::time::Duration::from_secs(60) {
                    return;
                }
            }
        }
        shared.env.sleep(pause).await;
        pause *= 2;
    }
}

/// Takes a mirror out of the API at once.
pub async fn delete_mirror(shared: &Shared, pod: &Pod) {
    let api = shared.client.namespaced::<Pod>(&pod.metadata.namespace);
    let options = call::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    if let Err(status) = api.delete(&pod.metadata.name, &options).await
        && status.code != 404
    {
        tracing::warn!(status = %status.message, "cannot delete a mirror pod");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests() {
        let yaml =
            b"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b}]}\n";
        let pod = parse(yaml, Path::new("/x/web.yaml"), "n1").unwrap();
        assert_eq!((pod.metadata.name.as_str(), pod.metadata.namespace.as_str()), ("web-n1", "default"));
        assert_eq!(pod.metadata.uid.len(), 32);
        assert_eq!(pod.spec.node_name, "n1");
        let other = parse(&[yaml.as_slice(), b"#\n"].concat(), Path::new("/x/web.yaml"), "n1").unwrap();
        assert_eq!(other.metadata.uid, pod.metadata.uid, "a comment changes nothing");
        let changed = String::from_utf8_lossy(yaml).replace("image: b", "image: c");
        let changed = parse(changed.as_bytes(), Path::new("/x/web.yaml"), "n1").unwrap();
        assert_ne!(changed.metadata.uid, pod.metadata.uid, "a change is another pod");
        assert_eq!(pod.spec.restart_policy, "Always");
        assert_eq!(pod.spec.tolerations[0].effect, "NoExecute");
        assert!(parse(b"kind: Service", Path::new("/x"), "n1").is_err());
        assert!(parse(b"{{{", Path::new("/x"), "n1").is_err());
        let refused = |spec: &str| {
            let text = format!("kind: Pod\nmetadata: {{name: web}}\nspec: {{{spec}}}\n");
            parse(text.as_bytes(), Path::new("/x"), "n1").unwrap_err()
        };
        let why = refused("containers: [{name: a, image: b, ports: [{containerPort: 99999}]}]");
        assert!(
            why.starts_with("invalid pod: spec.containers[0].ports[0].containerPort: Invalid value"),
            "{why}"
        );
        let why = refused("serviceAccountName: x, containers: [{name: a, image: b}]");
        assert_eq!(why, "static pods may not reference serviceaccounts");
    }
}
