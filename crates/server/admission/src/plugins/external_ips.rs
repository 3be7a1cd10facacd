//! DenyServiceExternalIPs: Services get no new external addresses, by which their authors could catch others' traffic.

use meta::{Object, Status};
use types::core::v1::Service;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::World;

/// See the module.
pub struct DenyServiceExternalIPs;

impl Plugin for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        _: &dyn World,
    ) -> Result<(), Status> {
        if !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let Some(service) = object.and_then(as_ref::<Service>) else { return Ok(()) };
        let old = review.old.and_then(as_ref::<Service>);
        let had = |ip| old.is_some_and(|old| old.spec.external_ips.contains(ip));
        if service.spec.external_ips.iter().all(had) {
            return Ok(());
        }
        Err(forbidden(review, object, "Use of external IPs is denied by admission control."))
    }
}
