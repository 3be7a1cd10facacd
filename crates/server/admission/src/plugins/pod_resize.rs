//! PodResizeValidator: a running pod is not resized beyond what its node could ever give, nor where nodes cannot resize.

use meta::{Object, Status};
use types::core::v1::{Node, Pod};

use super::Plugin;
use crate::refuse::forbidden;
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
        let refuse = |why: String| Err(forbidden(review, object, &why));
        let name = pod.spec.node_name.as_str();
        let Some(node) = world.get::<Node>("", name) else {
            return refuse(format!("node {name:?} not found"));
        };
        let requests = requests_of_spec(pod, true);
        let amounts = |resource: &str| {
            let of = |map: &meta::Map<meta::Quantity>| map.get(resource).copied().unwrap_or_default();
            (of(&requests), of(&node.status.allocatable))
        };
        let mut lacking = Vec::new();
        let (requested, allocatable) = amounts("cpu");
        if requested.milli_value() > allocatable.milli_value() {
            let (requested, allocatable) = (requested.milli_value(), allocatable.milli_value());
            lacking.push(format!("cpu, requested: {requested}, allocatable: {allocatable}"));
        }
        let (requested, allocatable) = amounts("memory");
        if requested.value() > allocatable.value() {
            let (requested, allocatable) = (requested.value(), allocatable.value());
            lacking.push(format!("memory, requested: {requested}, allocatable: {allocatable}"));
        }
        if !lacking.is_empty() {
            return refuse(format!("Node didn't have enough allocatable resources: {}", lacking.join("; ")));
        }
        let system = node.metadata.labels.get("kubernetes.io/os").map_or("", |os| os.as_str());
        if system != "linux" {
            return refuse(format!(
                "pod resize is only supported on linux nodes, node {name:?} is {system:?}"
            ));
        }
        Ok(())
    }
}
