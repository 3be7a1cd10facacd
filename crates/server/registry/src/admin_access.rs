//! Administrators' access to devices (KEP-5018): claims may ask for it, and be given it, only in namespaces that are
//! labelled for it. This needs the namespace, so it is no rule of the kind alone.

use admission::{World, WorldExt as _};
use meta::{BadValue, FieldError, FieldErrorKind, Object};
use types::core::v1::Namespace;
use types::resource::v1::{DeviceRequest, ResourceClaim, ResourceClaimTemplate};

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// What is wrong with the requests of a new claim or template.
pub(crate) fn of_new(object: &dyn Object, world: &dyn World) -> Option<FieldError> {
    let requests = if let Some(claim) = meta::downcast_ref::<ResourceClaim>(object) {
        &claim.spec.devices.requests
    } else {
        &meta::downcast_ref::<ResourceClaimTemplate>(object)?.spec.spec.devices.requests
    };
    let asks = |r: &DeviceRequest| r.exactly.as_ref().is_some_and(|e| e.admin_access == Some(true));
    let at = requests.iter().position(asks)?;
    judge(format!("spec.devices.requests[{at}].adminAccess"), object, world)
}

/// What is wrong with the devices that a claim was given; what was given before is not asked about again.
pub(crate) fn of_status(new: &dyn Object, old: &dyn Object, world: &dyn World) -> Option<FieldError> {
    let given = |object: &dyn Object| {
        let allocation = meta::downcast_ref::<ResourceClaim>(object)?.status.allocation.clone()?;
        allocation.devices.results.iter().position(|result| result.admin_access == Some(true))
    };
    let at = given(new).filter(|_| given(old).is_none())?;
    judge(format!("status.allocation.devices.results[{at}].adminAccess"), new, world)
}

fn judge(field: String, object: &dyn Object, world: &dyn World) -> Option<FieldError> {
    let namespace = world.get::<Namespace>("", &object.meta().namespace);
    let labelled = |namespace: &Namespace| namespace.metadata.labels.get(LABEL).is_some_and(|v| v == "true");
    if namespace.is_some_and(|namespace| labelled(&namespace)) {
        return None;
    }
    Some(FieldError {
        kind: FieldErrorKind::Forbidden,
        field,
        value: BadValue::Omitted,
        detail: format!(
            "admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        ),
    })
}
