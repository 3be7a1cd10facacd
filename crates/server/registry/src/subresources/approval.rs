//! Conditions of certificate signing requests: the server notes when each was set and when it last changed.

use meta::{Object, Time};
use types::certificates::v1::CertificateSigningRequest;

/// Fills in the times of conditions that are new or changed; other kinds are left alone.
pub(crate) fn stamp_conditions(new: &mut dyn Object, old: &dyn Object, now_s: i64) {
    let (Some(new), Some(old)) = (
        new.as_any_mut().downcast_mut::<CertificateSigningRequest>(),
        meta::downcast_ref::<CertificateSigningRequest>(old),
    ) else {
        return;
    };
    let now = Time::from_unix(now_s);
    for condition in new.status.conditions.iter_mut() {
        let before = old.status.conditions.iter().find(|c| c.type_ == condition.type_);
        condition.last_update_time.get_or_insert(now);
        let since = before.filter(|b| b.status == condition.status).and_then(|b| b.last_transition_time);
        condition.last_transition_time.get_or_insert(since.unwrap_or(now));
    }
}
