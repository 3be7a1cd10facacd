//! Adoption and release: keeping a workload's dependents and its selector in agreement.
//!
//! An orphan that the selector selects is adopted, unless either side is on its way out; a dependent that the selector
//! no longer selects is released. Both are patches of the dependent that require its known revision, so whoever changed it
//! meanwhile wins.

use std::sync::Arc;

use informer::Key;
use meta::{Kind, LabelSelector, Map, Object, ObjectMeta, OwnerReference, Str};
use reconcile::{Plan, World, Write};

use super::owners::controller_of;
use super::selector::selects;

/// The owners of kind `K` that a change of `dependent` concerns: its controller, or whoever may adopt it.
pub(crate) fn concerned<K: Kind>(
    dependent: &impl Object,
    world: &World,
    selects: impl Fn(&K, &Map<Str>) -> bool,
) -> Vec<Key> {
    let meta = dependent.meta();
    match controller_of(meta) {
        Some(owner) if owner.kind == K::KIND => vec![Key::new(&meta.namespace, &owner.name)],
        Some(_) => Vec::new(),
        None => {
            let mut owners = world.list::<K>(&meta.namespace);
            owners.retain(|owner| selects(owner, &meta.labels));
            owners.iter().map(|owner| Key::of(&**owner)).collect()
        }
    }
}

/// Who adopts and releases.
pub(crate) struct Claimant<'a> {
    /// The owner itself.
    pub(crate) owner: &'a ObjectMeta,
    /// How its dependents name it.
    pub(crate) reference: &'a OwnerReference,
    /// Which dependents are its own.
    pub(crate) selector: Option<&'a LabelSelector>,
    /// A finalizer that its dependents carry.
    pub(crate) finalizer: Option<&'static str>,
}

/// The dependents that the claimant may count on now: those it controls and its selector selects. What has to be adopted
/// or released is planned.
pub(crate) fn claim<K: Kind + Clone>(
    candidates: Vec<Arc<K>>,
    claimant: &Claimant<'_>,
    plan: &mut Plan,
    may_adopt: impl Fn(&K) -> bool,
) -> Vec<Arc<K>> {
    let Claimant { owner, reference, selector, finalizer } = claimant;
    let mut claimed = Vec::new();
    let mut writes = Vec::new();
    for candidate in candidates {
        let meta = candidate.meta();
        let selected = selects(*selector, &meta.labels);
        match controller_of(meta) {
            Some(controller) if controller.uid != owner.uid => {}
            Some(_) if selected => claimed.push(candidate),
            Some(_) => {
                if owner.deletion_timestamp.is_none() {
                    let mut released = (*candidate).clone();
                    released.meta_mut().owner_references.retain(|reference| reference.uid != owner.uid);
                    released.meta_mut().finalizers.retain(|held| finalizer.is_none_or(|own| held != own));
                    writes.push(Write::change(&*candidate, &released, "").ignore(404));
                }
            }
            None => {
                let both_stay = owner.deletion_timestamp.is_none() && meta.deletion_timestamp.is_none();
                if selected && both_stay && may_adopt(&candidate) {
                    let mut adopted = (*candidate).clone();
                    adopted.meta_mut().owner_references.push((*reference).clone());
                    let missing = finalizer.filter(|own| !meta.finalizers.iter().any(|held| held == own));
                    if let Some(own) = missing {
                        adopted.meta_mut().finalizers.push(own.into());
                    }
                    writes.push(Write::change(&*candidate, &adopted, "").ignore(404));
                    claimed.push(candidate);
                }
            }
        }
    }
    plan.all(writes);
    claimed
}
