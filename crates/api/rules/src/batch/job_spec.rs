//! The spec of a job, alone and inside a CronJob's template, and what may change in it.

use super::indexes;
use crate::check::{Errs, qualified_name};
use crate::core::pod::template;
use crate::diff;
use crate::{Context, Path};
use meta::{BadValue, List};
use types::batch::v1::{Job, JobCondition, JobSpec, PodFailurePolicy, PodFailurePolicyRule, SuccessPolicy};
use types::core::v1::Container;

const INDEXED_PARALLELISM_MAX: i32 = 100_000;
const FAILED_INDEXES_MAX: i32 = 100_000;
const FAILED_INDEXES_LARGE_MAX: i32 = 10_000;
const RULES_MAX: usize = 20;
const SUCCEEDED_INDEXES_BYTES_MAX: usize = 64 * 1024;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;

/// What holds for every job.
pub(super) fn check(e: &mut Errs, at: &Path<'_>, spec: &JobSpec, cx: &Context) {
    e.non_negative_opt(&at.child("parallelism"), spec.parallelism);
    e.non_negative_opt(&at.child("completions"), spec.completions);
    e.non_negative_opt(&at.child("activeDeadlineSeconds"), spec.active_deadline_seconds);
    e.non_negative_opt(&at.child("backoffLimit"), spec.backoff_limit);
    e.non_negative_opt(&at.child("ttlSecondsAfterFinished"), spec.ttl_seconds_after_finished);
    e.non_negative_opt(&at.child("backoffLimitPerIndex"), spec.backoff_limit_per_index);
    if let Some(max) = spec.max_failed_indexes {
        let at = at.child("maxFailedIndexes");
        e.non_negative(&at, max);
        if spec.backoff_limit_per_index.is_none() {
            e.required(
                &Path::root(&at_text(&at, "backoffLimitPerIndex")),
                "when maxFailedIndexes is specified",
            );
        }
    }
    if let Some(manager) = &spec.managed_by {
        let at = at.child("managedBy");
        crate::check::domain_prefixed_path(e, &at, manager);
        if manager.len() > 63 {
            e.too_long(&at, 63);
        }
    }
    match spec.completion_mode.as_deref() {
        None => {}
        Some(mode @ ("NonIndexed" | "Indexed")) => completion_mode(e, at, spec, mode),
        Some(other) => e.unsupported(&at.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    if matches!(spec.completion_mode.as_deref(), None | Some("NonIndexed")) {
        for (field, value) in [
            ("backoffLimitPerIndex", spec.backoff_limit_per_index),
            ("maxFailedIndexes", spec.max_failed_indexes),
        ] {
            if let Some(value) = value {
                e.invalid(&at.child(field), value, "requires indexed completion mode");
            }
        }
    }
    if let Some(policy) = &spec.pod_failure_policy {
        failure_policy(e, &at.child("podFailurePolicy"), spec, policy);
    }
    if let Some(policy) = &spec.success_policy {
        if spec.completion_mode.as_deref() != Some("Indexed") {
            e.invalid(&at.child("successPolicy"), diff::shown(&**policy), "requires indexed completion mode");
        } else {
            success_policy(e, &at.child("successPolicy"), spec, policy);
        }
    }
    replacement(e, &at.child("podReplacementPolicy"), spec);
    let template_at = at.child("template");
    template::check(e, &template_at, &spec.template, cx);
    let template_spec = template_at.child("spec");
    let restart = spec.template.spec.restart_policy.as_str();
    let restart_at = template_spec.child("restartPolicy");
    match restart {
        "" | "Always" => e.required(&restart_at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            e.invalid(&restart_at, restart, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => e.unsupported(&restart_at, other, &["OnFailure", "Never"]),
    }
}

/// The path of a sibling field.
fn at_text(at: &Path<'_>, sibling: &str) -> String {
    let text = at.to_string();
    let parent = text.rsplit_once('.').map_or("", |(parent, _)| parent);
    format!("{parent}.{sibling}")
}

fn completion_mode(e: &mut Errs, at: &Path<'_>, spec: &JobSpec, mode: &str) {
    if mode != "Indexed" {
        return;
    }
    if spec.completions.is_none() {
        e.required(&at.child("completions"), "when completion mode is Indexed");
    }
    let over = |value: Option<i32>, max: i32| value.filter(|v| *v > max);
    if let Some(n) = over(spec.parallelism, INDEXED_PARALLELISM_MAX) {
        e.invalid(
            &at.child("parallelism"),
            n,
            format!(
                "must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
            ),
        );
    }
    let at_max = at.child("maxFailedIndexes");
    if let (Some(max), Some(completions)) = (spec.max_failed_indexes, spec.completions)
        && max > completions
    {
        e.invalid(&at_max, max, "must be less than or equal to completions");
    }
    if let Some(max) = over(spec.max_failed_indexes, FAILED_INDEXES_MAX) {
        e.invalid(&at_max, max, format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
    }
    if over(spec.completions, FAILED_INDEXES_MAX).is_some() && spec.backoff_limit_per_index.is_some() {
        if spec.max_failed_indexes.is_none() {
            e.required(&at_max, format!("must be specified when completions is above {FAILED_INDEXES_MAX}"));
        }
        let large = [("parallelism", spec.parallelism), ("maxFailedIndexes", spec.max_failed_indexes)];
        for (field, value) in large {
            if let Some(value) = over(value, FAILED_INDEXES_LARGE_MAX) {
                e.invalid(&at.child(field), value, format!("must be less than or equal to {FAILED_INDEXES_LARGE_MAX} when completions are above {FAILED_INDEXES_MAX} and used with backoff limit per index"));
            }
        }
    }
}

fn replacement(e: &mut Errs, at: &Path<'_>, spec: &JobSpec) {
    let Some(policy) = &spec.pod_replacement_policy else { return };
    if spec.pod_failure_policy.is_some() {
        e.one_of(at, policy, &["Failed"]);
    } else {
        e.one_of(at, policy, &["Failed", "TerminatingOrFailed"]);
    }
}

fn failure_policy(e: &mut Errs, at: &Path<'_>, spec: &JobSpec, policy: &PodFailurePolicy) {
    let list = at.child("rules");
    if policy.rules.len() > RULES_MAX {
        e.too_many(&list, policy.rules.len(), RULES_MAX);
    }
    for (i, rule) in policy.rules.iter().enumerate() {
        failure_rule(e, &list.index(i), spec, rule);
    }
}

fn failure_rule(e: &mut Errs, at: &Path<'_>, spec: &JobSpec, rule: &PodFailurePolicyRule) {
    let action_at = at.child("action");
    match rule.action.as_str() {
        "" => e.required(&action_at, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            e.invalid(&action_at, &rule.action, "requires the backoffLimitPerIndex to be set")
        }
        other => e.one_of(&action_at, other, &["Count", "FailIndex", "FailJob", "Ignore"]),
    }
    if let Some(codes) = &rule.on_exit_codes {
        let at = at.child("onExitCodes");
        match codes.operator.as_str() {
            "" => e.required(&at.child("operator"), "valid values: [\"In\" \"NotIn\"]"),
            other => e.one_of(&at.child("operator"), other, &["In", "NotIn"]),
        }
        if let Some(name) = &codes.container_name {
            let spec = &spec.template.spec;
            if !spec.containers.iter().chain(spec.init_containers.iter()).any(|c| c.name == *name) {
                e.invalid(
                    &at.child("containerName"),
                    name,
                    "must be one of the container or initContainer names in the pod template",
                );
            }
        }
        exit_codes(e, &at.child("values"), codes);
    }
    if rule.on_pod_conditions.len() > PATTERNS_MAX {
        e.too_many(&at.child("onPodConditions"), rule.on_pod_conditions.len(), PATTERNS_MAX);
    }
    let list = at.child("onPodConditions");
    for (i, pattern) in rule.on_pod_conditions.iter().enumerate() {
        let at = list.index(i);
        e.each(&at.child("type"), &pattern.type_, qualified_name(&pattern.type_));
        match pattern.status.as_str() {
            "" => e.required(&at.child("status"), "valid values: [\"False\" \"True\" \"Unknown\"]"),
            other => e.one_of(&at.child("status"), other, &["False", "True", "Unknown"]),
        }
    }
    match (rule.on_exit_codes.is_some(), rule.on_pod_conditions.is_empty()) {
        (true, false) => e.invalid(
            at,
            BadValue::Omitted,
            "specifying both OnExitCodes and OnPodConditions is not supported",
        ),
        (false, true) => {
            e.invalid(at, BadValue::Omitted, "specifying one of OnExitCodes and OnPodConditions is required")
        }
        _ => {}
    }
}

fn exit_codes(e: &mut Errs, at: &Path<'_>, codes: &types::batch::v1::PodFailurePolicyOnExitCodesRequirement) {
    let values = &codes.values;
    if values.is_empty() {
        e.invalid(at, BadValue::of(values), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        e.too_many(at, values.len(), EXIT_CODES_MAX);
    }
    let (mut ordered, mut seen) = (true, std::collections::BTreeSet::new());
    for (i, value) in values.iter().enumerate() {
        if codes.operator == "In" && *value == 0 {
            e.invalid(&at.index(i), *value, "must not be 0 for the In operator");
        }
        if !seen.insert(*value) {
            e.duplicate(&at.index(i), *value);
        }
        ordered &= i == 0 || values[i - 1] <= *value;
    }
    if !ordered {
        e.invalid(at, BadValue::of(values), "must be ordered");
    }
}

fn success_policy(e: &mut Errs, at: &Path<'_>, spec: &JobSpec, policy: &SuccessPolicy) {
    let list = at.child("rules");
    if policy.rules.is_empty() {
        e.required(&list, "at least one rules must be specified when the successPolicy is specified");
    }
    if policy.rules.len() > RULES_MAX {
        e.too_many(&list, policy.rules.len(), RULES_MAX);
    }
    let completions = spec.completions.unwrap_or(0);
    for (i, rule) in policy.rules.iter().enumerate() {
        let at = list.index(i);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            e.required(&at, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut indexes = None;
        if let Some(text) = &rule.succeeded_indexes {
            let at = at.child("succeededIndexes");
            if text.len() > SUCCEEDED_INDEXES_BYTES_MAX {
                e.too_long(&at, SUCCEEDED_INDEXES_BYTES_MAX);
            }
            match indexes::count(text, completions) {
                Ok(count) => indexes = Some(count),
                Err(problem) => {
                    // What cannot be read names no index.
                    indexes = Some(0);
                    e.invalid(&at, text, format!("error parsing succeededIndexes: {problem}"));
                }
            }
        }
        if let Some(count) = rule.succeeded_count {
            let at = at.child("succeededCount");
            e.non_negative(&at, count);
            if count > completions {
                e.invalid(
                    &at,
                    count,
                    format!(
                        "must be less than or equal to {completions} (the number of specified completions)"
                    ),
                );
            }
            if let Some(indexes) = indexes.filter(|n| count > *n) {
                e.invalid(&at, count, format!("must be less than or equal to {indexes} (the number of indexes in the specified succeededIndexes field)"));
            }
        }
    }
}

/// What stays as it was made.
pub(super) fn update(e: &mut Errs, at: &Path<'_>, new: &Job, old: &Job) {
    let (now, then) = (&new.spec, &old.spec);
    let shown_completions = || BadValue::of(&now.completions);
    // An indexed job may grow and shrink as long as completions and parallelism stay equal.
    let elastic = now.completion_mode.as_deref() == Some("Indexed") && now.completions.is_some();
    if elastic && then.completions != now.completions {
        if now.completions != now.parallelism {
            e.invalid(
                &at.child("completions"),
                shown_completions(),
                format!("can only be modified in tandem with {}", at.child("parallelism")),
            );
        }
    } else {
        e.immutable(&at.child("completions"), &now.completions, &then.completions, shown_completions);
    }
    e.immutable(&at.child("selector"), &now.selector, &then.selector, || BadValue::of(&now.selector));
    pod_template(e, &at.child("template"), new, old);
    e.immutable(&at.child("completionMode"), &now.completion_mode, &then.completion_mode, || {
        BadValue::of(&now.completion_mode)
    });
    e.immutable(&at.child("podFailurePolicy"), &now.pod_failure_policy, &then.pod_failure_policy, || {
        diff::shown_option(now.pod_failure_policy.as_deref())
    });
    e.immutable(
        &at.child("backoffLimitPerIndex"),
        &now.backoff_limit_per_index,
        &then.backoff_limit_per_index,
        || BadValue::of(&now.backoff_limit_per_index),
    );
    e.immutable(&at.child("managedBy"), &now.managed_by, &then.managed_by, || BadValue::of(&now.managed_by));
    e.immutable(&at.child("successPolicy"), &now.success_policy, &then.success_policy, || {
        diff::shown_option(now.success_policy.as_deref())
    });
}

/// The template stays, but for what may be steered while no pod of the job runs.
fn pod_template(e: &mut Errs, at: &Path<'_>, new: &Job, old: &Job) {
    let (now, before) = (&new.spec.template, &old.spec.template);
    let is_suspended = |c: &JobCondition| c.type_ == "Suspended" && c.status == "True";
    let steerable = old.spec.suspend == Some(true)
        && old.status.active == 0
        && (old.status.start_time.is_none() || old.status.conditions.iter().any(is_suspended));
    if !steerable {
        return e.immutable(at, now, before, || diff::shown(&**now));
    }
    // Which nodes, which gates, which resources.
    let mut spec = now.spec.clone();
    spec.node_selector.clone_from(&before.spec.node_selector);
    spec.tolerations.clone_from(&before.spec.tolerations);
    spec.scheduling_gates.clone_from(&before.spec.scheduling_gates);
    let node_affinity = before.spec.affinity.as_ref().and_then(|a| a.node_affinity.clone());
    match &mut spec.affinity {
        Some(affinity) => affinity.node_affinity = node_affinity,
        None if node_affinity.is_some() => spec.affinity.clone_from(&before.spec.affinity),
        None => {}
    }
    if before.spec.affinity.is_none() && spec.affinity.as_deref() == Some(&Default::default()) {
        spec.affinity = None;
    }
    resources_of(&mut spec.containers, &before.spec.containers);
    resources_of(&mut spec.init_containers, &before.spec.init_containers);
    e.immutable(&at.child("spec"), &spec, &before.spec, || diff::shown(&*now.spec));
}

/// The resources of the same containers.
fn resources_of(to: &mut List<Container>, from: &List<Container>) {
    if to.len() == from.len() {
        for (to, from) in to.iter_mut().zip(from.iter()).filter(|(to, from)| to.name == from.name) {
            to.resources.clone_from(&from.resources);
        }
    }
}

/// What to tell users of jobs that may be too large to track.
pub(super) fn warnings(at: &Path<'_>, spec: &JobSpec) -> Option<String> {
    let large = spec.completions.is_some_and(|c| c > 100_000) && spec.parallelism.is_some_and(|p| p > 10_000);
    (spec.completion_mode.as_deref() == Some("Indexed") && large).then(|| {
        format!("{at}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
    })
}
