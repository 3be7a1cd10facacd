//! `ferrokube why` and `ferrokube whatif`: questions about scheduling, answered from the live cluster without changing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::scheduler::core::Core;
use ::scheduler::explain;
use ::scheduler::pod_info::PodInfo;
use ::scheduler::profile::Profile;
use anyhow::{Context, Result, bail};
use client::{Client, remote};
use env::Env;
use informer::Informers;
use meta::Quantity;
use serde::Deserialize as _;
use types::core::v1::{Node, Pod};

use crate::paths::Paths;
use crate::progress::print_line;

/// Options of `ferrokube why`.
#[derive(Clone, Debug, clap::Args)]
pub struct WhyOptions {
    /// Name of the pod
    pub pod: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Another cluster than this machine's
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Options of `ferrokube whatif`.
#[derive(Clone, Debug, clap::Args)]
pub struct WhatIfOptions {
    /// Manifest of the pods to suppose, YAML or JSON (may be repeated)
    #[arg(short, long = "filename", value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// Suppose one more node, such as `cpu=8,memory=32Gi,disk=ssd`: what is no resource is a label (may be repeated)
    #[arg(long, value_name = "SHAPE")]
    pub add_node: Vec<String>,
    /// Suppose that a node is gone and its pods look for another one (may be repeated)
    #[arg(long, value_name = "NODE")]
    pub drain: Vec<String>,
    /// Namespace of pods that name none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Another cluster than this machine's
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

fn connect(kubeconfig: Option<&Path>, paths: &Paths) -> Result<Arc<Informers>> {
    let own = paths.admin_kubeconfig();
    let config = remote::Config::from_kubeconfig(kubeconfig.unwrap_or(&own), None)
        .context("cannot read the kubeconfig; does the cluster run? (ferrokube up)")?;
    let client = Client::new(Arc::new(remote::Remote::new(config)?));
    Ok(Informers::new(client, Env::real()))
}

/// Says per node why the pod does not run there, and what would help.
pub async fn why(options: WhyOptions, paths: &Paths) -> Result<()> {
    let informers = connect(options.kubeconfig.as_deref(), paths)?;
    let mut core = ::scheduler::live::load(&informers, vec![Profile::default()]).await;
    let Some(pod) = informers.cache::<Pod>().get(&options.namespace, &options.pod) else {
        bail!("there is no pod {:?} in namespace {:?}", options.pod, options.namespace);
    };
    if !pod.spec.node_name.is_empty() {
        print_line(&format!("{} runs on {}", options.pod, pod.spec.node_name));
        return Ok(());
    }
    let gated = ::scheduler::queue::gate(&core.profiles[0], &pod, &core.snapshot.cluster);
    if let Some(gate) = gated {
        print_line(&format!("{}: {}", gate.plugin, gate.reasons.join(", ")));
        return Ok(());
    }
    match explain::why(&mut core, &Arc::new(PodInfo::new(pod)), 0) {
        Err(refusal) => {
            print_line(&format!("every node: {}: {}", refusal.plugin, refusal.reasons.join(", ")))
        }
        Ok(verdicts) if verdicts.is_empty() => print_line("there are no nodes"),
        Ok(verdicts) => verdicts.iter().for_each(|verdict| print_line(&verdict.line())),
    }
    Ok(())
}

/// What is supposed of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct WhatIf {
    /// Manifests of pods that come.
    pub(crate) manifests: Vec<String>,
    /// Shapes of nodes that come.
    pub(crate) add_node: Vec<String>,
    /// Nodes that go.
    pub(crate) drain: Vec<String>,
    /// Namespace of pods that name none.
    pub(crate) namespace: String,
}

/// Changes the cluster as supposed: the pods that look for a node then.
pub(crate) fn suppose(core: &mut Core, asked: &WhatIf) -> Result<Vec<Arc<PodInfo>>> {
    for (number, shape) in asked.add_node.iter().enumerate() {
        core.snapshot.set_node(Arc::new(shaped(shape, &format!("supposed-{}", number + 1))?));
    }
    let mut pods = Vec::new();
    for node in &asked.drain {
        pods.extend(drain(core, node)?);
    }
    for (number, text) in asked.manifests.iter().enumerate() {
        let read = read_pods(text, &asked.namespace).with_context(|| format!("manifest {}", number + 1))?;
        pods.extend(read);
    }
    Ok(pods)
}

/// Says where pods would go.
pub async fn what_if(options: WhatIfOptions, paths: &Paths) -> Result<()> {
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
    };
    let asked = WhatIf {
        manifests: options.filename.iter().map(read).collect::<Result<_>>()?,
        add_node: options.add_node,
        drain: options.drain,
        namespace: options.namespace,
    };
    let informers = connect(options.kubeconfig.as_deref(), paths)?;
    let mut core = ::scheduler::live::load(&informers, vec![Profile::default()]).await;
    let pods = suppose(&mut core, &asked)?;
    for (pod, outcome) in explain::what_if(&mut core, pods, 0) {
        let name = format!("{}/{}", pod.pod.metadata.namespace, pod.pod.metadata.name);
        print_line(&match outcome {
            Ok(node) => format!("{name}: {node}"),
            Err(reason) => format!("{name}: none: {reason}"),
        });
    }
    Ok(())
}

/// Takes a node out. Its pods, but those of DaemonSets and static ones, look for another.
fn drain(core: &mut Core, node: &str) -> Result<Vec<Arc<PodInfo>>> {
    let index = core.snapshot.index_of(node).with_context(|| format!("there is no node {node:?}"))?;
    let on_node = core.snapshot.row(index).pods.clone();
    core.snapshot.remove_node(node);
    let mut moving = Vec::new();
    for pod in on_node {
        core.snapshot.remove_pod(pod.uid());
        let owner = pod.pod.metadata.controller().map(|owner| owner.kind.as_str());
        if matches!(owner, Some("DaemonSet" | "Node")) {
            continue;
        }
        let mut free = (*pod.pod).clone();
        free.spec.node_name = Default::default();
        moving.push(Arc::new(PodInfo::new(Arc::new(free))));
    }
    Ok(moving)
}

/// A node of a shape such as `cpu=8,memory=32Gi,disk=ssd`.
fn shaped(shape: &str, name: &str) -> Result<Node> {
    let mut node = Node::default();
    node.metadata.name = name.into();
    node.metadata.labels.insert("kubernetes.io/hostname", name.into());
    node.status.allocatable.insert("pods", quantity("110")?);
    for item in shape.split(',').filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').with_context(|| format!("{item:?} is not KEY=VALUE"))?;
        let native =
            matches!(key, "cpu" | "memory" | "ephemeral-storage" | "pods") || key.starts_with("hugepages-");
        if native || ::scheduler::plugins::fit::is_extended(key) && value.parse::<u64>().is_ok() {
            node.status.allocatable.insert(key, quantity(value)?);
        } else {
            node.metadata.labels.insert(key, value.into());
        }
    }
    Ok(node)
}

fn quantity(text: &str) -> Result<Quantity> {
    text.parse().map_err(|error| anyhow::anyhow!("{text:?} is no quantity: {error}"))
}

/// The pods of a manifest; of workloads those of their templates.
fn read_pods(text: &str, namespace: &str) -> Result<Vec<Arc<PodInfo>>> {
    let mut pods = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let document = serde_json::Value::deserialize(document)?;
        if document.is_null() {
            continue;
        }
        let (template, count) = match document["kind"].as_str().unwrap_or_default() {
            "Pod" => (document.clone(), 1),
            "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
                (document["spec"]["template"].clone(), document["spec"]["replicas"].as_u64().unwrap_or(1))
            }
            "Job" => {
                (document["spec"]["template"].clone(), document["spec"]["parallelism"].as_u64().unwrap_or(1))
            }
            other => bail!("{other:?} has no pods that this command knows of"),
        };
        for number in 0..count.min(100_000) {
            let mut pod: Pod = meta::from_value(template.clone())?;
            let name = document["metadata"]["name"].as_str().unwrap_or("pod");
            let own = if count == 1 { name.to_owned() } else { format!("{name}-{number}") };
            pod.metadata.uid = format!("supposed-{}-{own}", pods.len()).into();
            pod.metadata.name = own.into();
            let given = document["metadata"]["namespace"].as_str().unwrap_or(namespace);
            pod.metadata.namespace = given.into();
            if pod.spec.scheduler_name.is_empty() {
                pod.spec.scheduler_name = "default-scheduler".into();
            }
            pods.push(Arc::new(PodInfo::new(Arc::new(pod))));
        }
    }
    Ok(pods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_resources_and_labels() {
        let node = shaped("cpu=8,memory=1Gi,example.com/gpu=2,disk=ssd", "x").unwrap();
        assert_eq!(node.status.allocatable.get("cpu").unwrap().milli_value(), 8000);
        assert_eq!(node.status.allocatable.get("example.com/gpu").unwrap().value(), 2);
        assert_eq!(node.metadata.label("disk"), "ssd");
        assert!(shaped("cpu", "x").is_err() && shaped("cpu=lots", "x").is_err());
    }

    #[test]
    fn workloads_stand_for_their_pods() {
        let text = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3, template: {spec: {containers: [{name: c}]}}}\n---\nkind: Pod\nmetadata: {name: p, namespace: n}\nspec: {containers: [{name: c}]}\n";
        let names: Vec<String> = read_pods(text, "default")
            .unwrap()
            .iter()
            .map(|pod| format!("{}/{}", pod.pod.metadata.namespace, pod.pod.metadata.name))
            .collect();
        assert_eq!(names, ["default/web-0", "default/web-1", "default/web-2", "n/p"]);
        assert!(read_pods("kind: Service\n", "default").is_err());
    }
}
