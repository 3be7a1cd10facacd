//! What a feed must know about its objects.

use bytes::Bytes;
use mvcc::{KeyValue, Payload, Revision};
use std::sync::Arc;

/// Decodes, encodes and indexes the objects of one resource.
pub trait Codec<T: ?Sized>: Send + Sync + 'static {
    /// Makes the object of stored bytes, with `kv.mod_revision` as its resource version. Called only for objects
    /// that were not written by this process, or before its last restart.
    ///
    /// # Errors
    /// Says why the bytes are no object of this resource; the object is then logged and left out.
    fn decode(&self, kv: &KeyValue) -> Result<Arc<T>, String>;

    /// A copy with another resource version: the last state of a deleted object carries that of its deletion.
    fn restamp(&self, object: &T, revision: Revision) -> Arc<T>;

    /// JSON as it is served. `stored` is the stored value, if the object is exactly what is stored: a codec that
    /// stores what it serves (see [`mvcc::Put::stamp_at`]) returns it and encodes nothing.
    fn json(&self, object: &T, stored: Option<&Bytes>) -> Bytes;

    /// Kubernetes' protobuf as it is served.
    fn protobuf(&self, object: &T) -> Bytes;

    /// The fields that watchers can be looked up by, such as `spec.nodeName`.
    fn indexes(&self) -> &'static [&'static str] {
        &[]
    }

    /// The object's value of an index; `None`: watchers of that index are not interested in it.
    fn index_value<'a>(&self, object: &'a T, index: &str) -> Option<&'a str> {
        let _ = (object, index);
        None
    }
}

/// Wraps an object so that a put carries it to the feed of its prefix: the feed finds it there and need not decode.
/// The object's resource version must be that of the commit, see [`mvcc::PutPayload::Stamped`].
pub fn payload<T: ?Sized + Send + Sync + 'static>(object: Arc<T>) -> Payload {
    Arc::new(object)
}

/// The object that [`payload`] wrapped.
pub(crate) fn unwrap<T: ?Sized + Send + Sync + 'static>(payload: &Payload) -> Option<Arc<T>> {
    payload.downcast_ref::<Arc<T>>().cloned()
}
