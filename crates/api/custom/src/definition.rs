//! What the server says of a definition in its status: whether names are free, whether objects are served, whether the
//! schema is structural, whether the API is approved.

use std::collections::BTreeSet;

use meta::{FieldPath, Str, Time};
use rules::apiextensions::names::{Approval, approval, needs_approval};
use schema::structural::{Schema, check};
use types::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
};

/// Finalizer of definitions that have been served: their objects go first.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Names that other definitions of the group hold.
#[derive(Debug, Default)]
pub struct Claimed {
    resources: BTreeSet<Str>,
    kinds: BTreeSet<Str>,
}

impl Claimed {
    /// Adds what a definition holds.
    pub fn add(&mut self, names: &CustomResourceDefinitionNames) {
        self.resources.extend([names.plural.clone(), names.singular.clone()]);
        self.resources.extend(names.short_names.iter().cloned());
        self.kinds.extend([names.kind.clone(), names.list_kind.clone()]);
    }
}

/// A condition as it is set.
fn condition(type_: &str, status: &str, reason: &str, message: &str) -> CustomResourceDefinitionCondition {
    CustomResourceDefinitionCondition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        ..Default::default()
    }
}

/// Whether a condition holds.
pub fn is_true(crd: &CustomResourceDefinition, type_: &str) -> bool {
    rules::apiextensions::is_true(crd, type_)
}

/// Sets a condition; its time changes with its status.
pub fn set(status: &mut CustomResourceDefinitionStatus, new: CustomResourceDefinitionCondition, now: Time) {
    match status.conditions.iter_mut().find(|c| c.type_ == new.type_) {
        None => status
            .conditions
            .push(CustomResourceDefinitionCondition { last_transition_time: Some(now), ..new }),
        Some(known) => {
            if known.status != new.status || known.last_transition_time.is_none() {
                known.last_transition_time = Some(now);
            }
            known.status = new.status;
            known.reason = new.reason;
            known.message = new.message;
        }
    }
}

/// The status that a definition should have, given what others hold.
pub fn status(
    crd: &CustomResourceDefinition,
    claimed: &Claimed,
    now: Time,
) -> CustomResourceDefinitionStatus {
    let mut status = crd.status.clone();
    if crd.spec.names != crd.status.accepted_names
        || !crd.status.conditions.iter().any(|c| c.type_ == "NamesAccepted")
    {
        let (names, accepted) = accept(crd, claimed);
        status.accepted_names = names;
        set(&mut status, accepted, now);
    }
    let accepted = status.conditions.iter().any(|c| c.type_ == "NamesAccepted" && c.status == "True");
    let established = status.conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
    if !established {
        let new = if accepted {
            condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
        } else {
            condition("Established", "False", "NotAccepted", "not all names are accepted")
        };
        set(&mut status, new, now);
    }
    match violations(crd) {
        Some(text) => set(&mut status, condition("NonStructuralSchema", "True", "Violations", &text), now),
        None => status.conditions.retain(|c| c.type_ != "NonStructuralSchema"),
    }
    if needs_approval(&crd.spec.group) {
        let (state, text) = approval(&crd.metadata.annotations);
        let (holds, reason) = match state {
            Approval::Invalid => ("False", "InvalidAnnotation"),
            Approval::Missing => ("False", "MissingAnnotation"),
            Approval::Approved => ("True", "ApprovedAnnotation"),
            Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        };
        set(&mut status, condition("KubernetesAPIApprovalPolicyConformant", holds, reason, &text), now);
    }
    status
}

/// Which names are accepted, and the condition that says so.
fn accept(
    crd: &CustomResourceDefinition,
    claimed: &Claimed,
) -> (CustomResourceDefinitionNames, CustomResourceDefinitionCondition) {
    let (wanted, held) = (&crd.spec.names, &crd.status.accepted_names);
    let mut names = held.clone();
    let mut refused: Option<(&str, String)> = None;
    let free = |wanted: &Str, held: &Str, taken: &BTreeSet<Str>| {
        if wanted == held || !taken.contains(wanted) {
            return Ok(());
        }
        Err(format!("{} is already in use", meta::go_quote(wanted)))
    };
    match free(&wanted.plural, &held.plural, &claimed.resources) {
        Ok(()) => names.plural = wanted.plural.clone(),
        Err(text) => refused = Some(("PluralConflict", text)),
    }
    match free(&wanted.singular, &held.singular, &claimed.resources) {
        Ok(()) => names.singular = wanted.singular.clone(),
        Err(text) => refused = Some(("SingularConflict", text)),
    }
    let taken: Vec<String> = wanted
        .short_names
        .iter()
        .filter(|name| !held.short_names.contains(name))
        .filter_map(|name| free(name, &Str::new(), &claimed.resources).err())
        .collect();
    if taken.is_empty() {
        names.short_names = wanted.short_names.clone();
    } else {
        refused = Some(("ShortNamesConflict", meta::aggregate_message(taken)));
    }
    match free(&wanted.kind, &held.kind, &claimed.kinds) {
        Ok(()) => names.kind = wanted.kind.clone(),
        Err(text) => refused = Some(("KindConflict", text)),
    }
    match free(&wanted.list_kind, &held.list_kind, &claimed.kinds) {
        Ok(()) => names.list_kind = wanted.list_kind.clone(),
        Err(text) => refused = Some(("ListKindConflict", text)),
    }
    names.categories = wanted.categories.clone();
    let accepted = match refused {
        None => condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        Some((reason, text)) => condition("NamesAccepted", "False", reason, &text),
    };
    (names, accepted)
}

fn violations(crd: &CustomResourceDefinition) -> Option<String> {
    let mut found = Vec::new();
    if crd.spec.preserve_unknown_fields {
        found.push("spec.preserveUnknownFields: Invalid value: true: must be false".to_owned());
    }
    for (i, version) in crd.spec.versions.iter().enumerate() {
        let Some(document) = version.schema.as_ref().and_then(|s| s.open_apiv3_schema.as_deref()) else {
            continue;
        };
        let Ok(schema) = Schema::read(document) else { continue };
        let at = FieldPath::new("spec").child("versions").index(i).child("schema").child("openAPIV3Schema");
        found.extend(check::structural(&at, &schema).iter().map(ToString::to_string));
    }
    (!found.is_empty()).then(|| meta::aggregate_message(found))
}

/// Marks a definition for deletion: its objects have to go first.
pub fn mark(crd: &mut CustomResourceDefinition, now: Time) {
    crd.metadata.deletion_timestamp = Some(now);
    if !crd.metadata.finalizers.iter().any(|name| name == FINALIZER) {
        crd.metadata.finalizers.push(FINALIZER.into());
    }
    let text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set(&mut crd.status, condition("Terminating", "True", "InstanceDeletionPending", text), now);
}

/// The condition of a definition whose objects are being deleted.
pub fn terminating() -> CustomResourceDefinitionCondition {
    condition("Terminating", "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
}

/// The condition when they are gone.
pub fn terminated() -> CustomResourceDefinitionCondition {
    condition("Terminating", "False", "InstanceDeletionCompleted", "removed all instances")
}

/// The condition of a definition that never had any.
pub fn never_established() -> CustomResourceDefinitionCondition {
    condition("Terminating", "False", "NeverEstablished", "resource was never established")
}

/// The condition when they could not be deleted.
pub fn not_terminated(why: &str) -> CustomResourceDefinitionCondition {
    let text = format!("could not issue all deletes: {why}");
    condition("Terminating", "True", "InstanceDeletionFailed", &text)
}
