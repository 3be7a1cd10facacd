//! The group `apps`: Deployment, ReplicaSet, StatefulSet, DaemonSet, ControllerRevision.

mod daemon_set;
mod deployment;
mod replica_set;
mod revision;
mod stateful_set;

use crate::check::{Errs, Raw, labels, percent};
use crate::core::controller::NO_MATCH;
use crate::core::pod::template;
use crate::{Context, Path};
use meta::v1::LabelSelector;
use meta::{BadValue, IntOrString};
use types::core::v1::PodTemplateSpec;

/// What is said of a selector as a whole when something in it is wrong.
const UNUSABLE_SELECTOR: &str = "invalid label selector";

/// A selector that must be there and choose something. Answers whether it can be used to choose pods; one that cannot
/// is reported once more as a whole, with `unusable` as the reason, and its template is not looked at.
fn selector(e: &mut Errs, at: &Path<'_>, value: Option<&LabelSelector>, kind: &str, unusable: &str) -> bool {
    let Some(value) = value else {
        e.required(at, "");
        return true;
    };
    let usable = labels::usable_selector(e, at, value);
    if labels::is_empty(value) {
        e.invalid(at, BadValue::json(value), format!("empty selector is invalid for {kind}"));
    }
    if !usable {
        e.invalid(at, BadValue::json(value), unusable);
    }
    usable
}

/// The template of pods that run forever, and that its labels are what the selector chooses.
fn forever(
    e: &mut Errs,
    at: &Path<'_>,
    t: &PodTemplateSpec,
    chosen: Option<&LabelSelector>,
    deadline: &str,
    cx: &Context,
) {
    matches_template(e, at, t, chosen);
    template::check(e, at, t, cx);
    runs_forever(e, at, t, deadline);
}

/// No selector chooses nothing; an empty one chooses everything and is reported elsewhere.
fn matches_template(e: &mut Errs, at: &Path<'_>, t: &PodTemplateSpec, chosen: Option<&LabelSelector>) {
    let chosen = chosen.is_some_and(|s| labels::is_empty(s) || labels::matches(s, &t.metadata.labels));
    if !chosen {
        let metadata = at.child("metadata");
        e.invalid(&metadata.child("labels"), BadValue::of(&t.metadata.labels), NO_MATCH);
    }
}

fn runs_forever(e: &mut Errs, at: &Path<'_>, t: &PodTemplateSpec, deadline: &str) {
    let spec = at.child("spec");
    let policy = t.spec.restart_policy.as_str();
    // An unknown policy is reported with the template.
    if policy != "Always" {
        e.unsupported(&spec.child("restartPolicy"), policy, &["Always"]);
    }
    if t.spec.active_deadline_seconds.is_some() {
        e.forbidden(&spec.child("activeDeadlineSeconds"), deadline);
    }
}

/// A count or a percentage, not negative.
pub(crate) fn count_or_percent(e: &mut Errs, at: &Path<'_>, value: &IntOrString) {
    match value {
        IntOrString::Int(n) => e.non_negative(at, *n),
        IntOrString::String(text) => e.each(at, text, percent(text)),
    }
}

/// A percentage may not exceed 100%.
pub(crate) fn at_most_all(e: &mut Errs, at: &Path<'_>, value: &IntOrString) {
    if percent_of(value).is_some_and(|p| p > 100) {
        e.invalid(at, value, "must not be greater than 100%");
    }
}

fn percent_of(value: &IntOrString) -> Option<i64> {
    match value {
        IntOrString::String(text) => text.strip_suffix('%')?.parse().ok(),
        IntOrString::Int(_) => None,
    }
}

/// The number in a count or percentage; zero means none either way.
pub(crate) fn amount(value: Option<&IntOrString>) -> i64 {
    match value {
        None => 0,
        Some(IntOrString::Int(n)) => i64::from(*n),
        Some(IntOrString::String(text)) if percent(text).is_empty() => {
            text.trim_end_matches('%').parse().unwrap_or(0)
        }
        Some(IntOrString::String(text)) => text.parse().unwrap_or(0),
    }
}

fn is_decremented(new: Option<i32>, old: Option<i32>) -> Option<i32> {
    match (new, old) {
        (None, Some(_)) => Some(0),
        (Some(new), Some(old)) if new < old => Some(new),
        _ => None,
    }
}

/// A count of collisions only grows.
fn collisions(e: &mut Errs, new: Option<i32>, old: Option<i32>) {
    if let Some(value) = is_decremented(new, old) {
        e.invalid(&Path::root("status").child("collisionCount"), value, "cannot be decremented");
    }
}

/// The selector of a workload stays as it was made.
fn fixed_selector(e: &mut Errs, new: Option<&LabelSelector>, old: Option<&LabelSelector>) {
    if new != old {
        let shown = new.map_or(Raw("null".into()), BadValue::json);
        e.invalid(&Path::root("spec").child("selector"), shown, crate::check::IMMUTABLE);
    }
}
