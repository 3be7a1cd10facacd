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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meta::Codec as _;

    use super::*;

    /// One namespace, and nothing else.
    struct OneNamespace(Arc<Namespace>, env::Random);

    impl World for OneNamespace {
        fn find(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<dyn Object>> {
            Some(self.0.clone())
        }
        fn all(&self, _: &str, _: &str, _: &str) -> Vec<Arc<dyn Object>> {
            Vec::new()
        }
        fn allows(&self, _: &authn::User, _: &authz::Attributes) -> bool {
            false
        }
        fn random(&self) -> &env::Random {
            &self.1
        }
    }

    fn world(label: &str) -> OneNamespace {
        let mut namespace = Namespace::default();
        namespace.metadata.labels.insert(LABEL, label.into());
        OneNamespace(Arc::new(namespace), env::Env::real().random)
    }

    #[test]
    fn asking_and_getting() {
        let claim = |json: &str| ResourceClaim::from_json(json.as_bytes()).unwrap();
        let asks = claim(
            r#"{"spec":{"devices":{"requests":[{"name":"a"},{"name":"b","exactly":{"deviceClassName":"c","adminAccess":true}}]}}}"#,
        );
        let got = claim(
            r#"{"status":{"allocation":{"devices":{"results":[{"request":"a","driver":"d","pool":"p","device":"x","adminAccess":true}]}}}}"#,
        );
        let field = |problem: Option<FieldError>| problem.map(|p| p.field).unwrap_or_default();
        assert_eq!(field(of_new(&asks, &world("false"))), "spec.devices.requests[1].adminAccess");
        assert_eq!(field(of_new(&asks, &world("true"))), "");
        assert_eq!(field(of_new(&got, &world("false"))), "", "a status is no request");
        let results = "status.allocation.devices.results[0].adminAccess";
        assert_eq!(field(of_status(&got, &asks, &world("no"))), results);
        assert_eq!(field(of_status(&got, &got, &world("no"))), "", "it was given before");
    }
}
