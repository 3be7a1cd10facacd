//! TaintNodesByCondition: a new node takes no pods until the node lifecycle controller has seen it ready.

use meta::{Object, Status};
use types::core::v1::{Node, Taint};

use super::Plugin;
use crate::review::{Operation, Review, as_mut};
use crate::world::World;

/// See the module.
pub struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        _: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "", "nodes") {
            return Ok(());
        }
        let Some(node) = as_mut::<Node>(object) else { return Ok(()) };
        let (key, effect) = ("node.kubernetes.io/not-ready", "NoSchedule");
        if !node.spec.taints.iter().any(|t| t.key == key && t.effect == effect) {
            node.spec.taints.push(Taint { key: key.into(), effect: effect.into(), ..Default::default() });
        }
        Ok(())
    }
}
