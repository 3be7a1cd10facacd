//! The claims of a set's pods, which outlive the pods unless the set says otherwise.

use std::sync::Arc;

use meta::{OwnerReference, Str};
use reconcile::{Plan, World, Write};
use types::apps::v1::StatefulSet;
use types::core::v1::{PersistentVolumeClaim, Pod};

use super::order::Changes;
use crate::common::owners::controller_ref;

/// The claims of the pod `pod`, by the volume that each is for.
pub(super) fn claims(set: &StatefulSet, pod: &str) -> Vec<(Str, PersistentVolumeClaim)> {
    let labels = set.spec.selector.as_ref().map(|selector| selector.match_labels.clone()).unwrap_or_default();
    set.spec
        .volume_claim_templates
        .iter()
        .map(|template| {
            let volume = template.metadata.name.clone();
            let mut claim = template.clone();
            claim.metadata.name = Str::from(format!("{volume}-{pod}"));
            claim.metadata.namespace = set.metadata.namespace.clone();
            claim.metadata.labels.extend(labels.clone());
            claim.status = Default::default();
            claim.metadata.owner_references.extend(owner(set, None));
            (volume, claim)
        })
        .collect()
}

/// Who takes the claim along when it goes: nobody, the set, or the pod that is being scaled away.
fn owner(set: &StatefulSet, condemned: Option<&Pod>) -> Option<OwnerReference> {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_deref()?;
    match condemned {
        Some(pod) if policy.when_scaled == "Delete" => Some(controller_ref(pod)),
        _ if policy.when_deleted == "Delete" => Some(controller_ref(set)),
        _ => None,
    }
}

/// Keeps the owners of existing claims in line with the retention policy, and tells of each pod that stays for which
/// some changed.
///
/// A claim that another controller has, or an earlier set or pod of the same name, is not taken away from it.
pub(super) fn keep(
    set: &Arc<StatefulSet>,
    owned: &[Arc<Pod>],
    changes: &Changes,
    world: &World,
    plan: &mut Plan,
) {
    if set.spec.persistent_volume_claim_retention_policy.is_none() {
        return;
    }
    for pod in owned {
        let condemned = changes.condemned.iter().any(|uid| *uid == pod.metadata.uid);
        let wanted = owner(set, condemned.then_some(&**pod));
        let (of_set, of_pod) = (controller_ref(&**set), controller_ref(&**pod));
        let is_ours = |owner: &OwnerReference| is_same(owner, &of_set) || is_same(owner, &of_pod);
        let is_stale = |owner: &OwnerReference| {
            is_ours(owner) && owner.uid != set.metadata.uid && owner.uid != pod.metadata.uid
        };
        let mut changed = false;
        for (_, claim) in claims(set, &pod.metadata.name) {
            let known = world.get::<PersistentVolumeClaim>(&set.metadata.namespace, &claim.metadata.name);
            let Some(known) = known.filter(|claim| !claim.metadata.owner_references.iter().any(is_stale))
            else {
                continue;
            };
            let mut kept = (*known).clone();
            let owners = &mut kept.metadata.owner_references;
            owners.retain(|owner| !is_ours(owner));
            if !owners.iter().any(|owner| owner.controller == Some(true)) {
                owners.extend(wanted.clone());
            }
            if kept != *known {
                changed = true;
                plan.push(Write::update(kept).ignore(404));
            }
        }
        if changed && !condemned {
            plan.event(super::updated(set, pod));
        }
    }
}

/// Whether two references are to an object of the same kind and name.
fn is_same(a: &OwnerReference, b: &OwnerReference) -> bool {
    (&a.api_version, &a.kind, &a.name) == (&b.api_version, &b.kind, &b.name)
}
