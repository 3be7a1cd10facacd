//! Owner references that are there twice: upstream drops the second and warns.

use std::collections::HashSet;

use meta::{Object, OwnerReference};

/// When an object was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// As the client sent it, or as its patch made it.
    Sent,
    /// As mutating admission left it.
    Admitted,
}

/// Drops what is there twice.
pub(crate) fn dedup(object: &mut dyn Object, when: When, warnings: &mut Vec<String>) {
    if object.meta().owner_references.len() < 2 {
        return;
    }
    let mut repeated = Vec::new();
    let mut seen = HashSet::new();
    object.meta_mut().owner_references.retain(|owner| {
        let OwnerReference { api_version, kind, name, uid, controller, block_owner_deletion } = owner;
        let first = seen.insert((
            api_version.clone(),
            kind.clone(),
            name.clone(),
            uid.clone(),
            *controller,
            *block_owner_deletion,
        ));
        if !first {
            repeated.push(uid.to_string());
        }
        first
    });
    if repeated.is_empty() {
        return;
    }
    let after = if when == When::Admitted { " after mutating admission happens" } else { "" };
    warnings.push(format!(
        ".metadata.ownerReferences contains duplicate entries{after}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        repeated.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::ConfigMap;

    #[test]
    fn only_equal_references_are_dropped() {
        let owner = |uid: &str, name: &str| OwnerReference {
            uid: uid.into(),
            name: name.into(),
            ..OwnerReference::default()
        };
        let mut map = ConfigMap::default();
        map.metadata.owner_references =
            [owner("a", "x"), owner("a", "y"), owner("a", "x"), owner("b", "x")].into_iter().collect();
        let mut warnings = Vec::new();
        dedup(&mut map, When::Sent, &mut warnings);
        let left: Vec<String> =
            map.metadata.owner_references.iter().map(|o| format!("{}{}", o.uid, o.name)).collect();
        assert_eq!(left, ["ax", "ay", "bx"]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].ends_with("duplicate UID(s) observed: a"), "{}", warnings[0]);
        dedup(&mut map, When::Admitted, &mut warnings);
        assert_eq!(warnings.len(), 1, "nothing is left to say");
    }
}
