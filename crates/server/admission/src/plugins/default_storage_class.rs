//! DefaultStorageClass: a claim that names no class gets the default one.

use std::cmp::Reverse;

use meta::{Object, Status};
use types::core::v1::PersistentVolumeClaim;
use types::storage::v1::StorageClass;

use super::Plugin;
use crate::review::{Operation, Review, as_mut};
use crate::world::{World, WorldExt};

/// See the module.
pub struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "", "persistentvolumeclaims") {
            return Ok(());
        }
        let Some(claim) = as_mut::<PersistentVolumeClaim>(object) else { return Ok(()) };
        let legacy = claim.metadata.annotations.contains_key("volume.beta.kubernetes.io/storage-class");
        if claim.spec.storage_class_name.is_some() || legacy {
            return Ok(());
        }
        let is_default = |class: &StorageClass| {
            [
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
            ]
            .iter()
            .any(|key| class.metadata.annotations.get(key).is_some_and(|v| v == "true"))
        };
        let mut classes = world.list::<StorageClass>("");
        classes.retain(|class| is_default(class));
        // The newest wins, then the first by name.
        classes.sort_by_key(|c| (Reverse(c.metadata.creation_timestamp), c.metadata.name.clone()));
        if let Some(class) = classes.first() {
            claim.spec.storage_class_name = Some(class.metadata.name.clone());
        }
        Ok(())
    }
}
