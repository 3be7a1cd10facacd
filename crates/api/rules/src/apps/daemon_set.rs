//! DaemonSets.

use super::{amount, at_most_all, collisions, count_or_percent, matches_template, runs_forever};
use crate::check::{Errs, Raw, labels};
use crate::core::pod::{default, drop_disabled, template, warnings};
use crate::fill::{set, text};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules, diff};
use meta::{BadValue, IntOrString};
use std::num::IntErrorKind;
use types::apps::v1::{DaemonSet, DaemonSetSpec};

/// Annotation that counts the templates of a DaemonSet, which older versions had a field for.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(set: &DaemonSet) -> i64 {
    set.metadata.annotations.get(TEMPLATE_GENERATION).and_then(|count| count.parse().ok()).unwrap_or_default()
}

impl Rules for DaemonSet {
    spec_and_status!(generation);

    fn default(&mut self) {
        let spec = &mut self.spec;
        default::spec(&mut spec.template.spec);
        text(&mut spec.update_strategy.type_, "RollingUpdate");
        if spec.update_strategy.type_ == "RollingUpdate" {
            let rolling = spec.update_strategy.rolling_update.get_or_insert_default();
            set(&mut rolling.max_unavailable, IntOrString::Int(1));
            set(&mut rolling.max_surge, IntOrString::Int(0));
        }
        // Upstream's unversioned type knows no absent amount.
        if let Some(rolling) = &mut spec.update_strategy.rolling_update {
            set(&mut rolling.max_unavailable, IntOrString::Int(0));
            set(&mut rolling.max_surge, IntOrString::Int(0));
        }
        set(&mut spec.revision_history_limit, 10);
        // Upstream's unversioned type always has a count, which every version shows.
        self.metadata.annotations.get_or_insert_with(TEMPLATE_GENERATION, || "0".into());
    }

    fn unreadable(&self) -> Option<String> {
        let count = self.metadata.annotations.get(TEMPLATE_GENERATION)?;
        let why = match count.parse::<i64>().map_err(|error| *error.kind()) {
            Ok(_) => return None,
            Err(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => "value out of range",
            Err(_) => "invalid syntax",
        };
        Some(format!("strconv.ParseInt: parsing {}: {why}", meta::go_quote(count)))
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.clear_status();
        self.metadata.generation = 1;
        self.metadata.annotations.insert(TEMPLATE_GENERATION, "1".into());
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.keep_status(old);
        self.count_generation(old);
        let counted = template_generation(old) + i64::from(self.spec.template != old.spec.template);
        self.metadata.annotations.insert(TEMPLATE_GENERATION, counted.to_string().into());
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        self.metadata.annotations.insert(TEMPLATE_GENERATION, template_generation(old).to_string().into());
    }

    fn drop_disabled(&mut self) {
        drop_disabled(&mut self.spec.template.spec);
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        let chosen = spec.selector.as_deref();
        let (selector_at, template_at) = (at.child("selector"), at.child("template"));
        if chosen.is_none_or(|s| labels::usable_selector(e, &selector_at, s)) {
            matches_template(e, &template_at, &spec.template, chosen);
        }
        if let Some(chosen) = chosen.filter(|s| labels::is_empty(s)) {
            e.invalid(&selector_at, BadValue::json(chosen), "empty selector is invalid for daemonset");
        }
        template::check(e, &template_at, &spec.template, cx);
        runs_forever(e, &template_at, &spec.template, "activeDeadlineSeconds in DaemonSet is not Supported");
        e.non_negative(&at.child("minReadySeconds"), spec.min_ready_seconds);
        strategy(e, &at.child("updateStrategy"), spec);
        e.non_negative_opt(&at.child("revisionHistoryLimit"), spec.revision_history_limit);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        // Unlike the other workloads, the selector is compared before the rest is checked.
        super::fixed_selector(e, self.spec.selector.as_deref(), old.spec.selector.as_deref());
        self.check(e, cx);
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        let s = &self.status;
        let at = Path::root("status");
        for (field, count) in [
            ("currentNumberScheduled", i64::from(s.current_number_scheduled)),
            ("numberMisscheduled", s.number_misscheduled.into()),
            ("desiredNumberScheduled", s.desired_number_scheduled.into()),
            ("numberReady", s.number_ready.into()),
            ("observedGeneration", s.observed_generation),
            ("updatedNumberScheduled", s.updated_number_scheduled.into()),
            ("numberAvailable", s.number_available.into()),
            ("numberUnavailable", s.number_unavailable.into()),
        ] {
            e.non_negative(&at.child(field), count);
        }
        e.non_negative_opt(&at.child("collisionCount"), s.collision_count);
        collisions(e, s.collision_count, old.status.collision_count);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old.is_some_and(|old| template_generation(old) == template_generation(self)) {
            return Vec::new();
        }
        warnings::template(&Path::root("spec").child("template"), &self.spec.template)
    }
}

fn strategy(e: &mut Errs, at: &Path<'_>, spec: &DaemonSetSpec) {
    let strategy = &spec.update_strategy;
    let rolling_at = at.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => e.required(&rolling_at, ""),
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
            for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
                if let Some(value) = value {
                    count_or_percent(e, &rolling_at.child(field), value);
                    at_most_all(e, &rolling_at.child(field), value);
                }
            }
            let has = (amount(unavailable) != 0, amount(surge) != 0);
            let shown = |value: Option<&IntOrString>| value.map_or(Raw("0".into()), |v| v.into());
            match has {
                (true, true) => {
                    e.invalid(
                        &rolling_at.child("maxSurge"),
                        shown(surge),
                        "may not be set when maxUnavailable is non-zero",
                    );
                }
                (false, false) => {
                    e.required(&rolling_at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                _ => {}
            }
        }
        _ => e.unsupported(at, diff::shown(strategy), &["RollingUpdate", "OnDelete"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_templates_must_be_one() {
        let unreadable = |count: &str| {
            let mut set = <DaemonSet as Default>::default();
            set.metadata.annotations.insert(TEMPLATE_GENERATION, count.into());
            set.unreadable()
        };
        assert_eq!(unreadable("12"), None);
        assert_eq!(<DaemonSet as Default>::default().unreadable(), None);
        for (count, why) in [
            ("", r#"strconv.ParseInt: parsing "": invalid syntax"#),
            ("1x", r#"strconv.ParseInt: parsing "1x": invalid syntax"#),
            (
                "99999999999999999999",
                r#"strconv.ParseInt: parsing "99999999999999999999": value out of range"#,
            ),
        ] {
            assert_eq!(unreadable(count).as_deref(), Some(why));
        }
    }
}
