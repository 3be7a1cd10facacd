//! Where the objects of a kind are found: what an owner reference leaves out.

use std::collections::HashMap;

use client::Resource;
use meta::{OwnerReference, Str};

/// Where a named owner is to be looked for.
pub(super) enum Place {
    /// Among the objects of this resource, in this namespace if it has one.
    At(Resource, Str),
    /// Nobody serves its kind.
    UnknownKind,
    /// It is of a namespace, and its dependent of none: which one is meant cannot be told.
    Nowhere,
}

/// Built-in kinds, and custom ones as they come and go.
#[derive(Default)]
pub(super) struct Kinds {
    /// Resource of a group and kind, and whether it lives in namespaces.
    custom: HashMap<(Str, Str), (Resource, bool)>,
}

impl Kinds {
    /// Where an owner is, seen from a dependent in `namespace` (empty: from one of the whole cluster).
    pub(super) fn place(&self, owner: &OwnerReference, namespace: &str) -> Place {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let found = match scheme::by_kind(group, version, &owner.kind) {
            Some(entry) => Some((Resource::new(group, version, &entry.plural), entry.namespaced)),
            None => self.custom.get(&(group.into(), owner.kind.clone())).cloned(),
        };
        match found {
            None => Place::UnknownKind,
            Some((_, true)) if namespace.is_empty() => Place::Nowhere,
            Some((resource, true)) => Place::At(resource, namespace.into()),
            Some((resource, false)) => Place::At(resource, Str::new()),
        }
    }

    /// Resource and namespace of a named owner, if there can be one.
    pub(super) fn locate(&self, owner: &OwnerReference, namespace: &str) -> Option<(Resource, Str)> {
        match self.place(owner, namespace) {
            Place::At(resource, namespace) => Some((resource, namespace)),
            Place::UnknownKind | Place::Nowhere => None,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_cluster_has_no_owner_in_a_namespace() {
        let kinds = Kinds::default();
        let owner = |api_version: &str, kind: &str| OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            ..OwnerReference::default()
        };
        assert!(matches!(kinds.place(&owner("v1", "ConfigMap"), ""), Place::Nowhere));
        assert!(matches!(kinds.place(&owner("v1", "ConfigMap"), "a"), Place::At(_, at) if at == "a"));
        assert!(matches!(kinds.place(&owner("v1", "Node"), "a"), Place::At(_, at) if at.is_empty()));
        assert!(matches!(kinds.place(&owner("v1", "Node"), ""), Place::At(..)));
        assert!(matches!(kinds.place(&owner("example.com/v1", "Foo"), ""), Place::UnknownKind));
    }
}
