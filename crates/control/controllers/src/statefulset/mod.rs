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
use meta::Codec;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::apps::v1::{ControllerRevision, StatefulSet};
use types::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};

use crate::common::claim::{Claimant, claim, concerned};
use crate::common::owners::{controller_of, controller_ref};
use crate::common::revisions::{HASH_LABEL, HISTORY_LABEL, History, collided};
use crate::common::{pods, selector};
use crate::replicas::namespace_ends;

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
        let history = History::of(&*set, world.list(&key.namespace), &set.spec.template);
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
        let status = status::of(&set, &owned, &changes, &templates, now);
        storage::keep(&set, &owned, &changes, world, plan);

        let mut writes = Vec::new();
        for pod in &changes.create {
            for (_, claim) in storage::claims(&set, &pod.metadata.name) {
                if world.get::<PersistentVolumeClaim>(&key.namespace, &claim.metadata.name).is_none() {
                    plan.push(create_claim(&set, claim, &pod.metadata.name));
                }
            }
            writes.push(create(&set, pod.clone()));
        }
        writes.extend(changes.delete.iter().map(|pod| delete(&set, pod)));
        plan.all(writes);
        let again = owned
            .iter()
            .filter_map(|pod| pods::seconds_to_available(pod, set.spec.min_ready_seconds, now))
            .filter(|seconds| *seconds > 0)
            .min();
        let used: Vec<String> = owned.iter().map(|pod| pod.metadata.label(HASH_LABEL).to_owned()).collect();
        plan.then(move |outcome, plan| {
            if let Some(failed) = outcome.error() {
                return if namespace_ends(failed) { Next::Done } else { Next::Retry };
            }
            if status != set.status {
                let mut told = (*set).clone();
                told.status = status;
                plan.push(Write::update_status(told).ignore(404));
            }
            let current = &templates.current_name;
            history.clean_up(
                set.spec.revision_history_limit.unwrap_or(10),
                |revision| {
                    revision.metadata.name == *current
                        || used.iter().any(|name| *name == revision.metadata.name.as_str())
                },
                plan,
            );
            let next = again.map_or(Next::Done, |seconds| Next::After(Duration::from_secs(seconds as u64)));
            plan.then(move |outcome, _| if outcome.error().is_some() { Next::Retry } else { next });
            next
        });
        Next::Done
    }
}

/// The template that a revision keeps.
fn template_of(revision: &ControllerRevision) -> Option<Box<PodTemplateSpec>> {
    let value = revision.data.to_value().ok()?;
    let template = serde_json::to_vec(value.get("spec")?.get("template")?).ok()?;
    PodTemplateSpec::from_json(&template).ok().map(Box::new)
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
            let set = &refused.metadata.name;
            let message =
                format!("Create Pod {refused_name} in StatefulSet {set} failed error: {}", status.message);
            Some(Note::warning(&*refused, "FailedCreate", message))
        })
}

fn create_claim(set: &Arc<StatefulSet>, claim: PersistentVolumeClaim, pod: &str) -> Write {
    let (created, name, pod) = (set.clone(), claim.metadata.name.clone(), pod.to_owned());
    Write::create(claim).ignore(409).on_success(move |_| {
        let message =
            format!("Create Claim {name} Pod {pod} in StatefulSet {} success", created.metadata.name);
        Some(Note::normal(&*created, "SuccessfulCreate", message))
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
