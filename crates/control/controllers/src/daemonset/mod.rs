//! DaemonSets: one pod on every node that fits.

mod failures;
mod place;
mod status;
mod update;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use informer::Key;
use meta::Str;
use parking_lot::Mutex;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::apps::v1::{ControllerRevision, DaemonSet};
use types::core::v1::{Node, Pod};

pub use self::place::daemon_pods;
use crate::common::claim::{Claimant, claim, concerned};
use crate::common::owners::{controller_of, controller_ref};
use crate::common::revisions::{HASH_LABEL, History, collided};
use crate::common::{pods, selector};
use crate::replicas::namespace_ends;

use failures::Failures;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("daemonset", "daemonset-controller", context.clone(), DaemonSets::default())
        .of::<DaemonSet>()
        .on::<Pod>(|pod, world| {
            let selects =
                |set: &DaemonSet, labels: &_| selector::selects(set.spec.selector.as_deref(), labels);
            concerned(pod, world, selects)
        })
        .on::<ControllerRevision>(|revision, _| {
            let owner = controller_of(&revision.metadata).filter(|owner| owner.kind == "DaemonSet");
            owner.map(|owner| Key::new(&revision.metadata.namespace, &owner.name)).into_iter().collect()
        })
        .on_change::<Node>(|change, world| {
            let node = change.object();
            let same = |old: &Arc<Node>| {
                old.metadata.labels == node.metadata.labels && old.spec.taints == node.spec.taints
            };
            if change.old().is_some_and(same) {
                return Vec::new();
            }
            world.list_all::<DaemonSet>().iter().map(|set| Key::of(&**set)).collect()
        })
        .start()
}

/// The pods of a DaemonSet by the node that each is for.
type ByNode = BTreeMap<Str, Vec<Arc<Pod>>>;

#[derive(Default)]
pub(crate) struct DaemonSets {
    failures: Mutex<HashMap<Key, Failures>>,
}

impl Reconciler for DaemonSets {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(set) = world.get_key::<DaemonSet>(key) else {
            self.failures.lock().remove(key);
            return Next::Done;
        };
        if selector::is_empty(set.spec.selector.as_deref()) {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            plan.event(Note::warning(&*set, "SelectingAll", message));
            return Next::Done;
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Next::Done;
        }
        let revisions = world.list(&key.namespace);
        let history = History::of(&*set, set.spec.selector.as_deref(), revisions, &set.spec.template);
        if history.adopt(&*set, plan) {
            return Next::Done;
        }
        if history.sync(&*set, HASH_LABEL, &set.spec.template, set.status.collision_count, plan) {
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
        let claimant = Claimant {
            owner: &set.metadata,
            reference: &controller_ref(&*set),
            selector: set.spec.selector.as_deref(),
            finalizer: None,
        };
        let owned = claim(world.list::<Pod>(&key.namespace), &claimant, plan, |_| true);
        let mut by_node = ByNode::new();
        for pod in &owned {
            by_node.entry(place::node_of(pod)).or_default().push(pod.clone());
        }
        let nodes = world.list_all::<Node>();
        let hash = history.hash();
        let changes = {
            let mut all = self.failures.lock();
            let failures = all.entry(key.clone()).or_default();
            failures.keep_up(&set.metadata.uid, set.metadata.generation, world.unix_seconds());
            place::decide(&set, &nodes, &by_node, &hash, failures, world.unix_seconds())
        };
        for (pod, node) in &changes.ended {
            plan.event(over(&set, pod, node));
        }
        let failed_wait = changes.wait_seconds;
        let mut deletes = changes.delete;
        let mut creates = changes.create;
        if deletes.is_empty() && creates.is_empty() {
            let more = update::decide(&set, &nodes, &by_node, &hash, world.unix_seconds());
            deletes = more.delete;
            creates = more.create;
        }
        plan.all(deletes.iter().map(|pod| delete(&set, pod)).collect());
        plan.slow_start(creates.iter().map(|node| create(&set, node, &hash)).collect());
        let status = status::of(&set, &nodes, &by_node, &hash, world.unix_seconds());
        let used: Vec<Str> = owned.iter().map(|pod| pod.metadata.label(HASH_LABEL).into()).collect();
        let again = owned
            .iter()
            .filter_map(|pod| {
                pods::seconds_to_available(pod, set.spec.min_ready_seconds, world.unix_seconds())
            })
            .filter(|seconds| *seconds > 0)
            .chain(failed_wait)
            .min();
        plan.then(move |outcome, plan| {
            let failed = outcome.error().cloned();
            if status != set.status {
                let mut told = (*set).clone();
                told.status = status;
                plan.push(Write::update_status(told).ignore(404));
            }
            history.clean_up(
                set.spec.revision_history_limit.unwrap_or(10),
                |revision| used.iter().any(|hash| revision.metadata.label(HASH_LABEL) == hash.as_str()),
                plan,
            );
            plan.then(move |outcome, _| match (&failed, outcome.error(), again) {
                (Some(status), None, _) if namespace_ends(status) => Next::Done,
                (Some(_), ..) | (_, Some(_), _) => Next::Retry,
                (None, None, Some(seconds)) => Next::After(Duration::from_secs(seconds as u64)),
                (None, None, None) => Next::Done,
            });
            Next::Done
        });
        Next::Done
    }
}

/// Tells of a pod that ended where it should run.
fn over(set: &DaemonSet, pod: &Pod, node: &str) -> Note {
    let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    if pod.status.phase == "Failed" {
        let message = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
        return Note::warning(set, "FailedDaemonPod", message);
    }
    let message = format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
    Note::normal(set, "SucceededDaemonPod", message)
}

fn create(set: &Arc<DaemonSet>, node: &str, hash: &str) -> Write {
    let (created, refused) = (set.clone(), set.clone());
    Write::create(place::pod_for(set, node, hash))
        .on_success(move |pod| {
            Some(Note::normal(&*created, "SuccessfulCreate", format!("Created pod: {}", pod?.meta().name)))
        })
        .on_failure(move |status| {
            Some(Note::warning(&*refused, "FailedCreate", format!("Error creating: {}", status.message)))
        })
}

fn delete(set: &Arc<DaemonSet>, pod: &Arc<Pod>) -> Write {
    let (deleted, refused, name) = (set.clone(), set.clone(), pod.metadata.name.clone());
    Write::delete(&**pod)
        .on_success(move |_| {
            Some(Note::normal(&*deleted, "SuccessfulDelete", format!("Deleted pod: {name}")))
        })
        .on_failure(move |status| {
            Some(Note::warning(&*refused, "FailedDelete", format!("Error deleting: {}", status.message)))
        })
}
