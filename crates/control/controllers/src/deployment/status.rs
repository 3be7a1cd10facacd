//! What a Deployment tells about itself: counts, availability, progress.

use std::time::Duration;

use meta::Time;
use reconcile::{Next, Plan};
use types::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::conditions::{self, AVAILABLE, NEW_SET_AVAILABLE, PROGRESSING, REPLICA_FAILURE, TIMED_OUT};
use super::{View, sizes};

/// Whether all replicas are of the present template and available, and nothing else is left.
pub(crate) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = sizes::wanted(deployment);
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Records counts and availability, without a verdict on progress: while scaling, paused, or on the way out.
pub(crate) fn sync(view: &View<'_>, plan: &mut Plan) -> Next {
    let status = counts(view);
    write(view, status, plan);
    Next::Done
}

/// Records counts, availability and progress, and comes back when the deadline may have passed.
pub(crate) fn sync_rollout(view: &View<'_>, plan: &mut Plan) -> Next {
    let (deployment, now) = (view.deployment, view.world.now());
    let mut status = counts(view);
    if !conditions::has_deadline(deployment) {
        conditions::remove(&mut status, PROGRESSING);
    }
    let known = conditions::get(&deployment.status, PROGRESSING).cloned();
    let finished = status.replicas == status.updated_replicas
        && known.as_ref().is_some_and(|known| known.reason == NEW_SET_AVAILABLE);
    if conditions::has_deadline(deployment) && !finished {
        progress(view, &mut status, known.as_ref(), now);
    }
    match failure(view) {
        Some(failure) => conditions::set(&mut status, failure),
        None => conditions::remove(&mut status, REPLICA_FAILURE),
    }
    let next = deadline(deployment, &status, now);
    write(view, status, plan);
    next
}

fn write(view: &View<'_>, status: DeploymentStatus, plan: &mut Plan) {
    if status != view.deployment.status {
        let mut changed = view.deployment.clone();
        changed.status = status;
        plan.update_status(changed);
    }
}

fn counts(view: &View<'_>) -> DeploymentStatus {
    let deployment = view.deployment;
    let sum = |count: fn(&ReplicaSet) -> i32| view.all().map(|set| count(set)).sum::<i32>();
    let available = sum(|set| set.status.available_replicas);
    let terminating: Option<Vec<i32>> = view.all().map(|set| set.status.terminating_replicas).collect();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(|set| set.status.replicas),
        updated_replicas: view.new.as_ref().map_or(0, |new| new.status.replicas),
        ready_replicas: sum(|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sizes::sum(view.all()) - available).max(0),
        terminating_replicas: terminating.map(|counts| counts.iter().sum()),
        collision_count: deployment.status.collision_count,
        conditions: deployment.status.conditions.clone(),
    };
    let enough = available >= sizes::wanted(deployment) - sizes::max_unavailable(deployment);
    let (value, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    conditions::set(&mut status, conditions::new(AVAILABLE, value, reason, message, view.world.now()));
    status
}

fn progress(view: &View<'_>, status: &mut DeploymentStatus, known: Option<&DeploymentCondition>, now: Time) {
    let deployment = view.deployment;
    let subject = match &view.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.metadata.name),
        None => format!("Deployment \"{}\"", deployment.metadata.name),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        conditions::set(status, conditions::new(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now));
    } else if moves(deployment, status) {
        let mut condition = conditions::new(
            PROGRESSING,
            "True",
            "ReplicaSetUpdated",
            format!("{subject} is progressing."),
            now,
        );
        // Every step counts as an update, or the deadline would run from the first one.
        if let Some(known) = known {
            if known.status == "True" {
                condition.last_transition_time = known.last_transition_time;
            }
            conditions::remove(status, PROGRESSING);
        }
        conditions::set(status, condition);
    } else if timed_out(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        conditions::set(status, conditions::new(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

/// Whether any count went the right way since the last record.
fn moves(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let before = &deployment.status;
    status.updated_replicas > before.updated_replicas
        || status.replicas - status.updated_replicas < before.replicas - before.updated_replicas
        || status.ready_replicas > before.ready_replicas
        || status.available_replicas > before.available_replicas
}

fn timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Time) -> bool {
    let Some(condition) = conditions::get(status, PROGRESSING) else { return false };
    match condition.reason.as_str() {
        NEW_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => seconds_left(deployment, condition, now).is_some_and(|left| left < 0),
    }
}

fn seconds_left(deployment: &Deployment, condition: &DeploymentCondition, now: Time) -> Option<i64> {
    let deadline = i64::from(deployment.spec.progress_deadline_seconds?);
    Some(condition.last_update_time?.seconds + deadline - now.seconds)
}

/// The first trouble of a ReplicaSet, the new one's before others'.
fn failure(view: &View<'_>) -> Option<DeploymentCondition> {
    let of = |set: &ReplicaSet| {
        set.status.conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).map(|condition| {
            DeploymentCondition {
                type_: REPLICA_FAILURE.into(),
                status: condition.status.clone(),
                last_update_time: condition.last_transition_time,
                last_transition_time: condition.last_transition_time,
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            }
        })
    };
    view.new.iter().chain(&view.old).find_map(|set| of(set))
}

/// When to look again because nothing but time passes.
fn deadline(deployment: &Deployment, status: &DeploymentStatus, now: Time) -> Next {
    if !conditions::has_deadline(deployment) || is_complete(deployment, status) {
        return Next::Done;
    }
    let Some(condition) = conditions::get(status, PROGRESSING) else { return Next::Done };
    if condition.reason == TIMED_OUT {
        return Next::Done;
    }
    let left = seconds_left(deployment, condition, now).unwrap_or(0).max(0) as u64;
    Next::After(Duration::from_secs(left + 1))
}
