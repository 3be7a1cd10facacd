//! Where the objects of a kind are found: what an owner reference leaves out.

use std::collections::HashMap;

use client::Resource;
use meta::{OwnerReference, Str};

/// Built-in kinds, and custom ones as they come and go.
#[derive(Default)]
pub(super) struct Kinds {
    /// Resource of a group and kind, and whether it lives in namespaces.
    custom: HashMap<(Str, Str), (Resource, bool)>,
}

impl Kinds {
    /// Resource and namespace of a named owner, seen from a dependent in `namespace`; `None` for unknown kinds.
    pub(super) fn locate(&self, owner: &OwnerReference, namespace: &str) -> Option<(Resource, Str)> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let (resource, namespaced) = match scheme::by_kind(group, version, &owner.kind) {
            Some(entry) => (Resource::new(group, version, &entry.plural), entry.namespaced),
            None => self.custom.get(&(group.into(), owner.kind.clone())).cloned()?,
        };
        Some((resource, if namespaced { namespace.into() } else { Str::new() }))
    }

    /// Learns a custom kind, and answers with the resource that it had before.
    pub(super) fn insert(&mut self, kind: (Str, Str), entry: (Resource, bool)) -> Option<Resource> {
        self.custom.insert(kind, entry).map(|(known, _)| known)
    }

    /// Forgets a custom kind, and answers with the resource that it had.
    pub(super) fn remove(&mut self, kind: &(Str, Str)) -> Option<Resource> {
        self.custom.remove(kind).map(|(known, _)| known)
    }
}
