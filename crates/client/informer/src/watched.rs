//! What a cache can hold: a typed kind, or any object.

use std::sync::Arc;

use meta::{Kind, Object, ObjectMeta};

/// An object in a cache. Implemented by every [`Kind`] and by `dyn Object`, for kinds known only at run time.
pub trait Watched: Send + Sync + 'static {
    /// The object's metadata.
    fn object_meta(&self) -> &ObjectMeta;
    /// The object as this type, `None` when it is of another.
    fn from_object(object: Arc<dyn Object>) -> Option<Arc<Self>>;
}

impl<K: Kind> Watched for K {
    fn object_meta(&self) -> &ObjectMeta {
        self.meta()
    }

    fn from_object(object: Arc<dyn Object>) -> Option<Arc<K>> {
        meta::downcast::<K>(object)
    }
}

impl Watched for dyn Object {
    fn object_meta(&self) -> &ObjectMeta {
        self.meta()
    }

    fn from_object(object: Arc<dyn Object>) -> Option<Arc<dyn Object>> {
        Some(object)
    }
}

/// The revision that a `resourceVersion` stands for, 0 when it is absent. Kubernetes made them comparable numbers
/// (KEP-5504).
pub fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.parse().unwrap_or(0)
}
