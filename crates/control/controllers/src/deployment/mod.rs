//! Deployments: rolling from one template to the next by ReplicaSets.
//!
//! Each look takes at most one stage (adopt, make or annotate the new ReplicaSet, scale, clean up) and is called again
//! by what the stage changed. [`rollout`] decides on sizes, [`revision`] on the new ReplicaSet and its annotations,
//! [`status`] on conditions and progress.

mod conditions;
mod revision;
mod rollout;
mod scale;
mod sizes;
mod status;

use std::sync::Arc;

use informer::Key;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World};
use types::apps::v1::{Deployment, ReplicaSet};
use types::core::v1::Pod;

use crate::common::claim::{Claimant, claim, concerned};
use crate::common::owners::{controller_of, controller_ref};
use crate::common::selector;

pub(crate) const COMPONENT: &str = "deployment-controller";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("deployment", COMPONENT, context.clone(), Deployments)
        .of::<Deployment>()
        .on::<ReplicaSet>(keys_of)
        // A Recreate rollout waits for the last old pod to end.
        .on_change::<Pod>(|change, world| {
            let pod = change.object();
            let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else {
                return Vec::new();
            };
            let set = world.get::<ReplicaSet>(&pod.metadata.namespace, &owner.name);
            set.map(|set| keys_of(&set, world)).unwrap_or_default()
        })
        .start()
}

/// The Deployments that a change of `set` concerns: its controller, or whoever may adopt it.
fn keys_of(set: &ReplicaSet, world: &World) -> Vec<Key> {
    concerned(set, world, |deployment: &Deployment, labels| {
        selector::selects(deployment.spec.selector.as_deref(), labels)
    })
}

/// What the stages share.
struct View<'a> {
    deployment: &'a Deployment,
    /// The ReplicaSet of the present template.
    new: Option<Arc<ReplicaSet>>,
    /// All others, oldest first.
    old: Vec<Arc<ReplicaSet>>,
    world: &'a World,
}

impl View<'_> {
    fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }
}

pub(crate) struct Deployments;

impl Reconciler for Deployments {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(deployment) = world.get_key::<Deployment>(key) else { return Next::Done };
        let deployment = &*deployment;
        if selector::is_empty(deployment.spec.selector.as_deref()) {
            return refuse_all(deployment, plan);
        }
        let owner = controller_ref(deployment);
        let claimant = Claimant {
            owner: &deployment.metadata,
            reference: &owner,
            selector: deployment.spec.selector.as_deref(),
            finalizer: None,
        };
        let sets = claim(world.list::<ReplicaSet>(&key.namespace), &claimant, plan, |_| true);
        if !plan.is_empty() {
            // Decide about sizes with the adopted ones as they will be.
            return Next::Done;
        }
        let view = revision::split(deployment, sets, world);
        if deployment.metadata.deletion_timestamp.is_some() {
            return status::sync(&view, plan);
        }
        if let Some(changed) = conditions::paused(deployment, world.now()) {
            plan.update_status(changed);
            return Next::Done;
        }
        if deployment.spec.paused || scale::is_asked_for(&view) {
            return scale::sync(&view, plan);
        }
        match deployment.spec.strategy.type_.as_str() {
            "Recreate" => rollout::recreate(&view, plan),
            _ => rollout::rolling(&view, plan),
        }
    }
}

/// A selector without requirements would take every pod of the namespace.
fn refuse_all(deployment: &Deployment, plan: &mut Plan) -> Next {
    const MESSAGE: &str = "This deployment is selecting all pods. A non-empty selector is required.";
    plan.event(Note::warning(deployment, "SelectingAll", MESSAGE));
    if deployment.status.observed_generation < deployment.metadata.generation {
        let mut changed = deployment.clone();
        changed.status.observed_generation = deployment.metadata.generation;
        plan.update_status(changed);
    }
    Next::Done
}
