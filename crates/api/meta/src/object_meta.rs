//! Helpers on the shared metadata types.

use crate::v1::{Condition, ListMeta, ObjectMeta, OwnerReference};
use crate::{Kind, Map, Object, Str, Time};

impl ObjectMeta {
    /// Metadata with a name.
    pub fn named(name: impl Into<Str>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Metadata with a namespace and a name.
    pub fn namespaced(namespace: impl Into<Str>, name: impl Into<Str>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), ..Self::default() }
    }

    /// The owner that controls the object.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller == Some(true))
    }

    /// Controlled by the object with this UID.
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|o| o.uid == uid)
    }

    /// Has the finalizer.
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| f == name)
    }

    /// Deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The value of a label, empty when absent.
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", |v| v.as_str())
    }

    /// The value of an annotation, empty when absent.
    pub fn annotation(&self, key: &str) -> &str {
        self.annotations.get(key).map_or("", |v| v.as_str())
    }

    /// `namespace/name`, or the name alone for cluster-scoped objects.
    pub fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

impl OwnerReference {
    /// A reference to the object's controller, which blocks its deletion, as upstream's `NewControllerRef`.
    pub fn controller_of<K: Kind>(owner: &K) -> Self {
        Self { controller: Some(true), block_owner_deletion: Some(true), ..Self::to(owner) }
    }

    /// A plain reference to an owner.
    pub fn to(owner: &dyn Object) -> Self {
        let gvk = owner.group_version_kind();
        let meta = owner.meta();
        Self {
            api_version: gvk.api_version(),
            kind: gvk.kind,
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            ..Self::default()
        }
    }
}

impl ListMeta {
    /// Metadata with a resource version.
    pub fn at(resource_version: impl Into<Str>) -> Self {
        Self { resource_version: resource_version.into(), ..Self::default() }
    }
}

impl Condition {
    /// Sets a condition in a list as upstream's `meta.SetStatusCondition`: the transition time changes only with the
    /// status. Answers whether anything changed.
    pub fn set(list: &mut crate::List<Condition>, mut new: Condition, now: Time) -> bool {
        let Some(old) = list.iter_mut().find(|c| c.type_ == new.type_) else {
            new.last_transition_time = new.last_transition_time.or(Some(now));
            list.push(new);
            return true;
        };
        new.last_transition_time = if old.status == new.status {
            old.last_transition_time
        } else {
            new.last_transition_time.or(Some(now))
        };
        let changed = *old != new;
        *old = new;
        changed
    }

    /// The condition of a type.
    pub fn find<'a>(list: &'a [Condition], type_: &str) -> Option<&'a Condition> {
        list.iter().find(|c| c.type_ == type_)
    }

    /// The condition of a type has status `True`.
    pub fn is_true(list: &[Condition], type_: &str) -> bool {
        Self::find(list, type_).is_some_and(|c| c.status == "True")
    }
}

/// Whether every entry of `part` is in `whole`.
impl Map<Str> {
    /// All entries of this map are in `other` with the same values.
    pub fn is_subset_of(&self, other: &Map<Str>) -> bool {
        self.iter().all(|(k, v)| other.get(k) == Some(v))
    }
}
