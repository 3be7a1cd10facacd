//! The claims of a set's pods, which outlive the pods unless the set says otherwise.

use std::sync::Arc;

use meta::{Kind, Object, OwnerReference, Str};
use reconcile::{Plan, World, Write};
use types::apps::v1::StatefulSet;
use types::core::v1::{PersistentVolumeClaim, Pod};

use super::order::Changes;

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

fn reference<K: Kind>(object: &K) -> OwnerReference {
    OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..crate::common::owners::controller_ref(object)
    }
}

/// Who takes the claim along when it goes: nobody, the set, or the pod that is being scaled away.
fn owner(set: &StatefulSet, condemned: Option<&Pod>) -> Option<OwnerReference> {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_deref()?;
    match condemned {
        Some(pod) if policy.when_scaled == "Delete" => Some(reference(pod)),
        _ if policy.when_deleted == "Delete" => Some(reference(set)),
        _ => None,
    }
}

/// Keeps the owners of existing claims in line with the retention policy.
pub(super) fn keep(set: &StatefulSet, owned: &[Arc<Pod>], changes: &Changes, world: &World, plan: &mut Plan) {
    if set.spec.persistent_volume_claim_retention_policy.is_none() {
        return;
    }
    for pod in owned {
        let condemned = changes.condemned.iter().any(|uid| *uid == pod.metadata.uid);
        let wanted = owner(set, condemned.then_some(&**pod));
        for (_, claim) in claims(set, &pod.metadata.name) {
            let Some(known) =
                world.get::<PersistentVolumeClaim>(&set.metadata.namespace, &claim.metadata.name)
            else {
                continue;
            };
            let mut changed = (*known).clone();
            let owners = &mut changed.meta_mut().owner_references;
            owners.retain(|owner| owner.uid != set.metadata.uid && owner.uid != pod.metadata.uid);
            owners.extend(wanted.clone());
            if changed != *known {
                plan.push(Write::update(changed).ignore(404));
            }
        }
    }
}
