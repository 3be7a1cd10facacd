//! Creating what is missing and deleting what is too much.

use std::sync::{Arc, LazyLock};

use meta::{Object, Status};
use reconcile::{Next, Note, Plan, World, Write};
use telemetry::Histogram;
use types::core::v1::Pod;

use super::set::{Replicated, Set};
use crate::common::owners::controller_of;
use crate::common::{pods, rank};

/// Most pods created or deleted in one go, as upstream.
const BURST: usize = 500;

/// Plans creations or deletions so that `active` becomes as many as wanted.
pub(crate) fn plan<K: Replicated>(
    object: &K,
    set: &Set,
    active: &[Arc<Pod>],
    world: &World,
    plan: &mut Plan,
) {
    let wanted = set.replicas.max(0) as usize;
    if active.len() < wanted {
        let missing = (wanted - active.len()).min(BURST);
        plan.slow_start((0..missing).map(|_| create(object, set)).collect());
    } else if active.len() > wanted {
        let surplus = (active.len() - wanted).min(BURST);
        let mut victims = active.to_vec();
        if wanted > 0 {
            let related = related(object, active, world);
            rank::sort(&mut victims, &related, world.unix_seconds());
        }
        age_ratios(&victims, surplus, world.unix_seconds());
        plan.all(victims.iter().take(surplus).map(|pod| delete(object, pod)).collect());
    }
}

static AGE_RATIO: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.25, 2.0, 6);
    let help = "Age of pods that are chosen for deletion, as a multiple of that of the youngest ready pod.";
    telemetry::histogram("replicaset_controller_sorting_deletion_age_ratio", help, &[], &limits).with(&[])
});

/// Measures how old the first `chosen` of the sorted pods are, compared with the youngest that is ready.
fn age_ratios(sorted: &[Arc<Pod>], chosen: usize, now_s: i64) {
    let age = |pod: &Arc<Pod>| pod.metadata.creation_timestamp.map(|time| now_s - time.seconds);
    let ready = |pod: &&Arc<Pod>| pods::is_ready(pod);
    let youngest = sorted.iter().filter(ready).filter_map(age).min();
    let Some(youngest) = youngest.filter(|youngest| *youngest > 0) else { return };
    for age in sorted.iter().take(chosen).filter(ready).filter_map(age) {
        // Whole multiples, as upstream counts them.
        AGE_RATIO.observe((age / youngest) as f64);
    }
}

fn create<K: Replicated>(object: &K, set: &Set) -> Write {
    let pod = pods::from_template(&set.template, object.meta(), set.owner.clone());
    let (created, refused) = (object.clone(), object.clone());
    Write::create(pod)
        .on_success(move |pod| {
            Some(Note::normal(&created, "SuccessfulCreate", format!("Created pod: {}", pod?.meta().name)))
        })
        .on_failure(move |status| {
            (!namespace_ends(status)).then(|| {
                Note::warning(&refused, "FailedCreate", format!("Error creating: {}", status.message))
            })
        })
}

fn delete<K: Replicated>(object: &K, pod: &Pod) -> Write {
    let (deleted, refused) = (object.clone(), object.clone());
    let name = pod.metadata.name.clone();
    Write::delete(pod)
        .on_success(move |_| Some(Note::normal(&deleted, "SuccessfulDelete", format!("Deleted pod: {name}"))))
        .on_failure(move |status| {
            Some(Note::warning(&refused, "FailedDelete", format!("Error deleting: {}", status.message)))
        })
}

/// The active pods of all sets with the same controller: the revisions of one Deployment crowd nodes together.
fn related<K: Replicated>(object: &K, active: &[Arc<Pod>], world: &World) -> Vec<Arc<Pod>> {
    let Some(controller) = controller_of(object.meta()) else { return active.to_vec() };
    let siblings = world.owned::<K>(&controller.uid);
    siblings.iter().flat_map(|set| world.owned::<Pod>(&set.meta().uid)).collect()
}

/// When to look again after a refusal: never, where the namespace ends.
pub(crate) fn after(refusal: &Status) -> Next {
    if namespace_ends(refusal) { Next::Done } else { Next::Retry }
}

/// Whether `status` says that nothing can be created because the namespace is being deleted.
pub(crate) fn namespace_ends(status: &Status) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}
