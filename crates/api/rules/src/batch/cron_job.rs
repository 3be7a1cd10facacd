//! CronJobs.

use super::{cron_schedule, job_spec};
use crate::check::{Errs, Raw, json_option};
use crate::core::pod::{default as pod_default, drop_disabled, warnings};
use crate::fill::{set, text};
use crate::rule::{counted, spec_and_status};
use crate::{Context, Path, Rules};
use meta::BadValue;
use types::batch::v1::{CronJob, CronJobSpec};

/// Jobs add a dash and ten digits to the name, and must fit in 63 bytes.
const NAME_CHARS_MAX: usize = 52;

impl Rules for CronJob {
    const RECHECKS_STATUS_METADATA: bool = false;
    spec_and_status!(generation);

    fn default(&mut self) {
        let spec = &mut self.spec;
        pod_default::spec(&mut spec.job_template.spec.template.spec);
        text(&mut spec.concurrency_policy, "Allow");
        set(&mut spec.suspend, false);
        set(&mut spec.successful_jobs_history_limit, 3);
        set(&mut spec.failed_jobs_history_limit, 1);
    }

    fn drop_disabled(&mut self) {
        drop_disabled(&mut self.spec.job_template.spec.template.spec);
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        spec(e, &self.spec, None, cx);
        if self.metadata.name.len() > NAME_CHARS_MAX {
            let metadata = Path::root("metadata");
            let detail = format!("must be no more than {NAME_CHARS_MAX} characters");
            e.invalid(&metadata.child("name"), &self.metadata.name, detail);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        spec(e, &self.spec, Some(&old.spec), cx);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let spec = Path::root("spec");
        let template = spec.child("jobTemplate");
        let job = template.child("spec");
        let name = old.is_none().then(|| warnings::workload_name(&self.metadata.name)).flatten();
        let mut out: Vec<String> = name.into_iter().collect();
        if self.spec.schedule.contains("TZ") {
            out.push("spec.schedule: cannot use TZ or CRON_TZ in schedule, use timeZone instead".into());
        }
        if counted(self, old) {
            out.extend(warnings::template(&job.child("template"), &self.spec.job_template.spec.template));
            out.extend(job_spec::warnings(&job, &self.spec.job_template.spec));
        }
        out
    }
}

fn spec(e: &mut Errs, spec: &CronJobSpec, old: Option<&CronJobSpec>, cx: &Context) {
    let at = Path::root("spec");
    let schedule_at = at.child("schedule");
    if e.present(&schedule_at, &spec.schedule) {
        let had_zone = old.is_some_and(|o| o.schedule.contains("TZ"));
        if let Err(problem) = cron_schedule::parse(&spec.schedule) {
            e.invalid(&schedule_at, &spec.schedule, problem);
        }
        // Schedules that have named a zone before the field came may go on to do so.
        let problem = match (had_zone, spec.time_zone.is_some()) {
            (false, _) => Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
            (true, true) => Some("cannot use both timeZone field and TZ or CRON_TZ in schedule"),
            (true, false) => None,
        };
        if let Some(problem) = problem.filter(|_| spec.schedule.contains("TZ")) {
            e.invalid(&schedule_at, &spec.schedule, problem);
        }
    }
    e.non_negative_opt(&at.child("startingDeadlineSeconds"), spec.starting_deadline_seconds);
    if old.is_none_or(|o| o.time_zone != spec.time_zone)
        && let Some(zone) = &spec.time_zone
    {
        time_zone(e, &at.child("timeZone"), zone);
    }
    e.required_one_of(
        &at.child("concurrencyPolicy"),
        &spec.concurrency_policy,
        &["Allow", "Forbid", "Replace"],
    );
    let template = at.child("jobTemplate");
    let job = template.child("spec");
    job_spec::check(e, &job, &spec.job_template.spec, cx);
    if let Some(selector) = &spec.job_template.spec.selector {
        e.invalid(&job.child("selector"), BadValue::json(&**selector), "`selector` will be auto-generated");
    }
    if spec.job_template.spec.manual_selector == Some(true) {
        e.unsupported(&job.child("manualSelector"), true, &["nil", "false"]);
    }
    e.non_negative_opt(&at.child("successfulJobsHistoryLimit"), spec.successful_jobs_history_limit);
    e.non_negative_opt(&at.child("failedJobsHistoryLimit"), spec.failed_jobs_history_limit);
}

fn time_zone(e: &mut Errs, at: &Path<'_>, zone: &meta::Str) {
    if zone.is_empty() {
        return e.invalid(at, Raw(json_option(Some(zone))), "timeZone must be nil or non-empty string");
    }
    if zone.eq_ignore_ascii_case("local") {
        e.invalid(
            at,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    }
    // Go finds the zone of the machine under this name.
    if zone != "Local" && !cron_schedule::is_time_zone(zone) {
        e.invalid(at, zone, format!("unknown time zone {zone}"));
    }
}
