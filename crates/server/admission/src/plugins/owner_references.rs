//! OwnerReferencesPermissionEnforcement: who makes an object somebody's dependent must be allowed to delete it, and who
//! thereby holds up the owner's deletion must be allowed to do that to the owner.

use authz::Attributes;
use meta::{Object, OwnerReference, Status};

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review};
use crate::world::World;

/// See the module.
pub struct OwnerReferencesPermissionEnforcement;

impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let Some(object) =
            object.filter(|_| matches!(review.operation, Operation::Create | Operation::Update))
        else {
            return Ok(());
        };
        // What a kubelet says of a pod cannot change its owners.
        if review.on("", "pods") && review.target.subresource == "status" {
            return Ok(());
        }
        let new = &object.meta().owner_references;
        let old = review.old.map(|old| &old.meta().owner_references);
        if old.map_or(new.is_empty(), |old| old == new) {
            return Ok(());
        }
        let refuse = |why: String| Err(forbidden(review, Some(object), &why));
        let target = review.target;
        let mut delete =
            Attributes::resource("delete", &target.group, &target.resource, &target.namespace, &target.name);
        delete.version = target.version.clone();
        delete.subresource = target.subresource.clone();
        if !world.allows(review.user, &delete) {
            return refuse("cannot set an ownerRef on a resource you can't delete: , <nil>".to_owned());
        }
        let blocked_before = |uid: &str| old.is_some_and(|old| old.iter().any(|o| o.uid == uid && blocks(o)));
        for owner in new.iter().filter(|owner| blocks(owner) && !blocked_before(&owner.uid)) {
            let Some(place) = world.resource_of(&owner.api_version, &owner.kind) else {
                return refuse(format!(
                    "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: no matches for kind {:?} in version {:?}",
                    owner.api_version,
                    owner.kind,
                    owner.kind.as_str(),
                    owner.api_version.as_str()
                ));
            };
            let namespace = if place.namespaced { target.namespace.as_str() } else { "" };
            let mut finalize =
                Attributes::resource("update", &place.group, &place.plural, namespace, &owner.name);
            let version = owner.api_version.rsplit('/').next().unwrap_or_default();
            finalize.version = version.into();
            finalize.subresource = "finalizers".into();
            if !world.allows(review.user, &finalize) {
                return refuse(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn blocks(owner: &OwnerReference) -> bool {
    owner.block_owner_deletion == Some(true)
}
