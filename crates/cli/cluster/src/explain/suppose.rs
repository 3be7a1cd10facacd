//! What is supposed of a cluster.

use std::sync::Arc;

use ::scheduler::core::Core;
use ::scheduler::pod_info::PodInfo;
use anyhow::{Context, Result};
use types::core::v1::Node;

use super::manifest::Manifests;
use super::shape::shaped;

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

/// Changes the cluster as supposed: the pods that look for a node then, and what of the manifests has none.
pub(crate) fn suppose(core: &mut Core, asked: &WhatIf) -> Result<Manifests> {
    for (number, shape) in asked.add_node.iter().enumerate() {
        core.snapshot.set_node(Arc::new(shaped(shape, &format!("supposed-{}", number + 1))?));
    }
    let mut supposed = Manifests::default();
    for node in &asked.drain {
        supposed.pods.extend(drain(core, node)?);
    }
    let present = core.snapshot.present();
    let nodes: Vec<Arc<Node>> =
        present.iter().filter_map(|node| core.snapshot.row(node).node().cloned().map(Arc::new)).collect();
    for (number, text) in asked.manifests.iter().enumerate() {
        let read = supposed.read(text, &asked.namespace, &nodes);
        read.with_context(|| format!("manifest {}", number + 1))?;
    }
    Ok(supposed)
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
