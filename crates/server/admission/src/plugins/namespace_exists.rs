//! NamespaceExists: nothing happens in a namespace that is not there.

use meta::{GroupResource, Object, Status};
use types::core::v1::Namespace;

use super::Plugin;
use crate::review::{Operation, Review};
use crate::world::{World, WorldExt};

/// See the module.
pub struct NamespaceExists;

impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn validate(&self, review: &Review<'_>, _: Option<&dyn Object>, world: &dyn World) -> Result<(), Status> {
        let namespace = review.namespace();
        let about_it = review.on("", "namespaces") || review.operation == Operation::Connect;
        if namespace.is_empty() || about_it || world.get::<Namespace>("", namespace).is_some() {
            return Ok(());
        }
        Err(Status::not_found(&GroupResource::new("", "namespaces"), namespace))
    }
}
