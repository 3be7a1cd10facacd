//! Deletes requests that nobody needs any more.

use std::time::Duration;

use informer::Key;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World};
use types::certificates::v1::CertificateSigningRequest;

use super::authority::expiry;

/// After their decision, requests stay this long to be looked at.
const DECIDED_S: i64 = 3600;
/// Requests without a decision, or without the certificate that should follow, stay this long.
const PENDING_S: i64 = 24 * 3600;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    let name = "certificatesigningrequest-cleaner-controller";
    Controller::new("certificate_clean", name, context.clone(), Cleaning)
        .of::<CertificateSigningRequest>()
        .start()
}

pub(crate) struct Cleaning;

impl Reconciler for Cleaning {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(csr) = world.get_key::<CertificateSigningRequest>(key) else { return Next::Done };
        let left = ends_s(&csr).saturating_sub(world.unix_seconds());
        if left > 0 {
            return Next::After(Duration::from_secs(left.unsigned_abs()));
        }
        plan.delete(&*csr);
        Next::Done
    }
}

/// When the request is to go, in seconds since 1970.
fn ends_s(csr: &CertificateSigningRequest) -> i64 {
    let created = csr.metadata.creation_timestamp.map_or(0, |time| time.seconds);
    let issued = !csr.status.certificate.0.is_empty();
    let mut ends = i64::MAX;
    if csr.status.conditions.is_empty() {
        ends = created + PENDING_S;
    }
    for condition in &csr.status.conditions {
        let since = condition.last_update_time.map_or(created, |time| time.seconds);
        let after = match condition.type_.as_str() {
            "Approved" if issued => since + DECIDED_S,
            "Approved" => since + PENDING_S,
            "Denied" | "Failed" => since + DECIDED_S,
            _ => i64::MAX,
        };
        ends = ends.min(after);
    }
    if issued {
        ends = ends.min(expiry(&csr.status.certificate.0).unwrap_or(i64::MAX));
    }
    ends
}
