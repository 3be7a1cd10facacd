//! When a Job has succeeded or failed, and what is told about it.

use std::sync::Arc;

use meta::{Str, Time};
use reconcile::{Note, Plan};
use types::batch::v1::{Job, JobCondition, JobStatus, PodFailurePolicyRule};
use types::core::v1::Pod;

use super::count::Tally;
use super::indexes::Indexes;
use super::{condition, is_indexed, is_suspended};

/// The end of a Job.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) success: bool,
    pub(super) reason: Str,
    message: Str,
}

/// Whether the Job is at its end.
pub(super) fn judge(
    job: &Job,
    tally: &Tally,
    active: &[Arc<Pod>],
    pods: &[Arc<Pod>],
    status: &JobStatus,
    now: Time,
) -> Option<Verdict> {
    let end = |success, reason: &str, message: &str| {
        Some(Verdict { success, reason: reason.into(), message: message.into() })
    };
    // A decision once told stands.
    if let Some(told) = condition(job, "SuccessCriteriaMet") {
        return end(true, &told.reason, &told.message);
    }
    if let Some(told) = condition(job, "FailureTarget") {
        return end(false, &told.reason, &told.message);
    }
    if let Some(message) = pods.iter().find_map(|pod| fails_job(job, pod)) {
        return end(false, "PodFailurePolicy", &message);
    }
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if tally.failed > limit || restarted_too_often(job, active, limit) {
        return end(false, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if seconds_to_deadline(job, status, now).is_some_and(|left| left <= 0) {
        return end(false, "DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if let Some(failed) = &tally.failed_indexes {
        if job.spec.max_failed_indexes.is_some_and(|most| failed.len() > most.max(0) as usize) {
            const MESSAGE: &str = "Job has exceeded the specified maximal number of failed indexes";
            return end(false, "MaxFailedIndexesExceeded", MESSAGE);
        }
        let tried = failed.len() + tally.completed.len();
        if failed.len() > 0 && tried >= job.spec.completions.unwrap_or(0).max(0) as usize {
            return end(false, "FailedIndexes", "Job has failed indexes");
        }
    }
    if let Some(rule) = success_rule(job, tally) {
        return end(true, "SuccessPolicy", &format!("Matched rules at index {rule}"));
    }
    let complete = match job.spec.completions {
        // Without a number the first success ends it, once the others have ended as well.
        None => tally.succeeded > 0 && active.is_empty(),
        Some(completions) => tally.succeeded >= completions,
    };
    if complete { end(true, "CompletionsReached", "Reached expected number of succeeded pods") } else { None }
}

/// The first rule of the success policy that the completed indexes satisfy.
fn success_rule(job: &Job, tally: &Tally) -> Option<usize> {
    let policy = job.spec.success_policy.as_deref().filter(|_| is_indexed(job))?;
    policy.rules.iter().position(|rule| {
        let (have, all) = match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = Indexes::parse(text);
                (wanted.in_common(&tally.completed), wanted.len())
            }
            // Without a count either, validation has refused the rule.
            None => (tally.completed.len(), usize::MAX),
        };
        have >= rule.succeeded_count.map_or(all, |count| count.max(0) as usize)
    })
}

/// Writes the end into `status`: first that it is decided, and that it is over when nothing runs any more and every end is
/// counted.
pub(super) fn record(
    job: &Job,
    pods: &[Arc<Pod>],
    status: &mut JobStatus,
    verdict: &Verdict,
    now: Time,
    plan: &mut Plan,
) {
    let uncounted = status.uncounted_terminated_pods.as_deref().cloned().unwrap_or_default();
    let running = pods.iter().any(|pod| !crate::common::pods::is_finished(pod));
    let settled = !running && uncounted.succeeded.is_empty() && uncounted.failed.is_empty();
    let (decided, over) =
        if verdict.success { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") };
    let mut put = |type_: &str| {
        if !status.conditions.iter().any(|known| known.type_ == type_ && known.status == "True") {
            status.conditions.push(new(type_, "True", &verdict.reason, &verdict.message, now));
        }
    };
    put(decided);
    if !settled {
        return;
    }
    put(over);
    if verdict.success {
        status.completion_time = Some(now);
        plan.event(Note::normal(job, "Completed", "Job completed"));
    } else {
        plan.event(Note::warning(job, &verdict.reason, verdict.message.clone()));
    }
}

fn new(type_: &str, status: &str, reason: &str, message: &str, now: Time) -> JobCondition {
    JobCondition {
        type_: type_.into(),
        status: status.into(),
        last_probe_time: Some(now),
        last_transition_time: Some(now),
        reason: reason.into(),
        message: message.into(),
    }
}

/// Tells that the Job was suspended or resumed.
pub(super) fn suspension(job: &Job, status: &mut JobStatus, now: Time) -> Option<Note> {
    let told = status.conditions.iter().position(|condition| condition.type_ == "Suspended");
    let stands = told.is_some_and(|index| status.conditions[index].status == "True");
    let (condition, event, message) = match (is_suspended(job), stands) {
        (true, false) => {
            (new("Suspended", "True", "JobSuspended", "Job suspended", now), "Suspended", "Job suspended")
        }
        (false, true) => {
            (new("Suspended", "False", "JobResumed", "Job resumed", now), "Resumed", "Job resumed")
        }
        _ => return None,
    };
    if is_suspended(job) {
        status.start_time = None;
    } else {
        status.start_time = Some(now);
    }
    match told {
        Some(index) => status.conditions[index] = condition,
        None => status.conditions.push(condition),
    }
    Some(Note::normal(job, event, message))
}

/// Seconds until the Job has been active for too long.
pub(super) fn seconds_to_deadline(job: &Job, status: &JobStatus, now: Time) -> Option<i64> {
    if is_suspended(job) {
        return None;
    }
    Some(status.start_time?.seconds + job.spec.active_deadline_seconds? - now.seconds)
}

/// Pods that are restarted in place fail by restarts.
fn restarted_too_often(job: &Job, active: &[Arc<Pod>], limit: i32) -> bool {
    if job.spec.template.spec.restart_policy != "OnFailure" {
        return false;
    }
    let restarts: i32 = active
        .iter()
        .filter(|pod| matches!(pod.status.phase.as_str(), "Running" | "Pending"))
        .flat_map(|pod| pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses))
        .map(|status| status.restart_count)
        .sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// Whether the failure of `pod` counts towards the limit.
pub(super) fn counts(job: &Job, pod: &Pod) -> bool {
    rule(job, pod).is_none_or(|(_, rule, _)| rule.action != "Ignore")
}

/// What the failure policy does about the failure of `pod`, if a rule is about it.
pub(super) fn action<'a>(job: &'a Job, pod: &Pod) -> Option<&'a str> {
    rule(job, pod).map(|(_, rule, _)| rule.action.as_str())
}

/// Whether the failure of `pod` is the end of its index, whatever the limit says.
pub(super) fn fails_index(job: &Job, pod: &Pod) -> bool {
    rule(job, pod).is_some_and(|(_, rule, _)| rule.action == "FailIndex")
}

/// Why the failure of `pod` fails the whole Job.
fn fails_job(job: &Job, pod: &Pod) -> Option<String> {
    rule(job, pod).filter(|(_, rule, _)| rule.action == "FailJob").map(|(_, _, message)| message)
}

/// The first rule of the failure policy that the end of `pod` matches, with what matched.
fn rule<'a>(job: &'a Job, pod: &Pod) -> Option<(usize, &'a PodFailurePolicyRule, String)> {
    let policy = job.spec.pod_failure_policy.as_deref()?;
    if pod.status.phase != "Failed" {
        return None;
    }
    let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    policy.rules.iter().enumerate().find_map(|(index, rule)| {
        let action = &rule.action;
        let message = if let Some(codes) = rule.on_exit_codes.as_deref() {
            let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
            let hit = statuses
                .filter(|status| codes.container_name.as_ref().is_none_or(|name| *name == status.name))
                .find_map(|status| {
                    let code = status.state.terminated.as_ref()?.exit_code;
                    let listed = codes.values.contains(&code);
                    let matches = code != 0 && (if codes.operator == "In" { listed } else { !listed });
                    matches.then_some((status.name.clone(), code))
                });
            hit.map(|(container, code)| {
                format!("Container {container} for pod {name} failed with exit code {code} matching {action} rule at index {index}")
            })
        } else {
            let hit = rule.on_pod_conditions.iter().find(|pattern| {
                pod.status.conditions.iter().any(|known| known.type_ == pattern.type_ && known.status == pattern.status)
            });
            hit.map(|pattern| format!("Pod {name} has condition {} matching {action} rule at index {index}", pattern.type_))
        };
        message.map(|message| (index, rule, message))
    })
}
