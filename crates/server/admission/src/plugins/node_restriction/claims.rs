//! The status of a claim whose volume a kubelet grows.

use types::core::v1::PersistentVolumeClaim;

use super::{Case, Refusal};
use crate::review::{Operation, as_ref};

pub(super) fn status(case: &Case<'_>) -> Result<(), Refusal> {
    if case.review.operation != Operation::Update {
        return Err(case.unexpected());
    }
    let old = case.review.old.and_then(as_ref::<PersistentVolumeClaim>);
    let (Some(new), Some(old)) = (case.object.and_then(as_ref::<PersistentVolumeClaim>), old) else {
        return Ok(());
    };
    if rest(new) == rest(old) {
        return Ok(());
    }
    let why = format!(
        "node {} is not allowed to update fields other than status.quantity and status.conditions",
        case.quoted()
    );
    Err(why.into())
}

/// What a kubelet leaves alone.
fn rest(claim: &PersistentVolumeClaim) -> PersistentVolumeClaim {
    let mut claim = claim.clone();
    claim.metadata.resource_version = Default::default();
    claim.metadata.managed_fields = Default::default();
    let status = &mut claim.status;
    status.capacity = Default::default();
    status.conditions = Default::default();
    status.allocated_resources = Default::default();
    status.allocated_resource_statuses = Default::default();
    claim
}
