//! PodResizeValidator: a running pod is not resized beyond what its node could ever give, nor where nodes cannot resize.

use meta::{Map, Object, Quantity, Status};
use types::core::v1::{Node, Pod};

use super::Plugin;
use crate::refuse::{forbidden, forbidden_because};
use crate::review::{Operation, Review, as_ref};
use crate::world::{World, WorldExt};
use rules::amounts::requests_of_spec;

/// See the module.
pub struct PodResizeValidator;

impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let resizes = review.operation == Operation::Update
            && review.on("", "pods")
            && review.target.subresource == "resize";
        let (Some(pod), Some(old)) =
            (object.and_then(as_ref::<Pod>).filter(|_| resizes), review.old.and_then(as_ref::<Pod>))
        else {
            return Ok(());
        };
        if pod.spec.node_name.is_empty() || pod.metadata.generation == old.metadata.generation {
            return Ok(());
        }
        let name = pod.spec.node_name.as_str();
        let Some(node) = world.get::<Node>("", name) else {
            return Err(forbidden(review, object, &format!("node {name:?} not found")));
        };
        if let Some(system) = node.metadata.labels.get("kubernetes.io/os").filter(|os| **os != "linux") {
            let why = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
            return Err(forbidden_because(review, object, &why, ("UnsupportedPlatform", "", "")));
        }
        let requests = requests_of_spec(pod, true);
        let mut lacking = Vec::new();
        for resource in ["cpu", "memory"] {
            let of = |map: &Map<Quantity>| map.get(resource).copied().unwrap_or_default();
            let (requested, allocatable) = (of(&requests), of(&node.status.allocatable));
            if requested > allocatable {
                let shown = |amount: Quantity| match resource {
                    "cpu" => amount.milli_value(),
                    _ => amount.value(),
                };
                let (requested, allocatable) = (shown(requested), shown(allocatable));
                lacking.push(format!("{resource}, requested: {requested}, allocatable: {allocatable}"));
            }
        }
        if !lacking.is_empty() {
            let why = format!("node didn't have enough allocatable resources: {}", lacking.join("; "));
            return Err(forbidden_because(review, object, &why, ("NodeCapacity", "", "")));
        }
        Ok(())
    }
}
