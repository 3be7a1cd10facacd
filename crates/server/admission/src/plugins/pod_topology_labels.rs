//! PodTopologyLabels (KEP-4742): a pod that has a node carries the node's zone and region as labels.
//!
//! Pods that are created with a node have them from here; a binding carries them to the others.

use meta::{Object, Status, Str};
use types::core::v1::{Binding, Node, Pod};

use super::Plugin;
use crate::review::{Operation, Review, as_mut};
use crate::world::{World, WorldExt};

/// The labels that pods take over.
const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// The topology labels of a node; none for a node that does not exist.
fn topology_labels(world: &dyn World, node: &str) -> Vec<(&'static str, Str)> {
    let Some(node) = world.get::<Node>("", node) else { return Vec::new() };
    LABELS.iter().filter_map(|key| Some((*key, node.metadata.labels.get(key)?.clone()))).collect()
}

/// See the module.
pub struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if review.operation != Operation::Create || !review.on("", "pods") {
            return Ok(());
        }
        let node = match review.target.subresource.as_str() {
            "" => as_mut::<Pod>(object).map(|pod| pod.spec.node_name.clone()),
            "binding" => as_mut::<Binding>(object).map(|binding| binding.target.name.clone()),
            _ => None,
        };
        if let Some(node) = node.filter(|node| !node.is_empty()) {
            for (key, value) in topology_labels(world, &node) {
                object.meta_mut().labels.insert(key, value);
            }
        }
        Ok(())
    }
}
