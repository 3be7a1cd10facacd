//! Deployments.

use super::{UNUSABLE_SELECTOR, amount, at_most_all, collisions, count_or_percent, forever, selector};
use crate::check::Errs;
use crate::core::controller::replica_counts;
use crate::core::pod::{default, drop_disabled, warnings};
use crate::fill::{set, text};
use crate::rule::{counted, spec_and_status};
use crate::{Context, Path, Rules, diff};
use meta::{BadValue, IntOrString};
use types::apps::v1::Deployment;

impl Rules for Deployment {
    spec_and_status!(generation);

    fn default(&mut self) {
        let spec = &mut self.spec;
        default::spec(&mut spec.template.spec);
        set(&mut spec.replicas, 1);
        text(&mut spec.strategy.type_, "RollingUpdate");
        if spec.strategy.type_ == "RollingUpdate" {
            let rolling = spec.strategy.rolling_update.get_or_insert_default();
            set(&mut rolling.max_unavailable, IntOrString::String("25%".into()));
            set(&mut rolling.max_surge, IntOrString::String("25%".into()));
        }
        set(&mut spec.revision_history_limit, 10);
        set(&mut spec.progress_deadline_seconds, 600);
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.keep_status(old);
        // Annotations count too, since the controller copies them to its replica sets.
        if self.spec != old.spec || self.metadata.annotations != old.metadata.annotations {
            self.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        self.metadata.labels.clone_from(&old.metadata.labels);
    }

    fn drop_disabled(&mut self) {
        drop_disabled(&mut self.spec.template.spec);
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        e.non_negative_opt(&at.child("replicas"), spec.replicas);
        let chosen = spec.selector.as_deref();
        if selector(e, &at.child("selector"), chosen, "deployment", UNUSABLE_SELECTOR) {
            let deadline = "activeDeadlineSeconds in ReplicaSet is not Supported";
            forever(e, &at.child("template"), &spec.template, chosen, deadline, cx);
        }
        strategy(e, &at.child("strategy"), self);
        e.non_negative(&at.child("minReadySeconds"), spec.min_ready_seconds);
        e.non_negative_opt(&at.child("revisionHistoryLimit"), spec.revision_history_limit);
        if let Some(seconds) = spec.progress_deadline_seconds {
            let at = at.child("progressDeadlineSeconds");
            e.non_negative(&at, seconds);
            if seconds <= spec.min_ready_seconds {
                e.invalid(&at, seconds, "must be greater than minReadySeconds");
            }
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        super::fixed_selector(e, self.spec.selector.as_deref(), old.spec.selector.as_deref());
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        let s = &self.status;
        let at = Path::root("status");
        e.non_negative(&at.child("unavailableReplicas"), s.unavailable_replicas);
        e.non_negative_opt(&at.child("terminatingReplicas"), s.terminating_replicas);
        e.non_negative_opt(&at.child("collisionCount"), s.collision_count);
        replica_counts(
            e,
            s.replicas,
            s.observed_generation,
            &[
                ("updatedReplicas", s.updated_replicas),
                ("readyReplicas", s.ready_replicas),
                ("availableReplicas", s.available_replicas),
            ],
        );
        if s.available_replicas > s.ready_replicas {
            e.invalid(
                &at.child("availableReplicas"),
                s.available_replicas,
                "cannot be greater than readyReplicas",
            );
        }
        collisions(e, s.collision_count, old.status.collision_count);
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

fn strategy(e: &mut Errs, at: &Path<'_>, deployment: &Deployment) {
    let strategy = &deployment.spec.strategy;
    let rolling_at = at.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            e.forbidden(&rolling_at, "may not be specified when strategy `type` is 'Recreate'")
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => e.required(&rolling_at, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
            if let Some(value) = unavailable {
                count_or_percent(e, &rolling_at.child("maxUnavailable"), value);
            }
            if let Some(value) = surge {
                count_or_percent(e, &rolling_at.child("maxSurge"), value);
            }
            if amount(unavailable) == 0 && amount(surge) == 0 {
                let shown = unavailable.map_or(BadValue::Plain("0".into()), |v| v.into());
                e.invalid(&rolling_at.child("maxUnavailable"), shown, "may not be 0 when `maxSurge` is 0");
            }
            if let Some(value) = unavailable {
                at_most_all(e, &rolling_at.child("maxUnavailable"), value);
            }
        }
        _ => e.unsupported(at, diff::shown(strategy), &["Recreate", "RollingUpdate"]),
    }
}
