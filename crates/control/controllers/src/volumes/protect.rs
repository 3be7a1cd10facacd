//! Finalizers that keep a claim while pods use it, a volume while it is bound, and a class of volume attributes while
//! claims or volumes have it.

use informer::Key;
use meta::{Kind, List, Object, Str};
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use types::storage::v1::VolumeAttributesClass;

use crate::common::pods;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const CLASS: &str = "kubernetes.io/vac-protection";
const BY_CLASS: &str = "volumeAttributesClassName";

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

/// Starts the controller that protects classes of volume attributes.
pub(crate) fn start_classes(context: &Context) -> Running {
    let component = "volumeattributesclass-protection-controller";
    Controller::new("vacprotection", component, context.clone(), Classes)
        .index::<PersistentVolumeClaim>(BY_CLASS, classes_of_claim)
        .index::<PersistentVolume>(BY_CLASS, classes_of_volume)
        .of::<VolumeAttributesClass>()
        .on::<PersistentVolumeClaim>(|claim, _| keys(classes_of_claim(claim)))
        .on::<PersistentVolume>(|volume, _| keys(classes_of_volume(volume)))
        .start()
}

fn keys(names: Vec<Str>) -> Vec<Key> {
    names.iter().map(|name| Key::new("", name)).collect()
}

/// Names of the classes that a claim has, had, or shall have.
fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<Str> {
    let status = &claim.status;
    let target = status.modify_volume_status.as_ref();
    let target = target.map(|modify| modify.target_volume_attributes_class_name.clone());
    let names = [
        claim.spec.volume_attributes_class_name.clone(),
        status.current_volume_attributes_class_name.clone(),
        target,
    ];
    let mut names: Vec<Str> = names.into_iter().flatten().filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

fn classes_of_volume(volume: &PersistentVolume) -> Vec<Str> {
    volume.spec.volume_attributes_class_name.iter().filter(|name| !name.is_empty()).cloned().collect()
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

pub(crate) struct Classes;

impl Reconciler for Classes {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(class) = world.get_key::<VolumeAttributesClass>(key) else { return Next::Done };
        let used = || {
            !world.cache::<PersistentVolume>().find(BY_CLASS, &key.name).is_empty()
                || !world.cache::<PersistentVolumeClaim>().find(BY_CLASS, &key.name).is_empty()
        };
        protect(&*class, CLASS, used, plan);
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
