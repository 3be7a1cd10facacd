//! Jobs.

use super::{job_labels, job_spec, job_status};
use crate::check::{Errs, dns_label, labels};
use crate::core::controller::NO_MATCH;
use crate::core::pod::{default as pod_default, drop_disabled, warnings};
use crate::fill::{set, text_opt};
use crate::rule::{counted, spec_and_status};
use crate::{Context, Path, Rules};
use meta::{BadValue, Str};
use types::batch::v1::{Job, JobSpec};

impl Rules for Job {
    const ORPHANS_BY_DEFAULT: bool = true;
    const REVALIDATES_METADATA: u8 = 1;
    const FIELD_LABELS: &'static [&'static str] = &["status.successful"];
    spec_and_status!(generation);

    fn default(&mut self) {
        let template_labels = self.spec.template.metadata.labels.clone();
        if self.metadata.labels.is_empty() {
            self.metadata.labels = template_labels;
        }
        default_spec(&mut self.spec);
    }

    fn prepare_create(&mut self, cx: &Context) {
        self.metadata.generation = 1;
        self.clear_status();
        job_labels::generate(self, cx);
    }

    fn settle(&mut self) {
        if self.metadata.labels.is_empty() {
            self.metadata.labels = self.spec.template.metadata.labels.clone();
        }
    }

    fn drop_disabled(&mut self) {
        drop_disabled(&mut self.spec.template.spec);
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        job_labels::check(e, self);
        let at = Path::root("spec");
        spec(e, &at, &self.spec, cx);
        if self.spec.completion_mode.as_deref() == Some("Indexed")
            && let Some(count) = self.spec.completions.filter(|c| *c > 0)
        {
            let pod = format!("{}-{}", self.metadata.name, count - 1);
            if !dns_label(&pod).is_empty() {
                let metadata = Path::root("metadata");
                e.invalid(
                    &metadata.child("name"),
                    &self.metadata.name,
                    format!("will not able to create pod with invalid DNS label: {pod}"),
                );
            }
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        // Upstream judges the whole job, and then the spec once more.
        self.check(e, cx);
        let at = Path::root("spec");
        spec(e, &at, &self.spec, cx);
        job_spec::update(e, &at, self, old);
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        job_status::check(e, self, old);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let at = Path::root("spec");
        let name = old.is_none().then(|| warnings::workload_name(&self.metadata.name)).flatten();
        let mut out: Vec<String> = name.into_iter().collect();
        if counted(self, old) {
            out.extend(warnings::template(&at.child("template"), &self.spec.template));
            out.extend(job_spec::warnings(&at, &self.spec));
        }
        out
    }

    fn field(&self, label: &str) -> Option<Str> {
        (label == "status.successful").then(|| self.status.succeeded.to_string().into())
    }
}

/// Defaults of a job.
fn default_spec(spec: &mut JobSpec) {
    pod_default::spec(&mut spec.template.spec);
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    set(&mut spec.parallelism, 1);
    if spec.backoff_limit.is_none() {
        spec.backoff_limit = Some(if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 });
    }
    text_opt(&mut spec.completion_mode, "NonIndexed");
    set(&mut spec.suspend, false);
    if let Some(policy) = &mut spec.pod_failure_policy {
        for pattern in policy.rules.iter_mut().flat_map(|r| r.on_pod_conditions.iter_mut()) {
            crate::fill::text(&mut pattern.status, "True");
        }
    }
    let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    text_opt(&mut spec.pod_replacement_policy, replacement);
    set(&mut spec.manual_selector, false);
}

/// The spec of a job that exists, whose selector was generated or given.
fn spec(e: &mut Errs, at: &Path<'_>, spec: &JobSpec, cx: &Context) {
    job_spec::check(e, at, spec, cx);
    let selector_at = at.child("selector");
    let usable = match &spec.selector {
        None => {
            e.required(&selector_at, "");
            true
        }
        Some(selector) => labels::usable_selector(e, &selector_at, selector),
    };
    let chosen = spec.selector.as_deref().is_some_and(|s| labels::matches(s, &spec.template.metadata.labels));
    if usable && !chosen {
        let template = at.child("template");
        let metadata = template.child("metadata");
        e.invalid(&metadata.child("labels"), BadValue::of(&spec.template.metadata.labels), NO_MATCH);
    }
}
