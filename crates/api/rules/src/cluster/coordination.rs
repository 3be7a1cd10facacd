//! The group `coordination.k8s.io`: Lease.

use crate::check::{Errs, qualified_name};
use crate::{Context, Path, Rules};
use types::coordination::v1::Lease;

impl Rules for Lease {
    const KNOWN_FINALIZERS: bool = false;
    const CREATE_ON_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        if let Some(seconds) = spec.lease_duration_seconds.filter(|s| *s <= 0) {
            e.invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        e.non_negative_opt(&at.child("leaseTransitions"), spec.lease_transitions);
        // Coordinated leader election, which these fields belong to, is off by default; the fields are then dropped.
        if let Some(strategy) = &spec.strategy {
            let strategy_at = at.child("strategy");
            if strategy.contains('/') || strategy != "OldestEmulationVersion" {
                e.each(&strategy_at, strategy, qualified_name(strategy));
            }
        }
        if spec.preferred_holder.as_ref().is_some_and(|h| !h.is_empty()) && spec.strategy.is_none() {
            e.forbidden(&at.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.spec.strategy = None;
        self.spec.preferred_holder = None;
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        if old.spec.strategy.is_none() {
            self.spec.strategy = None;
        }
        if old.spec.preferred_holder.is_none() {
            self.spec.preferred_holder = None;
        }
    }
}
