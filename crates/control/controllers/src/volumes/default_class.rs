//! The default class for claims that came before there was one (KEP-3333).
//!
//! A claim that names no class, and for which there is no volume, gets the default class as soon as there is one.

use std::cmp::Reverse;
use std::sync::{Arc, LazyLock};

use reconcile::{World, Write};
use telemetry::Counter;
use types::core::v1::PersistentVolumeClaim;
use types::storage::v1::StorageClass;

use super::bind::CLASS_BETA;

const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

static ASSIGNED: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Classes that were given to claims afterwards, or could not be.";
    telemetry::counter("retroactive_storageclass_total", help, &[]).with(&[])
});
static REFUSED: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Classes that could not be given to claims afterwards.";
    telemetry::counter("retroactive_storageclass_errors_total", help, &[]).with(&[])
});

/// Shows the counts from the start.
pub(super) fn show() {
    LazyLock::force(&ASSIGNED);
    LazyLock::force(&REFUSED);
}

/// Whether a class is the default one.
pub(super) fn is_default(class: &StorageClass) -> bool {
    DEFAULT.iter().any(|key| class.metadata.annotations.get(key).is_some_and(|value| value == "true"))
}

/// Whether a claim says nothing about its class; one that says "none" has said something.
pub(super) fn is_open(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.storage_class_name.is_none() && !claim.metadata.annotations.contains_key(CLASS_BETA)
}

/// Gives the claim the default class, if it has none and there is one: of several the newest, then the first by name.
pub(super) fn assign(claim: &Arc<PersistentVolumeClaim>, world: &World) -> Option<Write> {
    if !is_open(claim) {
        return None;
    }
    let mut classes = world.list_all::<StorageClass>();
    classes.retain(|class| is_default(class));
    let rank =
        |class: &Arc<StorageClass>| (Reverse(class.metadata.creation_timestamp), class.metadata.name.clone());
    let class = classes.into_iter().min_by_key(rank)?;
    let mut changed = (**claim).clone();
    changed.spec.storage_class_name = Some(class.metadata.name.clone());
    Some(Write::update(changed).measured(|refusal| {
        ASSIGNED.inc();
        if refusal.is_some() {
            REFUSED.inc();
        }
    }))
}
