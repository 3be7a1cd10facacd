//! NamespaceAutoProvision: a namespace comes into being with the first object in it.

use futures::FutureExt;
use futures::future::BoxFuture;
use meta::{Object, Status};
use types::core::v1::Namespace;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review};
use crate::world::{World, WorldExt};

/// See the module.
pub struct NamespaceAutoProvision;

impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn provide<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a dyn Object,
        world: &'a dyn World,
    ) -> Option<BoxFuture<'a, Result<(), Status>>> {
        let namespace = review.namespace();
        let needed = review.operation == Operation::Create
            && !review.dry_run
            && !namespace.is_empty()
            && !review.on("", "namespaces")
            && world.get::<Namespace>("", namespace).is_none();
        let provide = async move {
            match world.provision(namespace).await {
                Err(status) if !status.is_already_exists() => {
                    Err(forbidden(review, Some(object), &status.message))
                }
                _ => Ok(()),
            }
        };
        needed.then(|| provide.boxed())
    }
}
