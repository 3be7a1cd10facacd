//! NamespaceLifecycle: nothing is created in a namespace that does not exist or is going away, and the namespaces that
//! the cluster needs stay.

use meta::{Object, Status};
use types::core::v1::Namespace;

use super::Plugin;
use crate::refuse::{forbidden, forbidden_because};
use crate::review::{Operation, Review};
use crate::world::{World, WorldExt};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// See the module.
pub struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        check(review, Some(object), world)
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        _: &dyn World,
    ) -> Result<(), Status> {
        if review.is(Operation::Delete, "", "namespaces") && IMMORTAL.contains(&review.target.name.as_str()) {
            return Err(forbidden(review, object, "this namespace may not be deleted"));
        }
        Ok(())
    }
}

fn check(review: &Review<'_>, object: Option<&dyn Object>, world: &dyn World) -> Result<(), Status> {
    let namespace = review.namespace();
    if namespace.is_empty() || review.on("", "namespaces") || review.operation != Operation::Create {
        return Ok(());
    }
    // An access review tells what would be allowed, also where nothing exists.
    if review.on("authorization.k8s.io", "localsubjectaccessreviews") {
        return Ok(());
    }
    let Some(found) = world.get::<Namespace>("", namespace) else {
        return Err(Status::not_found(&meta::GroupResource::new("", "namespaces"), namespace));
    };
    if found.status.phase == "Terminating" || found.metadata.deletion_timestamp.is_some() {
        return Err(forbidden_because(
            review,
            object,
            &format!("unable to create new content in namespace {namespace} because it is being terminated"),
            (
                "NamespaceTerminating",
                "metadata.namespace",
                &format!("namespace {namespace} is being terminated"),
            ),
        ));
    }
    Ok(())
}
