//! What a feed must know about its objects.

use bytes::Bytes;
use mvcc::{KeyValue, Payload, Revision};
use std::sync::Arc;

/// Decodes, encodes and indexes the objects of one resource.
pub trait Codec<T: ?Sized>: Send + Sync + 'static {
    /// Makes the object of stored bytes, with `kv.mod_revision` as its resource version. Called only for objects
    /// that were not written by this process, or before its last restart, or in another form.
    ///
    /// # Errors
    /// Says why the bytes are no object of this resource; the object is then logged and left out.
    fn decode(&self, kv: &KeyValue) -> Result<Arc<T>, String>;

    /// Which form objects get here. One that a put carried in another form, as from before the schema of its kind changed, is
    /// decoded again.
    fn form(&self) -> u64 {
        0
    }

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

/// An object on its way from a put to the feed.
struct Carried<T: ?Sized> {
    form: u64,
    object: Arc<T>,
}

/// Wraps an object so that a put carries it to the feed of its prefix: the feed finds it there and need not decode.
/// The object's resource version must be that of the commit, see [`mvcc::PutPayload::Stamped`].
pub fn payload<T: ?Sized + Send + Sync + 'static>(object: Arc<T>) -> Payload {
    payload_in(0, object)
}

/// The same of an object in a form of its own, see [`Codec::form`].
pub fn payload_in<T: ?Sized + Send + Sync + 'static>(form: u64, object: Arc<T>) -> Payload {
    Arc::new(Carried { form, object })
}

/// The object that a put carried, in whatever form.
pub fn carried<T: ?Sized + Send + Sync + 'static>(payload: &Payload) -> Option<Arc<T>> {
    Some(payload.downcast_ref::<Carried<T>>()?.object.clone())
}

/// The object that [`payload_in`] wrapped in this form.
pub(crate) fn unwrap<T: ?Sized + Send + Sync + 'static>(payload: &Payload, form: u64) -> Option<Arc<T>> {
    let carried = payload.downcast_ref::<Carried<T>>()?;
    (carried.form == form).then(|| carried.object.clone())
}
