//! What a ResourceQuota counts: which objects it is about, and how much one uses. Admission charges by it and the
//! controller counts by it, so that both come to the same sum.

mod scopes;
mod usage;

use meta::Object;

pub use scopes::{all_match, matching, selectors};
pub use usage::{measures, unspecified, usage};

fn as_ref<T: 'static>(object: &dyn Object) -> Option<&T> {
    object.as_any().downcast_ref()
}
