//! Conditions of a Deployment.

use meta::{Str, Time};
use types::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};

pub(crate) const AVAILABLE: &str = "Available";
pub(crate) const PROGRESSING: &str = "Progressing";
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Reason of a rollout that reached its end.
pub(crate) const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
/// Reason of a rollout that took too long.
pub(crate) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// A deadline of this many seconds is none, as `kubectl` and upstream have it.
const NO_DEADLINE: i32 = i32::MAX;

pub(crate) fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != NO_DEADLINE)
}

pub(crate) fn get<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

pub(crate) fn new(
    type_: &str,
    status: &str,
    reason: &str,
    message: impl Into<Str>,
    now: Time,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.into(),
        status: status.into(),
        last_update_time: Some(now),
        last_transition_time: Some(now),
        reason: reason.into(),
        message: message.into(),
    }
}

/// Records `condition`, unless its status and reason are recorded already. Moves it to the end of the list.
pub(crate) fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(known) = get(status, &condition.type_) {
        if known.status == condition.status && known.reason == condition.reason {
            return;
        }
        if known.status == condition.status {
            condition.last_transition_time = known.last_transition_time;
        }
    }
    remove(status, &condition.type_.clone());
    status.conditions.push(condition);
}

pub(crate) fn remove(status: &mut DeploymentStatus, type_: &str) {
    status.conditions.retain(|condition| condition.type_ != type_);
}

/// The Deployment with the condition that tells that it was paused or resumed, when that is news. While it is paused the
/// deadline does not run.
pub(crate) fn paused(deployment: &Deployment, now: Time) -> Option<Deployment> {
    if !has_deadline(deployment) {
        return None;
    }
    let known = get(&deployment.status, PROGRESSING);
    if known.is_some_and(|known| known.reason == TIMED_OUT) {
        return None;
    }
    let told = known.is_some_and(|known| known.reason == PAUSED);
    let condition = match (deployment.spec.paused, told) {
        (true, false) => new(PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now),
        (false, true) => new(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now),
        _ => return None,
    };
    let mut changed = deployment.clone();
    set(&mut changed.status, condition);
    Some(changed)
}
