//! Scaling: a new number of replicas for a Deployment that is not rolling right now, or is in the middle of it.

use std::sync::Arc;

use reconcile::{Next, Note, Plan, Write};
use types::apps::v1::{Deployment, ReplicaSet};

use super::revision::{self, DESIRED, MAX, set_sizes};
use super::{View, sizes, status};

/// Whether an active ReplicaSet was sized for another number of replicas.
pub(crate) fn is_asked_for(view: &View<'_>) -> bool {
    view.all().filter(|set| sizes::of(set) > 0).any(|set| {
        let desired = annotation(set, DESIRED);
        desired.is_some_and(|desired| desired != sizes::wanted(view.deployment))
    })
}

/// Scales, and cleans up when paused.
pub(crate) fn sync(view: &View<'_>, plan: &mut Plan) -> Next {
    if revision::sync(view, false, plan) {
        return Next::Done;
    }
    scale(view, plan);
    if view.deployment.spec.paused {
        revision::clean_up(view, plan);
    }
    status::sync(view, plan)
}

fn annotation(set: &ReplicaSet, key: &str) -> Option<i32> {
    set.metadata.annotations.get(key)?.parse().ok()
}

fn scale(view: &View<'_>, plan: &mut Plan) {
    let deployment = view.deployment;
    let wanted = sizes::wanted(deployment);
    let active: Vec<_> = view.all().filter(|set| sizes::of(set) > 0).collect();
    if active.len() <= 1 {
        let only = active.first().copied().or(view.new.as_ref()).or(view.old.last());
        if let Some(set) = only {
            resize(deployment, set, wanted, plan);
        }
        return;
    }
    if view.new.as_ref().is_some_and(|new| is_saturated(deployment, new)) {
        for set in view.old.iter().filter(|set| sizes::of(set) > 0) {
            resize(deployment, set, 0, plan);
        }
        return;
    }
    if sizes::is_rolling(deployment) {
        proportionally(deployment, active.into_iter().cloned().collect(), plan);
    }
}

/// The new ReplicaSet has all replicas, and all of them are available.
fn is_saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let wanted = sizes::wanted(deployment);
    sizes::of(new) == wanted
        && annotation(new, DESIRED) == Some(wanted)
        && new.status.available_replicas == wanted
}

/// Spreads the difference over all active ReplicaSets by their sizes, so that a rollout under way keeps its balance and
/// one bad template cannot take all.
fn proportionally(deployment: &Deployment, mut sets: Vec<Arc<ReplicaSet>>, plan: &mut Plan) {
    let wanted = sizes::wanted(deployment);
    let allowed = if wanted > 0 { wanted + sizes::max_surge(deployment) } else { 0 };
    let to_add = allowed - sizes::sum(&sets);
    // Of equal sizes the newest grows first and the oldest shrinks first.
    let created = |set: &ReplicaSet| set.metadata.creation_timestamp.map(|time| time.seconds);
    if to_add > 0 {
        sets.sort_by(|a, b| sizes::of(b).cmp(&sizes::of(a)).then(created(b).cmp(&created(a))));
    } else {
        sets.sort_by(|a, b| sizes::of(b).cmp(&sizes::of(a)).then(created(a).cmp(&created(b))));
    }
    let mut added = 0;
    let mut targets = Vec::new();
    for set in &sets {
        let share = if to_add == 0 { 0 } else { share(deployment, set, to_add, added) };
        added += share;
        targets.push(sizes::of(set) + share);
    }
    if let Some(first) = targets.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (set, target) in sets.iter().zip(targets) {
        resize(deployment, set, target, plan);
    }
}

fn share(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    let size = sizes::of(set);
    if size == 0 || to_add == added {
        return 0;
    }
    let (fraction, left) = (fraction(deployment, set), to_add - added);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// What the set gains when all grow by the same factor.
fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    let (size, wanted) = (sizes::of(set), sizes::wanted(deployment));
    if wanted == 0 {
        return -size;
    }
    let before = annotation(set, MAX).filter(|max| *max > 0).unwrap_or(deployment.status.replicas);
    if before <= 0 {
        return 0;
    }
    let target = f64::from(size) * f64::from(wanted + sizes::max_surge(deployment)) / f64::from(before);
    target.round() as i32 - size
}

/// Plans another size for the set, with its size annotations brought up to date. Returns whether the size changes.
pub(crate) fn resize(deployment: &Deployment, set: &Arc<ReplicaSet>, size: i32, plan: &mut Plan) -> bool {
    let before = sizes::of(set);
    let mut changed = (**set).clone();
    let wanted = sizes::wanted(deployment);
    let annotated =
        set_sizes(&mut changed.metadata.annotations, wanted, wanted + sizes::max_surge(deployment));
    if before == size && !annotated {
        return false;
    }
    changed.spec.replicas = Some(size);
    let (about, name) = (deployment.clone(), set.metadata.name.clone());
    plan.push(Write::update(changed).on_success(move |_| {
        let direction = if size > before { "up" } else { "down" };
        (size != before).then(|| {
            let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
            Note::normal(&about, "ScalingReplicaSet", message)
        })
    }));
    before != size
}
