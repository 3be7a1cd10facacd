//! ReplicaSets.

use super::{UNUSABLE_SELECTOR, forever, selector};
use crate::check::Errs;
use crate::core::controller::replica_counts;
use crate::core::pod::{default, drop_disabled, warnings};
use crate::fill::set;
use crate::rule::{counted, spec_and_status};
use crate::{Context, Path, Rules};
use types::apps::v1::ReplicaSet;

impl Rules for ReplicaSet {
    spec_and_status!(generation);

    fn default(&mut self) {
        default::spec(&mut self.spec.template.spec);
        set(&mut self.spec.replicas, 1);
    }

    fn drop_disabled(&mut self) {
        drop_disabled(&mut self.spec.template.spec);
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        e.non_negative_opt(&at.child("replicas"), spec.replicas);
        e.non_negative(&at.child("minReadySeconds"), spec.min_ready_seconds);
        let chosen = spec.selector.as_deref();
        // Upstream says "deployment" here too.
        if selector(e, &at.child("selector"), chosen, "deployment", UNUSABLE_SELECTOR) {
            let deadline = "activeDeadlineSeconds in ReplicaSet is not Supported";
            forever(e, &at.child("template"), &spec.template, chosen, deadline, cx);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        super::fixed_selector(e, self.spec.selector.as_deref(), old.spec.selector.as_deref());
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let s = &self.status;
        let status = Path::root("status");
        e.non_negative_opt(&status.child("terminatingReplicas"), s.terminating_replicas);
        replica_counts(
            e,
            s.replicas,
            s.observed_generation,
            &[
                ("fullyLabeledReplicas", s.fully_labeled_replicas),
                ("readyReplicas", s.ready_replicas),
                ("availableReplicas", s.available_replicas),
            ],
        );
        if s.available_replicas > s.ready_replicas {
            let at = Path::root("status");
            e.invalid(
                &at.child("availableReplicas"),
                s.available_replicas,
                "cannot be greater than readyReplicas",
            );
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let name = old.is_none().then(|| warnings::workload_name(&self.metadata.name)).flatten();
        let mut out: Vec<String> = name.into_iter().collect();
        if counted(self, old) {
            out.extend(warnings::template(&Path::root("spec").child("template"), &self.spec.template));
        }
        out
    }
}
