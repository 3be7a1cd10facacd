//! The ReplicaSet of the present template, revision numbers, and what is kept of old ones.

use std::sync::Arc;

use meta::{LabelSelector, Map, Str};
use reconcile::{Next, Note, Plan, World, Write};
use types::apps::v1::{Deployment, ReplicaSet};
use types::core::v1::PodTemplateSpec;

use super::conditions::{self, PROGRESSING};
use super::{View, sizes};
use crate::common::hash::template_hash;
use crate::common::owners::{controller_ref, is_controlled_by};
use crate::common::rank::oldest_first;
use crate::replicas::namespace_ends;

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH_LABEL: &str = "pod-template-hash";
/// Annotations that stay with the object that has them.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// Longest history annotation, in characters.
const HISTORY_MAX: usize = 2000;

/// Tells the ReplicaSet of the present template from the others.
pub(crate) fn split<'a>(
    deployment: &'a Deployment,
    mut sets: Vec<Arc<ReplicaSet>>,
    world: &'a World,
) -> View<'a> {
    // Several may match after a change of defaults; the oldest counts, so that the choice is stable.
    sets.sort_by_key(|set| oldest_first(&set.metadata));
    let wanted = without_hash(&deployment.spec.template);
    let new = sets.iter().find(|set| without_hash(&set.spec.template) == wanted).cloned();
    sets.retain(|set| new.as_ref().is_none_or(|new| new.metadata.uid != set.metadata.uid));
    View { deployment, new, old: sets, world }
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    template.metadata.labels.remove(HASH_LABEL);
    template
}

pub(crate) fn number(set: &ReplicaSet) -> i64 {
    set.metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes the new ReplicaSet and its annotations as they should be. `true` when that is planned and the next look has to
/// go on from there.
pub(crate) fn sync(view: &View<'_>, create: bool, plan: &mut Plan) -> bool {
    let revision = view.old.iter().map(|set| number(set)).max().unwrap_or(0) + 1;
    match &view.new {
        Some(set) => annotate(view, set, revision, plan),
        None if create => {
            make(view, revision, plan);
            true
        }
        None => false,
    }
}

fn annotate(view: &View<'_>, set: &Arc<ReplicaSet>, revision: i64, plan: &mut Plan) -> bool {
    let deployment = view.deployment;
    let mut changed = (**set).clone();
    take_annotations(deployment, &mut changed, revision, true);
    changed.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
    if changed.metadata.annotations != set.metadata.annotations
        || changed.spec.min_ready_seconds != set.spec.min_ready_seconds
    {
        plan.update(changed);
        return true;
    }
    let mut told = deployment.clone();
    let known = set.metadata.annotations.get(REVISION).cloned().unwrap_or_default();
    let mut news = set_revision(&mut told, &known);
    if conditions::has_deadline(deployment) && conditions::get(&deployment.status, PROGRESSING).is_none() {
        let message = format!("Found new replica set \"{}\"", set.metadata.name);
        conditions::set(
            &mut told.status,
            conditions::new(PROGRESSING, "True", "FoundNewReplicaSet", message, view.world.now()),
        );
        news = true;
    }
    if news {
        plan.update_status(told);
    }
    news
}

fn make(view: &View<'_>, revision: i64, plan: &mut Plan) {
    let deployment = view.deployment;
    let hash = template_hash(&*deployment.spec.template, deployment.status.collision_count);
    let mut set = ReplicaSet::default();
    set.metadata.name = Str::from(format!("{}-{hash}", deployment.metadata.name));
    set.metadata.namespace = deployment.metadata.namespace.clone();
    set.spec.template = deployment.spec.template.clone();
    set.spec.template.metadata.labels.insert(HASH_LABEL, hash.as_str().into());
    set.metadata.labels = set.spec.template.metadata.labels.clone();
    let mut selector: LabelSelector = deployment.spec.selector.as_deref().cloned().unwrap_or_default();
    selector.match_labels.insert(HASH_LABEL, hash.as_str().into());
    set.spec.selector = Some(Box::new(selector));
    set.metadata.owner_references.push(controller_ref(deployment));
    set.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
    let size = sizes::of_new(deployment, 0, sizes::sum(&view.old));
    set.spec.replicas = Some(size);
    take_annotations(deployment, &mut set, revision, false);

    let name = set.metadata.name.clone();
    let (deployment, now) = (deployment.clone(), view.world.now());
    let existing = Write::get(call::Target::of::<ReplicaSet>(&set.metadata.namespace).named(&name));
    let template = without_hash(&deployment.spec.template);
    plan.push(Write::create(set));
    plan.then(move |outcome, plan| match outcome.error() {
        None => {
            if size > 0 {
                let message = format!("Scaled up replica set {name} from 0 to {size}");
                plan.event(Note::normal(&deployment, "ScalingReplicaSet", message));
            }
            let mut told = deployment.clone();
            let mut news = set_revision(&mut told, &revision.to_string());
            if conditions::has_deadline(&deployment) {
                let message = format!("Created new replica set \"{name}\"");
                let condition = conditions::new(PROGRESSING, "True", "NewReplicaSetCreated", message, now);
                conditions::set(&mut told.status, condition);
                news = true;
            }
            if news {
                plan.update_status(told);
            }
            Next::Done
        }
        // The name is taken: by our own set, which the cache will show soon, or by another template with the same hash.
        Some(status) if status.code == 409 => {
            plan.push(existing);
            plan.then(move |outcome, plan| {
                let found = outcome.results.first().and_then(|result| match result {
                    Ok(reconcile::Answer::Object(object)) => meta::downcast::<ReplicaSet>(object.clone()),
                    _ => None,
                });
                let ours = found.is_some_and(|set| {
                    is_controlled_by(&set.metadata, &deployment.metadata)
                        && without_hash(&set.spec.template) == template
                });
                if !ours {
                    let mut counted = deployment.clone();
                    counted.status.collision_count = Some(deployment.status.collision_count.unwrap_or(0) + 1);
                    plan.update_status(counted);
                }
                Next::Retry
            });
            Next::Retry
        }
        Some(status) if namespace_ends(status) => Next::Done,
        Some(status) => {
            let message = format!("Failed to create new replica set \"{name}\": {}", status.message);
            plan.event(Note::warning(&deployment, "ReplicaSetCreateError", message.as_str()));
            if conditions::has_deadline(&deployment) {
                let mut told = deployment.clone();
                let condition = conditions::new(PROGRESSING, "False", "ReplicaSetCreateError", message, now);
                conditions::set(&mut told.status, condition);
                plan.update_status(told);
            }
            Next::Retry
        }
    });
}

/// Writes the Deployment's own revision annotation. Returns whether it changed.
fn set_revision(deployment: &mut Deployment, revision: &str) -> bool {
    let annotations = &mut deployment.metadata.annotations;
    if revision.is_empty() || annotations.get(REVISION).is_some_and(|known| known == revision) {
        return false;
    }
    annotations.insert(REVISION, revision.into());
    true
}

/// Gives the set the Deployment's annotations and its revision.
fn take_annotations(deployment: &Deployment, set: &mut ReplicaSet, revision: i64, exists: bool) {
    let annotations = &mut set.metadata.annotations;
    for (key, value) in deployment.metadata.annotations.iter() {
        if !NOT_COPIED.contains(&key.as_str()) && annotations.get(key) != Some(value) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let before = annotations.get(REVISION).cloned().unwrap_or_default();
    let number: i64 = before.parse().unwrap_or(0);
    if number < revision {
        annotations.insert(REVISION, Str::from(revision.to_string()));
        if !before.is_empty() {
            remember(annotations, &before);
        }
    }
    if !exists {
        set_sizes(
            annotations,
            sizes::wanted(deployment),
            sizes::wanted(deployment) + sizes::max_surge(deployment),
        );
    }
}

/// Appends to the history of revisions that a template had before it was rolled back to.
fn remember(annotations: &mut Map<Str>, revision: &str) {
    let known = annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
    let mut history: Vec<&str> = known.split(',').filter(|part| !part.is_empty()).collect();
    history.push(revision);
    while history.iter().map(|part| part.len() + 1).sum::<usize>() > HISTORY_MAX {
        history.remove(0);
    }
    annotations.insert(REVISION_HISTORY, Str::from(history.join(",")));
}

/// Writes the sizes that scaling reads back. Returns whether anything changed.
pub(crate) fn set_sizes(annotations: &mut Map<Str>, desired: i32, max: i32) -> bool {
    let mut changed = false;
    for (key, number) in [(DESIRED, desired), (MAX, max)] {
        let text = Str::from(number.to_string());
        if annotations.get(key) != Some(&text) {
            annotations.insert(key, text);
            changed = true;
        }
    }
    changed
}

/// Deletes old revisions beyond the limit, lowest first. Only sets without pods are deleted.
pub(crate) fn clean_up(view: &View<'_>, plan: &mut Plan) {
    let Some(limit) = view.deployment.spec.revision_history_limit else { return };
    if limit == i32::MAX {
        return;
    }
    let mut old: Vec<_> = view.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    let surplus = old.len().saturating_sub(limit.max(0) as usize);
    old.sort_by_key(|set| (number(set), oldest_first(&set.metadata)));
    let empty = |set: &ReplicaSet| {
        set.status.replicas == 0
            && sizes::of(set) == 0
            && set.metadata.generation <= set.status.observed_generation
    };
    let deletes =
        old.into_iter().take(surplus).filter(|set| empty(set)).map(|set| Write::delete(&**set)).collect();
    plan.all(deletes);
}
