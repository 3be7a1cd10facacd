//! Volumes, claims and storage classes.

use meta::{Object, Str, Time};
use serde_json::{Value, json};
use types::core::v1::{PersistentVolume, PersistentVolumeClaim};
use types::storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment, VolumeAttributesClass};

use crate::human::{age_cell, marked, name};
use crate::{Column, Printer, flag, named, number, printer, text, wide};

pub const TABLE: &[Printer] = &[
    printer!(PersistentVolume, VOLUME, volume),
    printer!(PersistentVolumeClaim, CLAIM, claim),
    printer!(StorageClass, CLASS, class),
    printer!(VolumeAttributesClass, &[named("Name"), text("DriverName"), text("Age")], |class, now| vec![
        marked(class, &["volumeattributesclass.alpha.kubernetes.io/is-default-class"]),
        json!(class.driver_name.as_str()),
        age_cell(class, now)
    ]),
    printer!(CSINode, &[named("Name"), number("Drivers"), text("Age")], |node, now| vec![
        name(node),
        json!(node.spec.drivers.len()),
        age_cell(node, now)
    ]),
    printer!(CSIDriver, DRIVER, driver),
    printer!(VolumeAttachment, ATTACHMENT, |attachment, now| vec![
        name(attachment),
        json!(attachment.spec.attacher.as_str()),
        json!(attachment.spec.source.persistent_volume_name.as_deref().unwrap_or_default()),
        json!(attachment.spec.node_name.as_str()),
        json!(attachment.status.attached),
        age_cell(attachment, now)
    ]),
];

const VOLUME: &[Column] = &[
    named("Name"),
    text("Capacity"),
    text("Access Modes"),
    text("Reclaim Policy"),
    text("Status"),
    text("Claim"),
    text("StorageClass"),
    text("VolumeAttributesClass"),
    text("Reason"),
    text("Age"),
    wide("VolumeMode"),
];
const CLAIM: &[Column] = &[
    named("Name"),
    text("Status"),
    text("Volume"),
    text("Capacity"),
    text("Access Modes"),
    text("StorageClass"),
    text("VolumeAttributesClass"),
    text("Age"),
    wide("VolumeMode"),
];
const CLASS: &[Column] = &[
    named("Name"),
    text("Provisioner"),
    text("ReclaimPolicy"),
    text("VolumeBindingMode"),
    text("AllowVolumeExpansion"),
    text("Age"),
];
const DRIVER: &[Column] = &[
    named("Name"),
    flag("AttachRequired"),
    flag("PodInfoOnMount"),
    flag("StorageCapacity"),
    text("TokenRequests"),
    flag("RequiresRepublish"),
    text("Modes"),
    text("Age"),
];
const ATTACHMENT: &[Column] =
    &[named("Name"), named("Attacher"), text("PV"), text("Node"), flag("Attached"), text("Age")];

/// `RWO,ROX` in upstream's fixed order, each once.
fn access_modes(modes: &[Str]) -> String {
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .into_iter()
    .filter(|(mode, _)| modes.iter().any(|have| have.as_str() == *mode))
    .map(|(_, short)| short)
    .collect::<Vec<_>>()
    .join(",")
}

fn terminating(deleted: bool, phase: &str) -> Value {
    json!(if deleted { "Terminating" } else { phase })
}

fn mode(mode: Option<&Str>) -> Value {
    json!(mode.map_or("<unset>", |mode| mode.as_str()))
}

fn attributes_class(class: Option<&Str>) -> Value {
    json!(class.map_or("<unset>", |class| class.as_str()))
}

/// The class of a volume or claim: the annotation of old times wins over the field.
fn class_of(object: &dyn Object, field: &str) -> Value {
    let annotated = object.meta().annotations.get("volume.beta.kubernetes.io/storage-class");
    json!(annotated.map_or(field, |class| class.as_str()))
}

fn volume(volume: &PersistentVolume, now: Time) -> Vec<Value> {
    let spec = &volume.spec;
    let claim = spec.claim_ref.as_ref().map(|claim| format!("{}/{}", claim.namespace, claim.name));
    vec![
        name(volume),
        json!(spec.capacity.get("storage").map(ToString::to_string).unwrap_or_default()),
        json!(access_modes(&spec.access_modes)),
        json!(spec.persistent_volume_reclaim_policy.as_str()),
        terminating(volume.metadata.deletion_timestamp.is_some(), &volume.status.phase),
        json!(claim.unwrap_or_default()),
        class_of(volume, spec.storage_class_name.as_str()),
        attributes_class(spec.volume_attributes_class_name.as_ref()),
        json!(volume.status.reason.as_str()),
        age_cell(volume, now),
        mode(spec.volume_mode.as_ref()),
    ]
}

fn claim(claim: &PersistentVolumeClaim, now: Time) -> Vec<Value> {
    let spec = &claim.spec;
    let bound = !spec.volume_name.is_empty();
    // That of a claim whose volume is named and not there yet is none, and not unknown.
    let capacity =
        || claim.status.capacity.get("storage").map_or_else(|| "0".to_owned(), ToString::to_string);
    vec![
        name(claim),
        terminating(claim.metadata.deletion_timestamp.is_some(), &claim.status.phase),
        json!(spec.volume_name.as_str()),
        json!(if bound { capacity() } else { String::new() }),
        json!(if bound { access_modes(&claim.status.access_modes) } else { String::new() }),
        class_of(claim, spec.storage_class_name.as_deref().unwrap_or_default()),
        attributes_class(spec.volume_attributes_class_name.as_ref()),
        age_cell(claim, now),
        mode(spec.volume_mode.as_ref()),
    ]
}

fn class(class: &StorageClass, now: Time) -> Vec<Value> {
    let keys =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    vec![
        marked(class, &keys),
        json!(class.provisioner.as_str()),
        json!(class.reclaim_policy.as_deref().unwrap_or("Delete")),
        json!(class.volume_binding_mode.as_deref().unwrap_or("Immediate")),
        json!(class.allow_volume_expansion.unwrap_or(false)),
        age_cell(class, now),
    ]
}

fn driver(driver: &CSIDriver, now: Time) -> Vec<Value> {
    let spec = &driver.spec;
    let tokens: Vec<&str> = spec.token_requests.iter().map(|token| token.audience.as_str()).collect();
    let modes: Vec<&str> = spec.volume_lifecycle_modes.iter().map(|mode| mode.as_str()).collect();
    let or_unset =
        |texts: Vec<&str>| json!(if texts.is_empty() { "<unset>".to_owned() } else { texts.join(",") });
    vec![
        name(driver),
        json!(spec.attach_required.unwrap_or(true)),
        json!(spec.pod_info_on_mount.unwrap_or(false)),
        json!(spec.storage_capacity.unwrap_or(false)),
        or_unset(tokens),
        json!(spec.requires_republish.unwrap_or(false)),
        json!(if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") }),
        age_cell(driver, now),
    ]
}
