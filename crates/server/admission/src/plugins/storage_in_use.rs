//! StorageObjectInUseProtection: volumes and claims get the finalizer that keeps them while they are used.

use meta::{Object, Status};

use super::Plugin;
use crate::review::{Operation, Review};
use crate::world::World;

/// See the module.
pub struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        _: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        let finalizer = if review.is(Operation::Create, "", "persistentvolumes") {
            "kubernetes.io/pv-protection"
        } else if review.is(Operation::Create, "", "persistentvolumeclaims") {
            "kubernetes.io/pvc-protection"
        } else if review.is(Operation::Create, "storage.k8s.io", "volumeattributesclasses") {
            "kubernetes.io/vac-protection"
        } else {
            return Ok(());
        };
        let finalizers = &mut object.meta_mut().finalizers;
        if !finalizers.iter().any(|f| f == finalizer) {
            finalizers.push(finalizer.into());
        }
        Ok(())
    }
}
