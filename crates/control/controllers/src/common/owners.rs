//! Owner references.

use meta::{Kind, Object, ObjectMeta, OwnerReference};

/// The owner that controls the object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().find(|owner| owner.controller == Some(true))
}

/// The reference by which `owner` controls its dependents, and by which they hold up its foreground deletion.
pub(crate) fn controller_ref<K: Kind>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: if K::GROUP.is_empty() {
            K::VERSION.into()
        } else {
            format!("{}/{}", K::GROUP, K::VERSION).into()
        },
        kind: K::KIND.into(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether `owner` controls the object.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    controller_of(meta).is_some_and(|reference| reference.uid == owner.uid)
}
