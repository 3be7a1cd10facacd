//! ReplicaSets and ReplicationControllers: as many pods as wanted.
//!
//! Both kinds are one controller over [`Set`], which is what they have in common.

mod manage;
mod set;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use informer::Key;
use meta::Object;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World};
use types::apps::v1::ReplicaSet;
use types::core::v1::{Pod, ReplicationController};

use crate::common::claim::{Claimant, claim, concerned};
use crate::common::pods;
use crate::common::selector::selects;

pub(crate) use manage::{after, namespace_ends};
use set::{Replicated, Set};

/// Starts the controller of ReplicaSets.
pub(crate) fn start_replicasets(context: &Context) -> Running {
    start::<ReplicaSet>(context, "replicaset", "replicaset-controller")
}

/// Starts the controller of ReplicationControllers.
pub(crate) fn start_replicationcontrollers(context: &Context) -> Running {
    start::<ReplicationController>(context, "replicationmanager", "replication-controller")
}

fn start<K: Replicated>(context: &Context, name: &'static str, component: &'static str) -> Running {
    Controller::new(name, component, context.clone(), Replicas::<K>(std::marker::PhantomData))
        .of::<K>()
        .on::<Pod>(|pod, world| {
            concerned(pod, world, |set: &K, labels| selects(Set::of(set).selector.as_ref(), labels))
        })
        .start()
}

pub(crate) struct Replicas<K>(std::marker::PhantomData<fn() -> K>);

impl<K> Default for Replicas<K> {
    fn default() -> Self {
        Replicas(std::marker::PhantomData)
    }
}

impl<K: Replicated> Reconciler for Replicas<K> {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(object) = world.get_key::<K>(key) else { return Next::Done };
        let set = Set::of(&*object);
        let candidates = world.list::<Pod>(&key.namespace);
        let claimant = Claimant {
            owner: object.meta(),
            reference: &set.owner,
            selector: set.selector.as_ref(),
            finalizer: None,
        };
        let owned = claim(candidates, &claimant, plan, pods::is_active);
        let terminating = owned.iter().filter(|pod| pods::is_terminating(pod)).count();
        let active: Vec<Arc<Pod>> = owned.into_iter().filter(|pod| pods::is_active(pod)).collect();

        let difference = active.len() as i64 - i64::from(set.replicas);
        if object.meta().deletion_timestamp.is_none() {
            manage::plan(&*object, &set, &active, world, plan);
        }
        let now = world.now();
        let again = status::next_available(&set, &active, now.seconds);
        plan.then(move |outcome, plan| {
            let failure = outcome.error().cloned();
            let counts = status::count(&set, &active, terminating, now.seconds);
            let changed = status::update(&*object, &counts, difference, failure.as_ref(), now);
            if let Some(changed) = changed {
                plan.push(reconcile::Write::update_status(changed).ignore(404));
            }
            let verdict = match (outcome.error(), again) {
                // Nothing can be created in a namespace that ends: its end will end this set as well.
                (Some(status), _) if manage::namespace_ends(status) => Next::Done,
                (Some(_), _) => Next::Retry,
                (None, Some(seconds)) => Next::After(Duration::from_secs(seconds.max(1) as u64)),
                (None, None) => Next::Done,
            };
            plan.then(move |written, _| if written.error().is_some() { Next::Retry } else { verdict });
            verdict
        });
        Next::Done
    }
}
