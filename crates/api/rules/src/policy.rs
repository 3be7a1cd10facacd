//! The group `policy`: PodDisruptionBudget.

use crate::apps::{at_most_all, count_or_percent};
use crate::check::{Errs, NameCheck, conditions, labels, path_segment};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use types::policy::v1::PodDisruptionBudget;

impl Rules for PodDisruptionBudget {
    const UNCONDITIONAL_UPDATE: bool = false;
    // Budgets are judged by what every object is judged by.
    const NAME: NameCheck = path_segment;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    const CHECKS_GENERATE_NAME: bool = false;
    spec_and_status!(generation);

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            // Upstream quotes its internal form of the whole spec.
            e.invalid(&at, crate::diff::shown(spec), "minAvailable and maxUnavailable cannot be both set");
        }
        for (field, value) in
            [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)]
        {
            if let Some(value) = value {
                count_or_percent(e, &at.child(field), value);
                at_most_all(e, &at.child(field), value);
            }
        }
        labels::selector_opt(e, &at.child("selector"), spec.selector.as_deref());
        if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
            e.one_of(&at.child("unhealthyPodEvictionPolicy"), policy, &["AlwaysAllow", "IfHealthyBudget"]);
        }
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("status");
        let s = &self.status;
        for (field, count) in [
            ("disruptionsAllowed", s.disruptions_allowed),
            ("currentHealthy", s.current_healthy),
            ("desiredHealthy", s.desired_healthy),
            ("expectedPods", s.expected_pods),
        ] {
            e.non_negative(&at.child(field), count);
        }
        conditions::conditions(e, &at.child("conditions"), &s.conditions);
    }
}
