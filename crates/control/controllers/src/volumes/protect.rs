//! Finalizers that keep a claim while pods use it, and a volume while it is bound.

use informer::Key;
use meta::{Kind, List, Object, Str};
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};

use crate::common::pods;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Starts the controller that protects claims.
pub(crate) fn start_claims(context: &Context) -> Running {
    Controller::new("pvcprotection", "pvc-protection-controller", context.clone(), Claims)
        .of::<PersistentVolumeClaim>()
        .on::<Pod>(|pod, _| claims_of(pod).map(|name| Key::new(&pod.metadata.namespace, &name)).collect())
        .start()
}

/// Starts the controller that protects volumes.
pub(crate) fn start_volumes(context: &Context) -> Running {
    Controller::new("pvprotection", "pv-protection-controller", context.clone(), Volumes)
        .of::<PersistentVolume>()
        .start()
}

/// Names of the claims that a pod uses.
fn claims_of(pod: &Pod) -> impl Iterator<Item = Str> {
    pod.spec.volumes.iter().filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(Str::from(format!("{}-{}", pod.metadata.name, volume.name))),
        (None, None) => None,
    })
}

pub(crate) struct Claims;

impl Reconciler for Claims {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(claim) = world.get_key::<PersistentVolumeClaim>(key) else { return Next::Done };
        let used = || {
            let uses = |pod: &Pod| {
                !pod.spec.node_name.is_empty()
                    && !pods::is_finished(pod)
                    && claims_of(pod).any(|name| name == key.name)
            };
            world.list::<Pod>(&key.namespace).iter().any(|pod| uses(pod))
        };
        protect(&*claim, CLAIM, used, plan);
        Next::Done
    }
}

pub(crate) struct Volumes;

impl Reconciler for Volumes {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(volume) = world.get_key::<PersistentVolume>(key) else { return Next::Done };
        protect(&*volume, VOLUME, || volume.status.phase == "Bound", plan);
        Next::Done
    }
}

/// Puts the finalizer on what stays, and takes it off what goes and is not used any more.
fn protect<K: Kind>(object: &K, finalizer: &str, used: impl Fn() -> bool, plan: &mut Plan) {
    let meta = object.meta();
    let on = meta.finalizers.iter().any(|known| known == finalizer);
    let going = meta.deletion_timestamp.is_some();
    let mut finalizers: List<Str> = meta.finalizers.clone();
    match (going, on) {
        (false, false) => finalizers.push(finalizer.into()),
        (true, true) if !used() => finalizers.retain(|known| known != finalizer),
        _ => return,
    }
    let mut changed = object.clone();
    changed.meta_mut().finalizers = finalizers;
    plan.push(Write::update(changed).ignore(404));
}
