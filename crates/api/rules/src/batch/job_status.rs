//! The status of a job, which others than the built-in controller may keep (KEP-4368).
//!
//! A rule is applied when a field that it reads has changed: an update may leave alone what was wrong before, and what the
//! spec has made wrong a moment ago.

use super::indexes;
use crate::Path;
use crate::check::Errs;
use meta::{BadValue, Time};
use std::collections::BTreeSet;
use types::batch::v1::{Job, JobStatus};

/// Which conditions hold, those that the rules ask for.
#[derive(Clone, Copy, PartialEq)]
struct Ends {
    complete: bool,
    failed: bool,
    failure_target: bool,
    criteria_met: bool,
}

impl Ends {
    fn of(status: &JobStatus) -> Self {
        let holds = |kind: &str| is(status, kind, "True");
        Ends {
            complete: holds("Complete"),
            failed: holds("Failed"),
            failure_target: holds("FailureTarget"),
            criteria_met: holds("SuccessCriteriaMet"),
        }
    }

    fn finished(self) -> bool {
        self.complete || self.failed
    }
}

/// Whether the first condition of the type has the status.
fn is(status: &JobStatus, kind: &str, value: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == kind && c.status == value)
}

/// Everything that an update of the status must keep to.
pub(super) fn check(e: &mut Errs, new: &Job, old: &Job) {
    let at = Path::root("status");
    let (ends, before) = (Ends::of(&new.status), Ends::of(&old.status));
    counts(e, &at, &new.status);
    times(e, &at, new, old, ends, before);
    finished(e, &at, new, old, ends, before);
    completed_and_failed(e, &at, new, old);
    running(e, &at, new, old, ends, before);
    criteria(e, &at, new, ends);
    transitions(e, &at, new, old, ends, before);
}

fn counts(e: &mut Errs, at: &Path<'_>, s: &JobStatus) {
    for (field, count) in [
        ("active", Some(s.active)),
        ("succeeded", Some(s.succeeded)),
        ("failed", Some(s.failed)),
        ("ready", s.ready),
        ("terminating", s.terminating),
    ] {
        e.non_negative_opt(&at.child(field), count);
    }
    let Some(uncounted) = &s.uncounted_terminated_pods else { return };
    let at = at.child("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for (field, list) in [("succeeded", &uncounted.succeeded), ("failed", &uncounted.failed)] {
        let list_at = at.child(field);
        for (i, uid) in list.iter().enumerate() {
            if uid.is_empty() {
                e.invalid(&list_at.index(i), uid, "must not be empty");
            } else if !seen.insert(uid) {
                e.duplicate(&list_at.index(i), uid);
            }
        }
    }
}

/// Complaints about the conditions as a whole do not show them.
fn wrong_conditions(e: &mut Errs, at: &Path<'_>, wrong: bool, detail: &str) {
    if wrong {
        e.invalid(&at.child("conditions"), BadValue::Omitted, detail);
    }
}

fn shown_time(time: Option<Time>) -> BadValue {
    BadValue::of(&time)
}

fn times(e: &mut Errs, at: &Path<'_>, new: &Job, old: &Job, ends: Ends, before: Ends) {
    let (s, o) = (&new.status, &old.status);
    let completion_at = at.child("completionTime");
    let complete_changed = ends.complete != before.complete;
    let completion_changed = s.completion_time != o.completion_time;
    if complete_changed || ends.failed != before.failed {
        let wrong = ends.complete && ends.failed;
        wrong_conditions(e, at, wrong, "cannot set Complete=True and Failed=true conditions");
    }
    if complete_changed || ends.failure_target != before.failure_target {
        let wrong = ends.complete && ends.failure_target;
        wrong_conditions(e, at, wrong, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if complete_changed || completion_changed {
        if s.completion_time.is_some() && !ends.complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            e.invalid(&completion_at, shown_time(s.completion_time), detail);
        }
        if s.completion_time.is_none() && ends.complete {
            e.required(&completion_at, "completionTime is required for Complete jobs");
        }
    }
    if (s.start_time != o.start_time || completion_changed)
        && let (Some(start), Some(completion)) = (s.start_time, s.completion_time)
        && completion < start
    {
        e.invalid(&completion_at, shown_time(s.completion_time), "must be equal to or after `startTime`");
    }
}

fn finished(e: &mut Errs, at: &Path<'_>, new: &Job, old: &Job, ends: Ends, before: Ends) {
    let (s, o) = (&new.status, &old.status);
    if ends.failed != before.failed || s.failed_indexes != o.failed_indexes {
        let wrong = ends.failed && !ends.failure_target;
        wrong_conditions(
            e,
            at,
            wrong,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        );
    }
    if ends.complete != before.complete || ends.criteria_met != before.criteria_met {
        let wrong = ends.complete && !ends.criteria_met;
        let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        wrong_conditions(e, at, wrong, detail);
    }
    let changed = ends.finished() != before.finished();
    if ends.finished() && (changed || s.active != o.active) && s.active > 0 {
        e.invalid(&at.child("active"), s.active, "active>0 is invalid for finished job");
    }
    // A suspended job that wants nothing done is over without having begun.
    let idle = new.spec.suspend == Some(true) && new.spec.completions == Some(0);
    if ends.finished() && (changed || s.start_time != o.start_time) && !idle && s.start_time.is_none() {
        e.required(&at.child("startTime"), "startTime is required for finished job");
    }
    if ends.finished()
        && (changed || s.uncounted_terminated_pods != o.uncounted_terminated_pods)
        && let Some(uncounted) = &s.uncounted_terminated_pods
        && !(uncounted.succeeded.is_empty() && uncounted.failed.is_empty())
    {
        let shown = crate::diff::shown(&**uncounted);
        e.invalid(&at.child("uncountedTerminatedPods"), shown, "must be empty for finished job");
    }
}

fn completed_and_failed(e: &mut Errs, at: &Path<'_>, new: &Job, old: &Job) {
    let (s, o) = (&new.status, &old.status);
    let (completed_at, failed_at) = (at.child("completedIndexes"), at.child("failedIndexes"));
    let completed_changed = s.completed_indexes != o.completed_indexes;
    let failed_changed = s.failed_indexes != o.failed_indexes;
    let completions = new.spec.completions;
    if completed_changed
        && let Some(completions) = completions
        && let Err(problem) = indexes::count(&s.completed_indexes, completions)
    {
        e.invalid(&completed_at, &s.completed_indexes, format!("error parsing completedIndexes: {problem}"));
    }
    let per_index = new.spec.backoff_limit_per_index.is_some();
    if failed_changed
        && per_index
        && let (Some(completions), Some(failed)) = (completions, &s.failed_indexes)
        && let Err(problem) = indexes::count(failed, completions)
    {
        e.invalid(&failed_at, failed, format!("error parsing failedIndexes: {problem}"));
    }
    let indexed = new.spec.completion_mode.as_deref() == Some("Indexed");
    if completed_changed && !s.completed_indexes.is_empty() && !indexed {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        e.invalid(&completed_at, &s.completed_indexes, detail);
    }
    let Some(failed) = &s.failed_indexes else { return };
    if failed_changed && !per_index {
        e.invalid(&failed_at, failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if (failed_changed || completed_changed)
        && let Some(completions) = completions
        && let Some(index) = indexes::overlap(&s.completed_indexes, failed, completions)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        e.invalid(&failed_at, failed, detail);
    }
}

fn running(e: &mut Errs, at: &Path<'_>, new: &Job, old: &Job, ends: Ends, before: Ends) {
    let (s, o) = (&new.status, &old.status);
    let terminating_may_matter = ends.finished() != before.finished() || s.terminating != o.terminating;
    if let Some(terminating) = s.terminating.filter(|n| *n > 0)
        && ends.finished()
        && terminating_may_matter
    {
        e.invalid(&at.child("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    if let Some(ready) = s.ready.filter(|ready| *ready > s.active)
        && (s.ready != o.ready || s.active != o.active)
    {
        e.invalid(&at.child("ready"), ready, "cannot set more ready pods than active");
    }
}

fn criteria(e: &mut Errs, at: &Path<'_>, new: &Job, ends: Ends) {
    let met = ends.criteria_met;
    wrong_conditions(
        e,
        at,
        met && ends.failed,
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
    );
    wrong_conditions(
        e,
        at,
        met && ends.failure_target,
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    );
    wrong_conditions(
        e,
        at,
        new.spec.success_policy.is_some() && !met && ends.complete,
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
    );
}

/// What never goes back.
fn transitions(e: &mut Errs, at: &Path<'_>, new: &Job, old: &Job, ends: Ends, before: Ends) {
    let (s, o) = (&new.status, &old.status);
    for (kind, was, is) in [
        ("Failed", before.failed, ends.failed),
        ("Complete", before.complete, ends.complete),
        ("FailureTarget", before.failure_target, ends.failure_target),
    ] {
        wrong_conditions(e, at, was && !is, &format!("cannot disable the terminal {kind}=True condition"));
    }
    if s.failed < o.failed {
        e.invalid(&at.child("failed"), s.failed, "cannot decrease the failed counter");
    }
    // A job that shrinks by its completions and parallelism forgets the indexes beyond them.
    let indexed = new.spec.completion_mode.as_deref() == Some("Indexed");
    let elastic = indexed && new.spec.completions == new.spec.parallelism;
    if !elastic && s.succeeded < o.succeeded {
        e.invalid(&at.child("succeeded"), s.succeeded, "cannot decrease the succeeded counter");
    }
    if s.completion_time.is_some() && o.completion_time.is_some() && s.completion_time != o.completion_time {
        e.invalid(&at.child("completionTime"), shown_time(s.completion_time), "field is immutable");
    }
    let resuming = is(o, "Suspended", "True") && is(s, "Suspended", "False");
    if s.start_time != o.start_time && !resuming && o.start_time.is_some() && new.spec.suspend != Some(true) {
        let detail = "field is immutable for unsuspended job once set";
        e.invalid(&at.child("startTime"), shown_time(s.start_time), detail);
    }
    wrong_conditions(
        e,
        at,
        before.criteria_met && !ends.criteria_met,
        "cannot disable the SuccessCriteriaMet=True condition",
    );
    wrong_conditions(
        e,
        at,
        before.complete && !before.criteria_met && ends.criteria_met,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;

    fn job(spec: &str, status: &str) -> Job {
        let text =
            format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[]}}}}{spec}}},"status":{status}}}"#);
        Job::from_json(text.as_bytes()).expect("a job")
    }

    #[test]
    fn rules() {
        let complete = r#"{"type":"Complete","status":"True"}"#;
        let met = r#"{"type":"SuccessCriteriaMet","status":"True"}"#;
        let early = r#""startTime":"2020-01-01T00:00:00Z""#;
        for (spec, old, new, expected) in [
            ("", "{}".to_owned(), r#"{"active":1,"ready":1}"#.to_owned(), ""),
            (
                "",
                "{}".to_owned(),
                r#"{"ready":1}"#.to_owned(),
                "status.ready: Invalid value: 1: cannot set more ready pods than active",
            ),
            ("", r#"{"ready":1}"#.to_owned(), r#"{"ready":1,"failed":1}"#.to_owned(), ""),
            (
                "",
                r#"{"failed":2}"#.to_owned(),
                r#"{"failed":1}"#.to_owned(),
                "status.failed: Invalid value: 1: cannot decrease the failed counter",
            ),
            (
                "",
                "{}".to_owned(),
                format!(r#"{{"conditions":[{complete}]}}"#),
                "status.completionTime: Required value: completionTime is required for Complete jobs\n\
                 status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition\n\
                 status.startTime: Required value: startTime is required for finished job",
            ),
            (
                "",
                format!("{{{early}}}"),
                format!(
                    r#"{{"conditions":[{complete},{met}],{early},"completionTime":"2019-01-01T00:00:00Z"}}"#
                ),
                "status.completionTime: Invalid value: \"2019-01-01T00:00:00Z\": must be equal to or after `startTime`",
            ),
            (
                r#","completions":3,"completionMode":"Indexed""#,
                "{}".to_owned(),
                r#"{"completedIndexes":"1","failedIndexes":"1"}"#.to_owned(),
                "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null\n\
                 status.failedIndexes: Invalid value: \"1\": failedIndexes and completedIndexes overlap at index: 1",
            ),
            (
                "",
                format!("{{{early}}}"),
                "{}".to_owned(),
                "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
            ),
        ] {
            let mut e = Errs::new();
            check(&mut e, &job(spec, &new), &job(spec, &old));
            let told: Vec<String> = e.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(told.join("\n"), expected, "{old} -> {new}");
        }
    }
}
