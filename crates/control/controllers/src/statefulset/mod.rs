//! StatefulSets: pods with lasting names and volumes, made and replaced in order.

mod identity;
mod order;
mod status;
mod storage;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use informer::Key;
use meta::{Codec, Status, Str};
use reconcile::{Context, Controller, Next, Note, Outcome, Plan, Reconciler, Running, World, Write};
use types::apps::v1::{ControllerRevision, StatefulSet};
use types::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};

use crate::common::claim::{Claimant, claim, concerned};
use crate::common::owners::{controller_of, controller_ref};
use crate::common::revisions::{HASH_LABEL, HISTORY_LABEL, History, collided};
use crate::common::{pods, selector};
use crate::replicas::after;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("statefulset", "statefulset-controller", context.clone(), StatefulSets)
        .reads::<PersistentVolumeClaim>()
        .of::<StatefulSet>()
        .on::<Pod>(|pod, world| {
            let selects =
                |set: &StatefulSet, labels: &_| selector::selects(set.spec.selector.as_deref(), labels);
            concerned(pod, world, selects)
        })
        .on::<ControllerRevision>(|revision, _| {
            let owner = controller_of(&revision.metadata).filter(|owner| owner.kind == "StatefulSet");
            owner.map(|owner| Key::new(&revision.metadata.namespace, &owner.name)).into_iter().collect()
        })
        .start()
}

pub(crate) struct StatefulSets;

impl Reconciler for StatefulSets {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(set) = world.get_key::<StatefulSet>(key) else { return Next::Done };
        if selector::is_empty(set.spec.selector.as_deref()) {
            return Next::Done;
        }
        let revisions = world.list(&key.namespace);
        let history = History::of(&*set, set.spec.selector.as_deref(), revisions, &set.spec.template);
        if history.adopt(&*set, plan) {
            return Next::Done;
        }
        if history.sync(&*set, HISTORY_LABEL, &set.spec.template, set.status.collision_count, plan) {
            let set = set.clone();
            plan.then(move |outcome, plan| {
                if collided(outcome) {
                    let mut counted = (*set).clone();
                    counted.status.collision_count = Some(set.status.collision_count.unwrap_or(0) + 1);
                    plan.update_status(counted);
                    return Next::Done;
                }
                outcome.verdict()
            });
            return Next::Done;
        }
        let named = |pod: &Pod| identity::ordinal(&set, pod).is_some();
        let claimant = Claimant {
            owner: &set.metadata,
            reference: &controller_ref(&*set),
            selector: set.spec.selector.as_deref(),
            finalizer: None,
        };
        let mut owned = claim(world.list::<Pod>(&key.namespace), &claimant, plan, named);
        owned.retain(|pod| named(pod));

        let update = history.name();
        let known = &set.status.current_revision;
        let current = history.revisions.iter().find(|revision| revision.metadata.name == *known);
        let templates = order::Templates {
            current_name: current.map_or_else(|| update.clone(), |revision| revision.metadata.name.clone()),
            current: current.and_then(|revision| template_of(revision)),
            update_name: update,
        };
        let now = world.unix_seconds();
        let changes = order::decide(&set, &owned, &templates, now);
        for pod in owned.iter().filter(|pod| pods::is_ready(pod)) {
            if let Some(restored) = identity::restored(pod) {
                plan.push(Write::update(restored).ignore(404));
                plan.event(updated(&set, pod));
            }
        }
        storage::keep(&set, &owned, &changes, world, plan);
        let (mut claims, mut claimed) = (Vec::new(), Vec::new());
        for pod in &changes.create {
            for (_, claim) in storage::claims(&set, &pod.metadata.name) {
                if world.get::<PersistentVolumeClaim>(&key.namespace, &claim.metadata.name).is_none() {
                    claimed.push((pod.metadata.name.clone(), claim.metadata.name.clone()));
                    claims.push(create_claim(&set, claim, &pod.metadata.name));
                }
            }
        }
        let again = owned
            .iter()
            .filter_map(|pod| pods::seconds_to_available(pod, set.spec.min_ready_seconds, now))
            .filter(|seconds| *seconds > 0)
            .min();
        let next = again.map_or(Next::Done, |seconds| Next::After(Duration::from_secs(seconds as u64)));
        plan.then(move |outcome, plan| {
            if let Some(failed) = outcome.error() {
                return after(failed);
            }
            plan.all(claims);
            plan.then(move |outcome, plan| {
                let (mut changes, unclaimed) = (changes, without_claim(&claimed, outcome));
                for (pod, why) in &unclaimed {
                    plan.event(not_created(&set, pod, why));
                }
                changes.create.retain(|pod| !unclaimed.iter().any(|(name, _)| *name == pod.metadata.name));
                plan.slow_start(changes.create.iter().map(|pod| create(&set, pod.clone())).collect());
                let (look, refused) = (Look { set, owned, templates, now, next }, outcome.error().cloned());
                plan.then(move |outcome, plan| {
                    let refused = refused.or_else(|| outcome.error().cloned());
                    finish(&look, history, changes, (outcome, refused), plan)
                });
                next
            });
            next
        });
        Next::Done
    }
}

/// What one look at a set saw.
struct Look {
    set: Arc<StatefulSet>,
    owned: Vec<Arc<Pod>>,
    templates: order::Templates,
    now: i64,
    next: Next,
}

/// Once pods were made, or as many of them as could be, and what refused the others is known: takes those away that are too
/// many, and tells how the set stands.
fn finish(
    look: &Look,
    history: History,
    mut changes: order::Changes,
    (made, refused): (&Outcome, Option<Status>),
    plan: &mut Plan,
) -> Next {
    let Look { set, owned, templates, now, next } = look;
    let next = *next;
    let mut results = made.results.iter();
    changes.create.retain(|_| results.next().is_some_and(Result::is_ok));
    if refused.is_some() {
        changes.delete.clear();
    }
    plan.all(changes.delete.iter().map(|pod| delete(set, pod)).collect());
    let status = status::of(set, owned, &changes, templates, *now);
    if status != set.status {
        let mut told = (**set).clone();
        told.status = status;
        plan.push(Write::update_status(told).ignore(404));
    }
    if refused.is_none() {
        let current = &templates.current_name;
        let used = |name: &str| owned.iter().any(|pod| pod.metadata.label(HASH_LABEL) == name);
        let is_kept = |revision: &ControllerRevision| {
            revision.metadata.name == *current || used(&revision.metadata.name)
        };
        history.clean_up(set.spec.revision_history_limit.unwrap_or(10), is_kept, plan);
    }
    plan.then(move |outcome, _| match refused.as_ref().or(outcome.error()) {
        Some(failed) => after(failed),
        None => next,
    });
    next
}

/// The template that a revision keeps.
fn template_of(revision: &ControllerRevision) -> Option<Box<PodTemplateSpec>> {
    let value = revision.data.to_value().ok()?;
    let template = serde_json::to_vec(value.get("spec")?.get("template")?).ok()?;
    PodTemplateSpec::from_json(&template).ok().map(Box::new)
}

/// Tells that a pod, or what belongs to it, was brought in line with the set.
fn updated(set: &StatefulSet, pod: &Pod) -> Note {
    let message = format!("Update Pod {} in StatefulSet {} successful", pod.metadata.name, set.metadata.name);
    Note::normal(set, "SuccessfulUpdate", message)
}

fn create(set: &Arc<StatefulSet>, pod: Pod) -> Write {
    let (created, refused, name) = (set.clone(), set.clone(), pod.metadata.name.clone());
    let refused_name = name.clone();
    Write::create(pod)
        .on_success(move |_| {
            let message = format!("Create Pod {name} in StatefulSet {} successful", created.metadata.name);
            Some(Note::normal(&*created, "SuccessfulCreate", message))
        })
        .on_failure(move |status| {
            // A pod of that name that is not the set's is waited for in silence.
            if status.is_already_exists() {
                return None;
            }
            Some(not_created(&refused, &refused_name, &status.message))
        })
}

fn not_created(set: &StatefulSet, pod: &str, why: &str) -> Note {
    let message = format!("Create Pod {pod} in StatefulSet {} failed error: {why}", set.metadata.name);
    Note::warning(set, "FailedCreate", message)
}

/// The pods that cannot be made since a claim of theirs was refused, and why. `claimed` are pods and claims in the order of the
/// outcome's calls.
fn without_claim(claimed: &[(Str, Str)], outcome: &Outcome) -> Vec<(Str, String)> {
    let calls = claimed.iter().zip(&outcome.results);
    let mut refused: Vec<(Str, String)> = calls
        .filter_map(|((pod, claim), result)| {
            let status = result.as_ref().err()?;
            Some((pod.clone(), format!("failed to create PVC {claim}: {}", status.message)))
        })
        .collect();
    refused.dedup_by(|later, first| later.0 == first.0);
    refused
}

fn create_claim(set: &Arc<StatefulSet>, claim: PersistentVolumeClaim, pod: &str) -> Write {
    let (created, name, pod) = (set.clone(), claim.metadata.name.clone(), pod.to_owned());
    let (refused, its_name, its_pod) = (set.clone(), name.clone(), pod.clone());
    Write::create(claim)
        .ignore(409)
        .on_success(move |_| {
            let message =
                format!("Create Claim {name} Pod {pod} in StatefulSet {} success", created.metadata.name);
            Some(Note::normal(&*created, "SuccessfulCreate", message))
        })
        .on_failure(move |status| {
            let message = format!(
                "Create Claim {its_name} for Pod {its_pod} in StatefulSet {} failed error: {}",
                refused.metadata.name, status.message
            );
            Some(Note::warning(&*refused, "FailedCreate", message))
        })
}

fn delete(set: &Arc<StatefulSet>, pod: &Arc<Pod>) -> Write {
    let (deleted, refused, name) = (set.clone(), set.clone(), pod.metadata.name.clone());
    let refused_name = name.clone();
    Write::delete(&**pod)
        .on_success(move |_| {
            let message = format!("Delete Pod {name} in StatefulSet {} successful", deleted.metadata.name);
            Some(Note::normal(&*deleted, "SuccessfulDelete", message))
        })
        .on_failure(move |status| {
            let set = &refused.metadata.name;
            let message =
                format!("Delete Pod {refused_name} in StatefulSet {set} failed error: {}", status.message);
            Some(Note::warning(&*refused, "FailedDelete", message))
        })
}
