//! ObjectMeta: what every object of every kind must keep to, on create and on update.

use super::{Errs, NameCheck, labels, name_label, qualified_name};
use crate::Path;
use meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use meta::{BadValue, List, Str, is_absent, quote_join};

/// Finalizers that carry no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
const FIELD_MANAGER_BYTES_MAX: usize = 128;
const SUBRESOURCE_BYTES_MAX: usize = 256;

/// Metadata of an object that is being created; `name` says what its name must look like.
pub fn create(e: &mut Errs, meta: &ObjectMeta, namespaced: bool, name: NameCheck) {
    let at = Path::root("metadata");
    if !meta.generate_name.is_empty() {
        e.each(&at.child("generateName"), &meta.generate_name, name(&meta.generate_name, true));
    }
    if meta.name.is_empty() {
        e.required(&at.child("name"), "name or generateName is required");
    } else {
        e.each(&at.child("name"), &meta.name, name(&meta.name, false));
    }
    match (namespaced, meta.namespace.as_str()) {
        (true, "") => e.required(&at.child("namespace"), ""),
        (true, namespace) => e.each(&at.child("namespace"), namespace, name_label(namespace, false)),
        (false, "") => {}
        (false, _) => e.forbidden(&at.child("namespace"), "not allowed on this type"),
    }
    e.non_negative(&at.child("generation"), meta.generation);
    labels::labels(e, &at.child("labels"), &meta.labels);
    labels::annotations(e, &at.child("annotations"), &meta.annotations);
    owners(e, &at.child("ownerReferences"), &meta.owner_references);
    finalizers(e, &at.child("finalizers"), &meta.finalizers);
    managed_fields(e, &at.child("managedFields"), &meta.managed_fields);
}

/// The further check of finalizers that the built-in kinds of the core libraries make.
pub fn known_finalizers(e: &mut Errs, meta: &ObjectMeta) {
    let metadata = Path::root("metadata");
    let at = metadata.child("finalizers");
    for (i, name) in meta.finalizers.iter().enumerate() {
        known_finalizer(e, &at.index(i), name);
    }
}

/// One finalizer: standard, or with a domain.
pub fn known_finalizer(e: &mut Errs, at: &Path<'_>, name: &str) {
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        e.invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// Metadata that objects made of a template will have: labels and annotations only.
pub fn of_template(e: &mut Errs, at: &Path<'_>, m: &ObjectMeta) {
    labels::annotations(e, &at.child("annotations"), &m.annotations);
    labels::labels(e, &at.child("labels"), &m.labels);
    for (field, set) in [
        ("name", !m.name.is_empty()),
        ("generateName", !m.generate_name.is_empty()),
        ("namespace", !m.namespace.is_empty()),
        ("selfLink", !m.self_link.is_empty()),
        ("uID", !m.uid.is_empty()),
        ("resourceVersion", !m.resource_version.is_empty()),
        ("generation", m.generation != 0),
        ("creationTimestamp", m.creation_timestamp.is_some()),
        ("deletionTimestamp", m.deletion_timestamp.is_some()),
        ("deletionGracePeriodSeconds", m.deletion_grace_period_seconds.is_some()),
        ("ownerReferences", !is_absent(&m.owner_references)),
        ("finalizers", !is_absent(&m.finalizers)),
        ("managedFields", !is_absent(&m.managed_fields)),
    ] {
        if set {
            e.forbidden(&at.child(field), "cannot be set");
        }
    }
}

/// What an update of some statuses keeps of the metadata: everything that describes the object.
pub fn keep_described(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.deletion_timestamp = old.deletion_timestamp;
    new.generation = old.generation;
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

/// What an update of other statuses keeps: all metadata, but for what tells this update from the last.
pub fn keep(new: &mut ObjectMeta, old: &ObjectMeta) {
    let managed_fields = std::mem::take(&mut new.managed_fields);
    let resource_version = std::mem::take(&mut new.resource_version);
    *new = ObjectMeta { managed_fields, resource_version, ..old.clone() };
}

/// Metadata of an object that replaces another.
pub fn update(e: &mut Errs, new: &ObjectMeta, old: &ObjectMeta) {
    let at = Path::root("metadata");
    if old.deletion_timestamp.is_some() {
        let mut added: Vec<&Str> = new.finalizers.iter().filter(|f| !old.finalizers.contains(f)).collect();
        if !added.is_empty() {
            added.sort();
            added.dedup();
            e.forbidden(
                &at.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    quote_join(added)
                ),
            );
        }
    }
    if new.resource_version.is_empty() {
        e.invalid(&at.child("resourceVersion"), "", "must be specified for an update");
    }
    e.non_negative(&at.child("generation"), new.generation);
    if new.generation < old.generation {
        e.invalid(&at.child("generation"), new.generation, "must not be decremented");
    }
    e.immutable(&at.child("name"), &new.name, &old.name, || (&new.name).into());
    e.immutable(&at.child("namespace"), &new.namespace, &old.namespace, || (&new.namespace).into());
    e.immutable(&at.child("uid"), &new.uid, &old.uid, || (&new.uid).into());
    e.immutable(&at.child("creationTimestamp"), &new.creation_timestamp, &old.creation_timestamp, || {
        BadValue::of(&new.creation_timestamp)
    });
    e.immutable(&at.child("deletionTimestamp"), &new.deletion_timestamp, &old.deletion_timestamp, || {
        BadValue::of(&new.deletion_timestamp)
    });
    e.immutable(
        &at.child("deletionGracePeriodSeconds"),
        &new.deletion_grace_period_seconds,
        &old.deletion_grace_period_seconds,
        || BadValue::of(&new.deletion_grace_period_seconds),
    );
    labels::labels(e, &at.child("labels"), &new.labels);
    labels::annotations(e, &at.child("annotations"), &new.annotations);
    owners(e, &at.child("ownerReferences"), &new.owner_references);
    managed_fields(e, &at.child("managedFields"), &new.managed_fields);
}

fn owners(e: &mut Errs, at: &Path<'_>, owners: &List<OwnerReference>) {
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners.iter() {
        if owner.api_version.is_empty() || owner.api_version.split('/').count() > 2 {
            e.invalid(&at.child("apiVersion"), &owner.api_version, "version must not be empty");
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                e.invalid(&at.child(field), "", "must not be empty");
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            e.invalid(at, BadValue::json(owner), "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.controller == Some(true) {
            match controller {
                None => controller = Some(owner),
                Some(first) => e.invalid(
                    at,
                    BadValue::of(owners),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                        first.kind, first.name, owner.kind, owner.name
                    ),
                ),
            }
        }
    }
}

fn finalizers(e: &mut Errs, at: &Path<'_>, finalizers: &List<Str>) {
    for name in finalizers.iter() {
        e.each(at, name, qualified_name(name));
    }
    if finalizers.iter().any(|f| f == "orphan") && finalizers.iter().any(|f| f == "foregroundDeletion") {
        e.invalid(at, BadValue::of(finalizers), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn managed_fields(e: &mut Errs, at: &Path<'_>, entries: &List<ManagedFieldsEntry>) {
    for (i, entry) in entries.iter().enumerate() {
        let at = at.index(i);
        if entry.operation != "Apply" && entry.operation != "Update" {
            e.invalid(&at.child("operation"), &entry.operation, "must be `Apply` or `Update`");
        }
        if !entry.fields_type.is_empty() && entry.fields_type != "FieldsV1" {
            e.invalid(&at.child("fieldsType"), &entry.fields_type, "must be `FieldsV1`");
        }
        field_manager(e, &at.child("manager"), &entry.manager);
        if entry.subresource.len() > SUBRESOURCE_BYTES_MAX {
            e.too_long(&at.child("subresource"), SUBRESOURCE_BYTES_MAX);
        }
    }
}

/// The name of a field manager: printable, up to 128 bytes.
pub fn field_manager(e: &mut Errs, at: &Path<'_>, manager: &str) {
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        e.too_long(at, FIELD_MANAGER_BYTES_MAX);
    }
    for (i, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {i})", c as u32);
        e.invalid(at, manager, detail);
    }
}
