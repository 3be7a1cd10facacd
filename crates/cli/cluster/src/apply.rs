//! `ferrokube apply`: creates or changes the objects of manifest files, and waits until workloads are ready. For a start
//! without kubectl.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use call::{ListOptions, PatchKind, WriteOptions};
use client::{Client, Resource, remote};
use futures::StreamExt;
use meta::Status;
use serde::Deserialize as _;
use serde_json::Value;

use crate::paths::Paths;
use crate::progress::print_line;

/// How long `--wait` waits for one object.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Options of `ferrokube apply`.
#[derive(Clone, Debug, clap::Args)]
pub struct ApplyOptions {
    /// Manifest, YAML or JSON, of one or several objects (may be repeated)
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Wait until Deployments and Pods are ready
    #[arg(long)]
    pub wait: bool,
}

/// One object of a manifest, and where it belongs.
struct Manifest {
    resource: Resource,
    namespace: String,
    name: String,
    kind: String,
    document: Value,
}

/// Applies all manifests in order.
pub async fn run(options: ApplyOptions, paths: &Paths) -> Result<()> {
    let config = remote::Config::from_kubeconfig(&paths.admin_kubeconfig(), None)
        .context("cannot read the administrator's kubeconfig; does the cluster run? (ferrokube up)")?;
    let client = Client::new(std::sync::Arc::new(remote::Remote::new(config)?));
    let mut manifests = Vec::new();
    for file in &options.filename {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        manifests.extend(parse(&text, &options.namespace).with_context(|| file.display().to_string())?);
    }
    for manifest in &manifests {
        let verb = apply(&client, manifest).await.with_context(|| shown(manifest))?;
        print_line(&format!("{} {verb}", shown(manifest)));
    }
    for manifest in manifests.iter().filter(|_| options.wait) {
        tokio::time::timeout(WAIT_MAX, wait(&client, manifest))
            .await
            .with_context(|| format!("{} is not ready after {} s", shown(manifest), WAIT_MAX.as_secs()))??;
    }
    Ok(())
}

fn shown(manifest: &Manifest) -> String {
    format!("{}/{}", manifest.kind.to_lowercase(), manifest.name)
}

fn parse(text: &str, namespace: &str) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let document = Value::deserialize(document)?;
        if document.is_null() {
            continue;
        }
        let field =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind, name) = (field("/apiVersion"), field("/kind"), field("/metadata/name"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let Some(known) = scheme::by_kind(group, version, &kind) else {
            bail!("kind {kind:?} of {api_version:?} is none that this command knows");
        };
        if name.is_empty() {
            bail!("a {kind} has no metadata.name");
        }
        let namespace = match (known.namespaced, field("/metadata/namespace")) {
            (false, _) => String::new(),
            (true, own) if own.is_empty() => namespace.to_owned(),
            (true, own) => own,
        };
        let resource = Resource::new(group, version, &known.plural);
        manifests.push(Manifest { resource, namespace, name, kind, document });
    }
    Ok(manifests)
}

/// Looks first: a create of a Service that exists is refused for its node port, not for its name.
async fn apply(client: &Client, manifest: &Manifest) -> Result<&'static str> {
    let text = manifest.document.to_string().into_bytes();
    let api = client.dynamic(&manifest.resource, &manifest.namespace);
    match api.get(&manifest.name).await {
        Ok(_) => {
            let options = WriteOptions { field_manager: "ferrokube-apply".into(), ..WriteOptions::default() };
            api.patch(&manifest.name, "", PatchKind::Strategic, text.into(), &options).await?;
            Ok("configured")
        }
        Err(Status { code: 404, .. }) => {
            api.create(scheme::decode_json(&text, &mut meta::DecodeContext::default())?).await?;
            Ok("created")
        }
        Err(status) => Err(status.into()),
    }
}

/// Follows the object until it is ready; kinds that have nothing to wait for are ready at once.
async fn wait(client: &Client, manifest: &Manifest) -> Result<()> {
    if !matches!(manifest.kind.as_str(), "Deployment" | "Pod") {
        return Ok(());
    }
    let api = client.dynamic(&manifest.resource, &manifest.namespace);
    let options = ListOptions {
        field_selector: format!("metadata.name={}", manifest.name).into(),
        ..ListOptions::default()
    };
    let mut shown_before = String::new();
    loop {
        let mut events = api.watch(&options).await?;
        while let Some(Ok(event)) = events.next().await {
            let (ready, progress) = readiness(&manifest.kind, &value(&*event.object));
            let line = format!("  {}: {progress}", shown(manifest));
            if line != shown_before {
                print_line(&line);
                shown_before = line;
            }
            if ready {
                return Ok(());
            }
        }
    }
}

fn value(object: &dyn meta::Object) -> Value {
    let mut json = Vec::new();
    object.encode_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_default()
}

/// Whether an object is ready, and how far it is.
fn readiness(kind: &str, object: &Value) -> (bool, String) {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    if kind == "Pod" {
        let conditions =
            object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
        return (ready || phase == "Succeeded", phase.to_owned());
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let (updated, available) = (number("/status/updatedReplicas"), number("/status/availableReplicas"));
    let seen = number("/status/observedGeneration") >= number("/metadata/generation");
    let ready = seen && updated == wanted && available == wanted && number("/status/replicas") == wanted;
    (ready, format!("{available} of {wanted} pods are available"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manifests_are_split_and_placed() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
        let parsed = parse(text, "here").unwrap();
        let shape: Vec<_> = parsed.iter().map(|one| (one.kind.as_str(), one.namespace.as_str())).collect();
        assert_eq!(shape, [("Namespace", ""), ("Deployment", "here")]);
        for bad in
            ["kind: X\napiVersion: v1\nmetadata: {name: a}", "kind: Pod\napiVersion: v1", "a: [", "kind: 5"]
        {
            assert!(parse(bad, "here").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_deployment_is_ready_when_all_its_new_pods_are() {
        let object = |observed: i64, updated: i64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3},
                   "status": {"observedGeneration": observed, "replicas": 3, "updatedReplicas": updated, "availableReplicas": 3}})
        };
        assert!(readiness("Deployment", &object(2, 3)).0);
        assert!(!readiness("Deployment", &object(1, 3)).0);
        assert!(!readiness("Deployment", &object(2, 2)).0);
    }
}
