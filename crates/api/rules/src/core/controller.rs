//! ReplicationControllers and PodTemplates.

use super::pod::{default, drop_disabled, template, warnings};
use crate::check::Errs;
use crate::fill::set;
use crate::rule::{counted, spec_and_status};
use crate::{Context, Path, Rules};
use meta::{BadValue, Map, Str};
use types::core::v1::*;

/// What is said of a selector that does not choose the pods of its template.
pub(crate) const NO_MATCH: &str = "`selector` does not match template `labels`";

impl Rules for ReplicationController {
    const CHECKS_GENERATE_NAME: bool = false;
    const FIELD_LABELS: &'static [&'static str] = &["status.replicas"];
    const ORPHANS_BY_DEFAULT: bool = true;
    spec_and_status!(generation);

    fn default(&mut self) {
        let labels: Map<Str> =
            self.spec.template.as_ref().map(|t| t.metadata.labels.clone()).unwrap_or_default();
        if !labels.is_empty() {
            if self.spec.selector.is_empty() {
                self.spec.selector = labels.clone();
            }
            if self.metadata.labels.is_empty() {
                self.metadata.labels = labels;
            }
        }
        set(&mut self.spec.replicas, 1);
        if let Some(template) = &mut self.spec.template {
            default::spec(&mut template.spec);
        }
    }

    fn drop_disabled(&mut self) {
        if let Some(template) = &mut self.spec.template {
            drop_disabled(&mut template.spec);
        }
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        e.non_negative(&at.child("minReadySeconds"), spec.min_ready_seconds);
        if spec.selector.is_empty() {
            e.required(&at.child("selector"), "");
        }
        e.non_negative_opt(&at.child("replicas"), spec.replicas);
        let template_at = at.child("template");
        let Some(t) = &spec.template else { return e.required(&template_at, "") };
        let labels = &t.metadata.labels;
        if spec.selector.iter().any(|(k, v)| labels.get(k) != Some(v)) {
            e.invalid(&template_at.child("metadata").child("labels"), BadValue::of(labels), NO_MATCH);
        }
        template::check(e, &template_at, t, cx);
        let spec_at = template_at.child("spec");
        e.one_of(&spec_at.child("restartPolicy"), &t.spec.restart_policy, &["Always"]);
        if t.spec.active_deadline_seconds.is_some() {
            e.forbidden(
                &spec_at.child("activeDeadlineSeconds"),
                "activeDeadlineSeconds in ReplicationController is not Supported",
            );
        }
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let s = &self.status;
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
            let status = Path::root("status");
            let at = status.child("availableReplicas");
            e.invalid(&at, s.available_replicas, "cannot be greater than readyReplicas");
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let spec = Path::root("spec");
        let name = old.is_none().then(|| warnings::workload_name(&self.metadata.name)).flatten();
        let mut out: Vec<String> = name.into_iter().collect();
        // Upstream looks at the template that an update replaces.
        let template = old.unwrap_or(self).spec.template.iter().filter(|_| counted(self, old));
        out.extend(template.flat_map(|t| warnings::template(&spec.child("template"), t)));
        out
    }

    fn field(&self, label: &str) -> Option<Str> {
        (label == "status.replicas").then(|| self.status.replicas.to_string().into())
    }
}

/// Counts in a status: none negative, none above the number of replicas.
pub(crate) fn replica_counts(e: &mut Errs, replicas: i32, observed_generation: i64, counts: &[(&str, i32)]) {
    let at = Path::root("status");
    e.non_negative(&at.child("replicas"), replicas);
    for (field, count) in counts {
        e.non_negative(&at.child(field), *count);
    }
    e.non_negative(&at.child("observedGeneration"), observed_generation);
    for (field, count) in counts.iter().filter(|(_, c)| *c > replicas) {
        e.invalid(&at.child(field), *count, "cannot be greater than status.replicas");
    }
}

impl Rules for PodTemplate {
    const GENERATION: bool = true;

    fn default(&mut self) {
        default::spec(&mut self.template.spec);
    }

    fn spec_differs(&self, old: &Self) -> bool {
        self.template != old.template
    }

    fn drop_disabled(&mut self) {
        drop_disabled(&mut self.template.spec);
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        template::check(e, &Path::root("template"), &self.template, cx);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if !counted(self, old) {
            return Vec::new();
        }
        warnings::template(&Path::root("template"), &self.template)
    }
}
