//! PodTopologyLabels (KEP-4742): a pod that has a node carries the node's zone and region as labels.
//!
//! Here the pods that are created with a node; binding gives the labels to the others, by [`topology_labels`].

use meta::{Object, Status, Str};
use types::core::v1::{Node, Pod};

use super::Plugin;
use crate::review::{Operation, Review, as_mut};
use crate::world::{World, WorldExt};

/// The labels that pods take over.
const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// The topology labels of a node; none for a node that does not exist.
pub fn topology_labels(world: &dyn World, node: &str) -> Vec<(&'static str, Str)> {
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
        if !review.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let Some(pod) = as_mut::<Pod>(object).filter(|pod| !pod.spec.node_name.is_empty()) else {
            return Ok(());
        };
        for (key, value) in topology_labels(world, &pod.spec.node_name) {
            pod.metadata.labels.insert(key, value);
        }
        Ok(())
    }
}
