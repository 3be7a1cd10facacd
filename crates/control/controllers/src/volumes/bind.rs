//! Binds claims to volumes, one to one.
//!
//! The volume's `claimRef` decides: it is written first, with the claim's uid, so that no two claims get one volume; the
//! claim follows. Claims of a class that waits for its first consumer are left alone until the scheduler has chosen a
//! node. Provisioning a volume for a claim is the class's provisioner's task: it is asked by an annotation and an event.

use std::sync::Arc;

use informer::Key;
use meta::{Str, Time};
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use types::storage::v1::StorageClass;

use crate::common::selector::selects;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// Marks the key of a volume; claims have a namespace.
const VOLUME: &str = "";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("claims", "persistentvolume-controller", context.clone(), Binder)
        .of::<PersistentVolume>()
        .of::<PersistentVolumeClaim>()
        .on::<PersistentVolume>(|volume, world| match &volume.spec.claim_ref {
            Some(claim) => vec![Key::new(&claim.namespace, &claim.name)],
            // A free volume may be what some claim waits for.
            None => {
                let mut waiting = world.list_all::<PersistentVolumeClaim>();
                waiting.retain(|claim| claim.spec.volume_name.is_empty());
                waiting.iter().map(|claim| Key::of(&**claim)).collect()
            }
        })
        .on::<PersistentVolumeClaim>(|claim, _| {
            let name = &claim.spec.volume_name;
            if name.is_empty() { Vec::new() } else { vec![Key::new(VOLUME, name)] }
        })
        .on::<StorageClass>(|class, world| {
            let mut waiting = world.list_all::<PersistentVolumeClaim>();
            waiting.retain(|claim| {
                claim.spec.volume_name.is_empty() && class_of(claim) == class.metadata.name.as_str()
            });
            waiting.iter().map(|claim| Key::of(&**claim)).collect()
        })
        // One at a time, so that two claims never choose one volume.
        .workers(1)
        .start()
}

pub(crate) struct Binder;

impl Reconciler for Binder {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if key.namespace.is_empty() {
            if let Some(volume) = world.get_key::<PersistentVolume>(key) {
                sync_volume(&volume, world, plan);
            }
        } else if let Some(claim) = world.get_key::<PersistentVolumeClaim>(key) {
            sync_claim(&claim, world, plan);
        }
        Next::Done
    }
}

fn class_of(claim: &PersistentVolumeClaim) -> &str {
    match claim.metadata.annotations.get(CLASS_BETA) {
        Some(class) => class,
        None => claim.spec.storage_class_name.as_deref().unwrap_or_default(),
    }
}

fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|reference| {
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (reference.uid.is_empty() || reference.uid == claim.metadata.uid)
    })
}

fn sync_claim(claim: &Arc<PersistentVolumeClaim>, world: &World, plan: &mut Plan) {
    if claim.metadata.annotations.contains_key(BIND_COMPLETED) {
        return sync_bound(claim, world, plan);
    }
    if !claim.spec.volume_name.is_empty() {
        // The user, or a provisioner, chose the volume.
        let Some(volume) = world.get::<PersistentVolume>("", &claim.spec.volume_name) else {
            return phase(claim, "Pending", plan);
        };
        return match &volume.spec.claim_ref {
            None => reserve(&volume, claim, true, world, plan),
            Some(_) if is_for(&volume, claim) => bind(&volume, claim, world, plan),
            Some(_) => phase(claim, "Pending", plan),
        };
    }
    let class = world.get::<StorageClass>("", class_of(claim));
    if let Some(volume) = choose(claim, world, delayed(claim, class.as_deref())) {
        return match &volume.spec.claim_ref {
            Some(_) => bind(&volume, claim, world, plan),
            None => reserve(&volume, claim, true, world, plan),
        };
    }
    phase(claim, "Pending", plan);
    if delayed(claim, class.as_deref()) {
        plan.event(Note::normal(
            &**claim,
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        ));
        return;
    }
    let provisioner = class
        .as_ref()
        .map(|class| class.provisioner.as_str())
        .filter(|name| *name != "kubernetes.io/no-provisioner");
    match (class_of(claim), provisioner) {
        ("", _) => plan.event(Note::normal(
            &**claim,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        )),
        (_, Some(provisioner)) => ask(claim, provisioner, plan),
        (name, None) if class.is_none() => {
            let message = format!("storageclass.storage.k8s.io \"{name}\" not found");
            plan.event(Note::warning(&**claim, "ProvisioningFailed", message));
        }
        _ => plan.event(Note::normal(
            &**claim,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        )),
    }
}

/// Whether the claim waits for a pod to be placed.
fn delayed(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> bool {
    let waits =
        class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    waits && !claim.metadata.annotations.contains_key(SELECTED_NODE)
}

fn ask(claim: &Arc<PersistentVolumeClaim>, provisioner: &str, plan: &mut Plan) {
    let mut asked = (**claim).clone();
    asked.metadata.annotations.insert(PROVISIONER, provisioner.into());
    asked.metadata.annotations.insert(PROVISIONER_BETA, provisioner.into());
    if asked != **claim {
        plan.push(Write::update(asked).ignore(404));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    plan.event(Note::normal(&**claim, "ExternalProvisioning", message));
}

/// The volume for a claim: one reserved for it, or else the smallest that is large enough.
fn choose(
    claim: &PersistentVolumeClaim,
    world: &World,
    only_reserved: bool,
) -> Option<Arc<PersistentVolume>> {
    let volumes = world.list_all::<PersistentVolume>();
    if let Some(reserved) = volumes.iter().find(|volume| is_for(volume, claim) && fits(volume, claim)) {
        return Some(reserved.clone());
    }
    let free = |volume: &&Arc<PersistentVolume>| {
        volume.spec.claim_ref.is_none()
            && volume.metadata.deletion_timestamp.is_none()
            && volume.status.phase == "Available"
    };
    let size =
        |volume: &Arc<PersistentVolume>| volume.spec.capacity.get("storage").map_or(0, |size| size.value());
    let fitting = volumes.iter().filter(free).filter(|volume| !only_reserved && fits(volume, claim));
    fitting.min_by_key(|volume| (size(volume), volume.metadata.name.clone())).cloned()
}

fn fits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let wanted = claim.spec.resources.requests.get("storage").map_or(0, |size| size.value());
    let size = volume.spec.capacity.get("storage").map_or(0, |size| size.value());
    let mode = |mode: &Option<Str>| {
        mode.clone().filter(|mode| !mode.is_empty()).unwrap_or_else(|| "Filesystem".into())
    };
    size >= wanted
        && volume.spec.storage_class_name == class_of(claim)
        && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
        && claim.spec.access_modes.iter().all(|wanted| volume.spec.access_modes.contains(wanted))
        && claim
            .spec
            .selector
            .as_ref()
            .is_none_or(|selector| selects(Some(selector), &volume.metadata.labels))
}

/// Writes the claim into the volume. What follows is another look, when the cache shows it.
fn reserve(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
    by_controller: bool,
    _world: &World,
    plan: &mut Plan,
) {
    let mut reserved = volume.clone();
    reserved.spec.claim_ref = Some(Box::new(ObjectReference {
        kind: "PersistentVolumeClaim".into(),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        api_version: "v1".into(),
        resource_version: claim.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }));
    if by_controller {
        reserved.metadata.annotations.insert(BOUND_BY_CONTROLLER, "yes".into());
    }
    plan.push(Write::update(reserved).ignore(404));
}

/// Brings volume and claim, which have found each other, to Bound.
fn bind(volume: &PersistentVolume, claim: &Arc<PersistentVolumeClaim>, world: &World, plan: &mut Plan) {
    let claimed = volume.spec.claim_ref.as_ref().is_some_and(|reference| reference.uid == claim.metadata.uid);
    if !claimed {
        return reserve(volume, claim, false, world, plan);
    }
    volume_phase(volume, "Bound", "", world.now(), plan);
    let mut bound = (**claim).clone();
    if bound.spec.volume_name.is_empty() {
        bound.spec.volume_name = volume.metadata.name.clone();
        bound.metadata.annotations.insert(BOUND_BY_CONTROLLER, "yes".into());
    }
    bound.metadata.annotations.insert(BIND_COMPLETED, "yes".into());
    plan.push(Write::update(bound).ignore(404));
}

fn sync_bound(claim: &Arc<PersistentVolumeClaim>, world: &World, plan: &mut Plan) {
    let volume = world.get::<PersistentVolume>("", &claim.spec.volume_name);
    let Some(volume) = volume.filter(|volume| is_for(volume, claim)) else {
        let taken = world.get::<PersistentVolume>("", &claim.spec.volume_name).is_some();
        let message = if taken {
            "Two claims are bound to the same volume, this one is bound incorrectly"
        } else {
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        };
        if claim.status.phase != "Lost" {
            plan.event(Note::warning(&**claim, if taken { "ClaimMisbound" } else { "ClaimLost" }, message));
            phase(claim, "Lost", plan);
        }
        return;
    };
    volume_phase(&volume, "Bound", "", world.now(), plan);
    let mut told = (**claim).clone();
    told.status.phase = "Bound".into();
    if claim.status.phase != "Bound" || claim.status.capacity.is_empty() {
        told.status.access_modes = volume.spec.access_modes.clone();
        told.status.capacity = volume.spec.capacity.clone();
    }
    if told.status != claim.status {
        plan.push(Write::update_status(told).ignore(404));
    }
}

fn phase(claim: &Arc<PersistentVolumeClaim>, phase: &str, plan: &mut Plan) {
    if claim.status.phase != phase {
        let mut told = (**claim).clone();
        told.status.phase = phase.into();
        plan.push(Write::update_status(told).ignore(404));
    }
}

fn volume_phase(volume: &PersistentVolume, phase: &str, message: &str, now: Time, plan: &mut Plan) {
    if volume.status.phase != phase || volume.status.message != message {
        let mut told = volume.clone();
        told.status.phase = phase.into();
        told.status.message = message.into();
        told.status.last_phase_transition_time = Some(now);
        plan.push(Write::update_status(told).ignore(404));
    }
}

fn sync_volume(volume: &Arc<PersistentVolume>, world: &World, plan: &mut Plan) {
    let now = world.now();
    let Some(reference) = volume.spec.claim_ref.as_ref() else {
        return volume_phase(volume, "Available", "", now, plan);
    };
    if reference.uid.is_empty() {
        // Reserved by hand for a claim that may come later.
        return volume_phase(volume, "Available", "", now, plan);
    }
    let claim = world.get::<PersistentVolumeClaim>(&reference.namespace, &reference.name);
    match claim.filter(|claim| claim.metadata.uid == reference.uid) {
        Some(claim)
            if claim.spec.volume_name.is_empty() || claim.spec.volume_name == volume.metadata.name =>
        {
            // The claim's own look completes the binding.
        }
        Some(_) => {
            // The claim went elsewhere: what was written here for it is taken back.
            if volume.metadata.annotations.contains_key(BOUND_BY_CONTROLLER) {
                let mut freed = (**volume).clone();
                freed.spec.claim_ref = None;
                freed.metadata.annotations.remove(BOUND_BY_CONTROLLER);
                plan.push(Write::update(freed).ignore(404));
            }
        }
        None => release(volume, now, plan),
    }
}

/// The claim is gone: the volume is released, and then reclaimed as its policy says.
fn release(volume: &Arc<PersistentVolume>, now: Time, plan: &mut Plan) {
    if volume.status.phase != "Released" && volume.status.phase != "Failed" {
        return volume_phase(volume, "Released", "", now, plan);
    }
    // Deleting what is behind the volume is its provisioner's task; volumes made by hand have none.
    let provisioned = volume.metadata.annotations.contains_key("pv.kubernetes.io/provisioned-by");
    if volume.spec.persistent_volume_reclaim_policy == "Delete"
        && !provisioned
        && volume.status.phase == "Released"
    {
        let message = "error getting deleter volume plugin for volume: no deletable volume plugin matched";
        plan.event(Note::warning(&**volume, "VolumeFailedDelete", message));
        volume_phase(volume, "Failed", message, now, plan);
    }
}
