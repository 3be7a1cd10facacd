//! What names an object among those of its kind.

use std::fmt;

use meta::{Object, Str};

/// Namespace and name. Orders by namespace first, so that a namespace is a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: Str,
    /// Name.
    pub name: Str,
}

impl Key {
    /// The key of these names.
    pub fn new(namespace: &str, name: &str) -> Self {
        Key { namespace: namespace.into(), name: name.into() }
    }

    /// The key of `object`.
    pub fn of<T: Object + ?Sized>(object: &T) -> Self {
        Key { namespace: object.meta().namespace.clone(), name: object.meta().name.clone() }
    }
}

impl fmt::Display for Key {
    /// As in `namespace/name`, or `name` without a namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
