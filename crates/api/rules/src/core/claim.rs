//! PersistentVolumeClaims.

use super::names;
use super::pod::{default::claim_spec, warnings::fraction};
use crate::check::{Errs, dns_subdomain, labels, name_label, name_subdomain, qualified_name};
use crate::fill::{round_up, text};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules, diff};
use meta::{BadValue, List, Str};
use types::core::v1::*;

/// How volumes can be mounted.
pub(crate) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

impl Rules for PersistentVolumeClaim {
    const REVALIDATES_METADATA: u8 = 1;
    spec_and_status!();

    fn default(&mut self) {
        text(&mut self.status.phase, "Pending");
        claim_spec(&mut self.spec);
        round_up(&mut self.status.capacity);
        round_up(&mut self.status.allocated_resources);
    }

    fn drop_disabled(&mut self) {
        // CrossNamespaceVolumeDataSource is off.
        let reference = self.spec.data_source_ref.as_ref();
        if reference.and_then(|r| r.namespace.as_ref()).is_some_and(|n| !n.is_empty()) {
            self.spec.data_source_ref = None;
        }
    }

    fn prepare_create(&mut self, _cx: &Context) {
        drop_unusable_source(&mut self.spec);
        self.status = PersistentVolumeClaimStatus { phase: "Pending".into(), ..Default::default() };
        sync_data_source(&mut self.spec);
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.keep_status(old);
        if old.spec.data_source.is_none() && old.spec.data_source_ref.is_none() {
            drop_unusable_source(&mut self.spec);
        }
        sync_data_source(&mut self.spec);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        spec(e, &Path::root("spec"), &self.spec);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        update(self, old, e);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        status(self, e);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut out = Vec::new();
        if self.metadata.annotations.contains_key(BETA_CLASS) {
            out.push(format!("metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"));
        }
        warnings(&mut out, &Path::root("spec"), &self.spec);
        out
    }
}

/// The old and the new field for the origin of the data mean the same where both can.
/// A source of the older field that is neither a claim nor a snapshot means nothing, and is dropped rather than refused.
fn drop_unusable_source(spec: &mut PersistentVolumeClaimSpec) {
    if spec.data_source_ref.is_some() {
        return;
    }
    let usable = spec.data_source.as_ref().is_none_or(|source| {
        let group = source.api_group.as_deref().unwrap_or_default();
        matches!(
            (group, source.kind.as_str()),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    });
    if !usable {
        spec.data_source = None;
    }
}

fn sync_data_source(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(Box::new(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            }));
        }
        (None, Some(reference)) if reference.namespace.as_ref().is_none_or(|n| n.is_empty()) => {
            spec.data_source = Some(Box::new(TypedLocalObjectReference {
                api_group: reference.api_group.clone(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
            }));
        }
        _ => {}
    }
}

/// Access modes: each known, and the exclusive one alone.
pub(crate) fn access_modes(e: &mut Errs, at: &Path<'_>, modes: &List<Str>) {
    for mode in modes.iter() {
        e.one_of(at, mode, &ACCESS_MODES);
    }
    let known = |m: &&Str| ACCESS_MODES.contains(&m.as_str());
    let exclusive = modes.iter().any(|m| m == "ReadWriteOncePod");
    if exclusive && modes.iter().filter(known).any(|m| m != "ReadWriteOncePod") {
        e.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The spec of a claim, wherever it occurs.
pub(crate) fn spec(e: &mut Errs, at: &Path<'_>, spec: &PersistentVolumeClaimSpec) {
    let modes = at.child("accessModes");
    if spec.access_modes.is_empty() {
        e.required(&modes, "at least 1 access mode is required");
    }
    labels::selector_opt(e, &at.child("selector"), spec.selector.as_deref());
    access_modes(e, &modes, &spec.access_modes);
    let storage = at.child("resources");
    match spec.resources.requests.get("storage") {
        None => e.required(&storage.key("storage"), ""),
        Some(size) => names::positive(e, &storage.key("storage"), size),
    }
    if let Some(class) = spec.storage_class_name.as_ref().filter(|c| !c.is_empty()) {
        e.each(&at.child("storageClassName"), class, name_subdomain(class, false));
    }
    if let Some(mode) = &spec.volume_mode {
        e.one_of(&at.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    if let Some(s) = &spec.data_source {
        reference(e, &at.child("dataSource"), &s.name, &s.kind, s.api_group.as_ref());
    }
    if let Some(r) = &spec.data_source_ref {
        let at = at.child("dataSourceRef");
        reference(e, &at, &r.name, &r.kind, r.api_group.as_ref());
        if let Some(namespace) = r.namespace.as_ref().filter(|n| !n.is_empty()) {
            e.each(&at.child("namespace"), namespace, name_label(namespace, false));
        }
    }
    if let (Some(s), Some(r)) = (&spec.data_source, &spec.data_source_ref) {
        let problem = if r.namespace.as_ref().is_some_and(|n| !n.is_empty()) {
            Some("may not be specified when dataSourceRef.namespace is specified")
        } else if (&s.api_group, &s.kind, &s.name) != (&r.api_group, &r.kind, &r.name) {
            Some("must match dataSourceRef")
        } else {
            None
        };
        if let Some(problem) = problem {
            e.invalid(at, BadValue::Plain("{}".into()), problem);
        }
    }
    if let Some(class) = spec.volume_attributes_class_name.as_ref().filter(|c| !c.is_empty()) {
        e.each(&at.child("volumeAttributesClassName"), class, name_subdomain(class, false));
    }
}

fn reference(e: &mut Errs, at: &Path<'_>, name: &Str, kind: &Str, group: Option<&Str>) {
    e.present(&at.child("name"), name);
    e.present(&at.child("kind"), kind);
    match group.map_or("", |g| g.as_str()) {
        "" if kind != "PersistentVolumeClaim" => {
            e.invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
        }
        "" => {}
        group => e.each(&at.child("apiGroup"), group, dns_subdomain(group)),
    }
}

fn update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, e: &mut Errs) {
    let at = Path::root("spec");
    let mut rest = new.spec.clone();
    let mut before = old.spec.clone();
    // The controller binds a claim once.
    if before.volume_name.is_empty() {
        before.volume_name = rest.volume_name.clone();
    }
    let class_annotation = |c: &PersistentVolumeClaim| c.metadata.annotations.get(BETA_CLASS).cloned();
    let (now, then) = (class_annotation(new), class_annotation(old));
    let from_annotation = then.is_some()
        && old.spec.storage_class_name.is_none()
        && new.spec.storage_class_name == then
        && (now.is_none() || now == then);
    if from_annotation {
        rest.storage_class_name = None;
    } else {
        let (now, then) = (now.unwrap_or_default(), then.clone().unwrap_or_default());
        let metadata = Path::root("metadata");
        let annotations = metadata.child("annotations");
        e.immutable(&annotations.child(BETA_CLASS), &now, &then, || (&now).into());
        let from_nil = old.spec.storage_class_name.is_none()
            && new.spec.storage_class_name.as_ref().is_some_and(|c| then.is_empty() || *c == then);
        if from_nil {
            rest.storage_class_name.clone_from(&old.spec.storage_class_name);
        }
    }
    if new.status.phase == "Bound" {
        if let Some(size) =
            old.spec.resources.requests.get("storage").filter(|_| !rest.resources.requests.is_empty())
        {
            rest.resources.requests.insert("storage", *size);
        }
        rest.volume_attributes_class_name.clone_from(&old.spec.volume_attributes_class_name);
    }
    if rest != before {
        let difference = diff::internal(&before, &rest);
        e.forbidden(
            &at,
            format!("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"),
        );
    }
    let size = |s: &meta::Map<meta::Quantity>| s.get("storage").copied().unwrap_or_default();
    let (now, then) = (size(&new.spec.resources.requests), size(&old.spec.resources.requests));
    if now < then && now <= size(&old.status.capacity) {
        let resources = at.child("resources");
        e.forbidden(
            &resources.child("requests").child("storage"),
            "field can not be less than status.capacity",
        );
    }
    e.immutable(&Path::root("volumeMode"), &new.spec.volume_mode, &old.spec.volume_mode, || {
        BadValue::of(&new.spec.volume_mode)
    });
    let class_at = at.child("volumeAttributesClassName");
    let class = &new.spec.volume_attributes_class_name;
    let changed = old.spec.volume_attributes_class_name != *class;
    // A class that the volume has once had is not taken away.
    if changed && old.status.current_volume_attributes_class_name.is_some() {
        let to = match class {
            None => "nil",
            Some(class) if class.is_empty() => "empty string",
            Some(_) => return,
        };
        e.forbidden(
            &class_at,
            format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"),
        );
    }
}

fn status(claim: &PersistentVolumeClaim, e: &mut Errs) {
    const RESIZING: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    if claim.spec.access_modes.is_empty() {
        e.required(&Path::root("Spec").child("accessModes"), "");
    }
    let status = Path::root("status");
    let capacity = status.child("capacity");
    for (name, value) in claim.status.capacity.iter() {
        names::basic(e, &capacity.key(name), value);
    }
    let at = status.child("allocatedResourceStatuses");
    for (name, state) in claim.status.allocated_resource_statuses.iter() {
        resource_key(e, &at, name);
        if !RESIZING.contains(&state.as_str()) {
            e.unsupported(&at, name, &RESIZING);
        }
    }
    let at = status.child("allocatedResources");
    for (name, value) in claim.status.allocated_resources.iter() {
        if resource_key(e, &at, name) {
            names::basic(e, &at.key(name), value);
        }
    }
}

fn resource_key(e: &mut Errs, at: &Path<'_>, name: &str) -> bool {
    let before = e.len();
    e.each(at, name, qualified_name(name));
    if e.len() == before && names::is_native(name) {
        e.one_of(at, name, &["storage"]);
    }
    e.len() == before
}

/// Warnings about the spec of a claim.
pub(crate) fn warnings(out: &mut Vec<String>, at: &Path<'_>, spec: &PersistentVolumeClaimSpec) {
    let resources = at.child("resources");
    fraction(out, &resources.child("requests"), &spec.resources.requests, "storage");
    fraction(out, &resources.child("limits"), &spec.resources.limits, "storage");
}
