//! Binds claims to volumes, one to one.
//!
//! The volume's `claimRef` decides: it is written first, with the claim's uid, so that no two claims get one volume; the
//! claim follows. Claims of a class that waits for its first consumer are left alone until the scheduler has chosen a
//! node. Provisioning a volume for a claim is the class's provisioner's task: it is asked by an annotation and an event.

use std::collections::HashMap;
use std::sync::Arc;

use informer::Key;
use meta::{Str, Time};
use parking_lot::Mutex;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use types::storage::v1::StorageClass;

use super::{counts, default_class};
use crate::common::selector::selects;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub(super) const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// For so long the same is not told again of a claim, as upstream looks at each that often.
const QUIET_SECONDS: i64 = 15;
/// Marks the key of a volume; claims have a namespace.
const VOLUME: &str = "";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> (Running, Arc<counts::Caches>) {
    default_class::show();
    let running =
        Controller::new("claims", "persistentvolume-controller", context.clone(), Binder::default())
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
                    let gets_it = default_class::is_default(class) && default_class::is_open(claim);
                    claim.spec.volume_name.is_empty()
                        && (gets_it || class_of(claim) == class.metadata.name.as_str())
                });
                waiting.iter().map(|claim| Key::of(&**claim)).collect()
            })
            // One at a time, so that two claims never choose one volume.
            .workers(1)
            .start();
    (running, counts::show(&context.informers))
}

#[derive(Default)]
pub(crate) struct Binder {
    /// What was last told of a claim that waits, and when.
    told: Mutex<HashMap<Key, (Str, i64)>>,
}

impl Reconciler for Binder {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if key.namespace.is_empty() {
            if let Some(volume) = world.get_key::<PersistentVolume>(key) {
                sync_volume(&volume, world, plan);
            }
            return Next::Done;
        }
        let claim = world.get_key::<PersistentVolumeClaim>(key);
        match claim.and_then(|claim| sync_claim(&claim, world, plan)) {
            Some(note) => self.tell(key, note, world.unix_seconds(), plan),
            None => {
                self.told.lock().remove(key);
            }
        }
        Next::Done
    }
}

impl Binder {
    /// Says why a claim waits, though not with every volume that comes by.
    fn tell(&self, key: &Key, note: Note, now: i64, plan: &mut Plan) {
        let mut told = self.told.lock();
        let again = |(message, at): &(Str, i64)| *message == note.message && now - at < QUIET_SECONDS;
        if !told.get(key).is_some_and(again) {
            told.insert(key.clone(), (note.message.clone(), now));
            plan.event(note);
        }
    }
}

pub(super) fn class_of(claim: &PersistentVolumeClaim) -> &str {
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

/// Brings a claim on; says why it waits, if it does.
fn sync_claim(claim: &Arc<PersistentVolumeClaim>, world: &World, plan: &mut Plan) -> Option<Note> {
    if claim.metadata.annotations.contains_key(BIND_COMPLETED) {
        sync_bound(claim, world, plan);
        return None;
    }
    if !claim.spec.volume_name.is_empty() {
        // The user, or a provisioner, chose the volume.
        let Some(volume) = world.get::<PersistentVolume>("", &claim.spec.volume_name) else {
            phase(claim, "Pending", plan);
            return None;
        };
        let name = meta::go_quote(&claim.spec.volume_name);
        let (reason, message) = match &volume.spec.claim_ref {
            Some(_) if is_for(&volume, claim) => {
                bind(&volume, claim, world, plan);
                return None;
            }
            Some(_) => ("FailedBinding", format!("volume {name} already bound to a different claim.")),
            None => match satisfies(&volume, claim) {
                Ok(()) => {
                    reserve(&volume, claim, true, world, plan);
                    return None;
                }
                Err(why) => ("VolumeMismatch", format!("Cannot bind to requested volume {name}: {why}")),
            },
        };
        phase(claim, "Pending", plan);
        return Some(Note::warning(&**claim, reason, message));
    }
    let class = world.get::<StorageClass>("", class_of(claim));
    if let Some(volume) = choose(claim, world, delayed(claim, class.as_deref())) {
        match &volume.spec.claim_ref {
            Some(_) => bind(&volume, claim, world, plan),
            None => reserve(&volume, claim, true, world, plan),
        }
        return None;
    }
    if let Some(write) = default_class::assign(claim, world) {
        // The claim's change brings it here again.
        plan.push(write);
        return None;
    }
    phase(claim, "Pending", plan);
    if delayed(claim, class.as_deref()) {
        const WAITS: &str = "waiting for first consumer to be created before binding";
        return Some(Note::normal(&**claim, "WaitForFirstConsumer", WAITS));
    }
    let provisioner = class
        .as_ref()
        .map(|class| class.provisioner.as_str())
        .filter(|name| *name != "kubernetes.io/no-provisioner");
    Some(match (class_of(claim), provisioner) {
        (name, Some(provisioner)) if !name.is_empty() => ask(claim, provisioner, plan),
        (name, None) if !name.is_empty() && class.is_none() => {
            let message = format!("storageclass.storage.k8s.io \"{name}\" not found");
            Note::warning(&**claim, "ProvisioningFailed", message)
        }
        _ => {
            const NONE: &str = "no persistent volumes available for this claim and no storage class is set";
            Note::normal(&**claim, "FailedBinding", NONE)
        }
    })
}

/// Whether the claim waits for a pod to be placed.
fn delayed(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> bool {
    let waits =
        class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    waits && !claim.metadata.annotations.contains_key(SELECTED_NODE)
}

fn ask(claim: &Arc<PersistentVolumeClaim>, provisioner: &str, plan: &mut Plan) -> Note {
    let mut asked = (**claim).clone();
    asked.metadata.annotations.insert(PROVISIONER, provisioner.into());
    asked.metadata.annotations.insert(PROVISIONER_BETA, provisioner.into());
    if asked != **claim {
        plan.push(Write::update(asked).ignore(404));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    Note::normal(&**claim, "ExternalProvisioning", message)
}

/// The volume for a claim: one reserved for it, or else, of those with the fewest access modes, the smallest that is large
/// enough.
fn choose(
    claim: &PersistentVolumeClaim,
    world: &World,
    only_reserved: bool,
) -> Option<Arc<PersistentVolume>> {
    let volumes = world.list_all::<PersistentVolume>();
    let holds = |volume: &PersistentVolume| {
        is_large_enough(volume, claim)
            && has_its_mode(volume, claim)
            && has_its_access(volume, claim)
            && volume.spec.volume_attributes_class_name.as_deref().unwrap_or_default()
                == claim.spec.volume_attributes_class_name.as_deref().unwrap_or_default()
            && volume.metadata.deletion_timestamp.is_none()
    };
    // Whoever reserved it for the claim need not mind classes and labels.
    if let Some(reserved) = volumes.iter().find(|volume| is_for(volume, claim) && holds(volume)) {
        return Some(reserved.clone());
    }
    if only_reserved {
        return None;
    }
    let is_selected = |volume: &PersistentVolume| {
        let selector = claim.spec.selector.as_ref();
        selector.is_none_or(|selector| selects(Some(selector), &volume.metadata.labels))
    };
    let free = |volume: &&Arc<PersistentVolume>| {
        volume.spec.claim_ref.is_none()
            && volume.status.phase == "Available"
            && class_of_volume(volume) == class_of(claim)
            && is_selected(volume)
            && holds(volume)
    };
    let rank = |volume: &&Arc<PersistentVolume>| {
        (volume.spec.access_modes.len(), size_of(volume), volume.metadata.name.clone())
    };
    volumes.iter().filter(free).min_by_key(rank).cloned()
}

/// Whether a claim may have the volume that it asks for by name.
///
/// # Errors
/// Why not, as the event tells it.
fn satisfies(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let check = |good: bool, why: &str| if good { Ok(()) } else { Err(why.to_owned()) };
    if volume.metadata.deletion_timestamp.is_some() {
        return Err(format!("the volume is marked for deletion {}", meta::go_quote(&volume.metadata.name)));
    }
    check(is_large_enough(volume, claim), "requested PV is too small")?;
    check(class_of_volume(volume) == class_of(claim), "storageClassName does not match")?;
    let (asked, has) = (&claim.spec.volume_attributes_class_name, &volume.spec.volume_attributes_class_name);
    check(
        asked.as_deref().unwrap_or_default() == has.as_deref().unwrap_or_default(),
        "volumeAttributesClassName does not match",
    )?;
    check(has_its_mode(volume, claim), "incompatible volumeMode")?;
    check(has_its_access(volume, claim), "incompatible accessMode")
}

pub(super) fn class_of_volume(volume: &PersistentVolume) -> &str {
    match volume.metadata.annotations.get(CLASS_BETA) {
        Some(class) => class,
        None => &volume.spec.storage_class_name,
    }
}

fn size_of(volume: &PersistentVolume) -> i64 {
    volume.spec.capacity.get("storage").map_or(0, |size| size.value())
}

fn is_large_enough(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    size_of(volume) >= claim.spec.resources.requests.get("storage").map_or(0, |size| size.value())
}

fn has_its_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let mode = |mode: &Option<Str>| {
        mode.clone().filter(|mode| !mode.is_empty()).unwrap_or_else(|| "Filesystem".into())
    };
    mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
}

fn has_its_access(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim.spec.access_modes.iter().all(|wanted| volume.spec.access_modes.contains(wanted))
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
        // Nothing of a machine is deleted from here, not even below /tmp, which upstream's deleter would do.
        let path = volume.spec.host_path.as_deref().map(|source| &source.path);
        let message = match path.filter(|path| !path.contains("/tmp/")) {
            Some(path) => format!("host_path deleter only supports /tmp/.+ but received provided {path}"),
            None => {
                "error getting deleter volume plugin for volume: no deletable volume plugin matched".into()
            }
        };
        plan.event(Note::warning(&**volume, "VolumeFailedDelete", message.clone()));
        volume_phase(volume, "Failed", &message, now, plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::look;
    use serde_json::{Value, json};

    fn volume(name: &str, spec: Value) -> Value {
        let mut value = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "status": {"phase": "Available"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "a"}});
        value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        value
    }

    fn claim(spec: Value) -> Value {
        let mut value = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": "default", "name": "c", "uid": "c"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "a",
                "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Pending"}});
        value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        value
    }

    #[test]
    fn a_volume_that_is_asked_for_has_to_suit() {
        let cases = [
            (
                json!({"capacity": {"storage": "1Mi"}}),
                "Cannot bind to requested volume \"v\": requested PV is too small",
            ),
            (
                json!({"storageClassName": "b"}),
                "Cannot bind to requested volume \"v\": storageClassName does not match",
            ),
            (
                json!({"volumeMode": "Block"}),
                "Cannot bind to requested volume \"v\": incompatible volumeMode",
            ),
            (
                json!({"accessModes": ["ReadOnlyMany"]}),
                "Cannot bind to requested volume \"v\": incompatible accessMode",
            ),
            (
                json!({"claimRef": {"namespace": "x", "name": "y"}}),
                "volume \"v\" already bound to a different claim.",
            ),
        ];
        for (spec, why) in cases {
            let objects = [claim(json!({"volumeName": "v"})), volume("v", spec.clone())];
            let done = look(&Binder::default(), ("default", "c"), &objects);
            assert!(done.starts_with("event Warning") && done.contains(why), "{spec}: {done}");
        }
        let objects = [claim(json!({"volumeName": "v"})), volume("v", json!({}))];
        let done = look(&Binder::default(), ("default", "c"), &objects);
        assert!(done.starts_with("update /api/v1/persistentvolumes/v "), "{done}");
    }

    #[test]
    fn a_claim_without_a_class_gets_the_default_one_unless_a_volume_suits_it() {
        let class = |name: &str, made: &str, default: &str| {
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p", "metadata": {
                "name": name, "creationTimestamp": made,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default}}})
        };
        let open = |mut claim: Value| {
            claim["spec"].as_object_mut().unwrap().remove("storageClassName");
            claim
        };
        let classes = [
            class("old", "2020-01-01T00:00:00Z", "true"),
            class("new", "2021-01-01T00:00:00Z", "true"),
            class("other", "2022-01-01T00:00:00Z", "false"),
        ];
        let with = |more: Vec<Value>| classes.iter().cloned().chain(more).collect::<Vec<_>>();
        let done = look(&Binder::default(), ("default", "c"), &with(vec![open(claim(json!({})))]));
        assert!(
            done.starts_with("update /api/v1/namespaces/default/persistentvolumeclaims/c ")
                && done.contains("\"storageClassName\":\"new\""),
            "{done}"
        );
        let suits = volume("v", json!({"storageClassName": ""}));
        let done = look(&Binder::default(), ("default", "c"), &with(vec![open(claim(json!({}))), suits]));
        assert!(done.starts_with("update /api/v1/persistentvolumes/v "), "{done}");
        // Who wants no class gets none.
        let none = claim(json!({"storageClassName": ""}));
        let done = look(&Binder::default(), ("default", "c"), &with(vec![none]));
        assert!(done.contains("no storage class is set") && !done.contains("update"), "{done}");
    }

    #[test]
    fn the_volume_with_the_fewest_access_modes_and_then_the_smallest_is_chosen() {
        let many = json!(["ReadWriteOnce", "ReadWriteMany"]);
        let volumes = [
            volume("many", json!({"accessModes": many})),
            volume("large", json!({"capacity": {"storage": "9Gi"}})),
            volume("fits", json!({"capacity": {"storage": "2Gi"}})),
            volume("small", json!({"capacity": {"storage": "1Mi"}})),
            volume("other", json!({"storageClassName": "b"})),
        ];
        let objects: Vec<_> = [claim(json!({}))].into_iter().chain(volumes).collect();
        let done = look(&Binder::default(), ("default", "c"), &objects);
        assert!(done.starts_with("update /api/v1/persistentvolumes/fits "), "{done}");
    }
}
