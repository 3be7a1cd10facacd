//! PersistentVolumeClaimResize: only bound claims of classes that allow it can grow.

use meta::{Object, Status};
use types::core::v1::PersistentVolumeClaim;
use types::storage::v1::StorageClass;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::{World, WorldExt};

/// See the module.
pub struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        if !review.is(Operation::Update, "", "persistentvolumeclaims") {
            return Ok(());
        }
        let (Some(claim), Some(old)) = (
            object.and_then(as_ref::<PersistentVolumeClaim>),
            review.old.and_then(as_ref::<PersistentVolumeClaim>),
        ) else {
            return Ok(());
        };
        let size = |c: &PersistentVolumeClaim| c.spec.resources.requests.get("storage").cloned();
        let (Some(new_size), Some(old_size)) = (size(claim), size(old)) else { return Ok(()) };
        if new_size <= old_size {
            return Ok(());
        }
        if old.status.phase != "Bound" {
            return Err(forbidden(review, object, "Only bound persistent volume claims can be expanded"));
        }
        let class =
            claim.spec.storage_class_name.as_deref().and_then(|name| world.get::<StorageClass>("", name));
        if class.is_some_and(|c| c.allow_volume_expansion == Some(true)) {
            return Ok(());
        }
        Err(forbidden(
            review,
            object,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }
}
