//! DefaultIngressClass: an ingress that names no class gets the default one.

use std::cmp::Reverse;

use meta::{Object, Status};
use types::networking::v1::{Ingress, IngressClass};

use super::Plugin;
use crate::review::{Operation, Review, as_mut};
use crate::world::{World, WorldExt};

/// See the module.
pub struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "networking.k8s.io", "ingresses") {
            return Ok(());
        }
        let Some(ingress) = as_mut::<Ingress>(object) else { return Ok(()) };
        let legacy = ingress.metadata.annotations.contains_key("kubernetes.io/ingress.class");
        if ingress.spec.ingress_class_name.is_some() || legacy {
            return Ok(());
        }
        let mut classes = world.list::<IngressClass>("");
        classes.retain(|class| {
            let key = "ingressclass.kubernetes.io/is-default-class";
            class.metadata.annotations.get(key).is_some_and(|v| v == "true")
        });
        classes.sort_by_key(|c| (Reverse(c.metadata.creation_timestamp), c.metadata.name.clone()));
        if let Some(class) = classes.first() {
            ingress.spec.ingress_class_name = Some(class.metadata.name.clone());
        }
        Ok(())
    }
}
