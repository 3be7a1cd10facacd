//! One object as the store holds it: bytes as they are served, and the typed value made from them at most once.
//!
//! A store that stamps revisions keeps objects as the very JSON that is answered, so a GET hands out the store's own
//! bytes. Any other store keeps upstream's form, `k8s\0` and a protobuf envelope without `resourceVersion`; both forms
//! are read everywhere.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use meta::{DecodeError, Object, PROTOBUF_MAGIC};
use mvcc::KeyValue;

use crate::served::Served;

/// What travels with a write to the readers in this process.
pub struct Entry {
    /// The typed value, `resourceVersion` set.
    pub object: Arc<dyn Object>,
    /// Length of the JSON's `{"kind":...,"apiVersion":...,` prefix.
    pub prefix: usize,
    json: OnceLock<Bytes>,
    proto: OnceLock<Option<Bytes>>,
}

impl Entry {
    /// An entry for an object whose JSON begins with `prefix` bytes of kind and version.
    pub fn new(object: Arc<dyn Object>, prefix: usize) -> Self {
        Entry { object, prefix, json: OnceLock::new(), proto: OnceLock::new() }
    }

    /// An entry for an object that is not in the store; encodes it.
    pub fn encoded(object: Arc<dyn Object>) -> Self {
        let mut json = Vec::with_capacity(1024);
        let prefix = object.encode_json(&mut json);
        let entry = Entry::new(object, prefix);
        let _ = entry.json.set(json.into());
        entry
    }
}

/// An object with its version. Cheap to clone.
#[derive(Clone)]
pub struct Stored {
    served: Served,
    kv: Arc<KeyValue>,
    entry: Arc<OnceLock<Arc<Entry>>>,
}

impl Stored {
    /// Takes over what the store answered.
    pub fn new(served: Served, kv: Arc<KeyValue>) -> Self {
        let entry = OnceLock::new();
        if let Some(known) = kv.payload.clone().and_then(|p| p.downcast::<Entry>().ok()) {
            let same = known.object.group_version_kind().kind.as_str() == served.resource.kind
                && known.object.group_version_kind().version.as_str() == served.resource.version;
            if same {
                let _ = entry.set(known);
            }
        }
        Stored { served, kv, entry: Arc::new(entry) }
    }

    /// The kind.
    pub fn served(&self) -> Served {
        self.served
    }

    /// The revision of this state.
    pub fn revision(&self) -> u64 {
        self.kv.mod_revision.max(0) as u64
    }

    /// The whole key.
    pub fn key(&self) -> &Bytes {
        &self.kv.key
    }

    fn entry(&self) -> Result<&Arc<Entry>, DecodeError> {
        if let Some(entry) = self.entry.get() {
            return Ok(entry);
        }
        let mut object = scheme::decode_stored(self.served.resource, &self.kv.value)?;
        object.meta_mut().resource_version = meta::Str::from(self.kv.mod_revision.to_string());
        let entry = Arc::new(Entry::encoded(Arc::from(object)));
        Ok(self.entry.get_or_init(|| entry))
    }

    /// The typed value.
    pub fn object(&self) -> Result<&Arc<dyn Object>, DecodeError> {
        self.entry().map(|entry| &entry.object)
    }

    /// The whole object as JSON.
    pub fn json(&self) -> Result<Bytes, DecodeError> {
        self.entry_json().map(|(json, _)| json)
    }

    /// The object as JSON without `kind` and `apiVersion`, as a member of a list, without its opening brace.
    pub fn item_json(&self) -> Result<Bytes, DecodeError> {
        self.entry_json().map(|(json, prefix)| json.slice(prefix..))
    }

    fn entry_json(&self) -> Result<(Bytes, usize), DecodeError> {
        let entry = self.entry()?;
        let stored_as_served = self.kv.payload.is_some() && !self.kv.value.starts_with(PROTOBUF_MAGIC);
        let json = if stored_as_served && entry.json.get().is_none() {
            self.kv.value.clone()
        } else {
            entry
                .json
                .get_or_init(|| {
                    let mut json = Vec::with_capacity(self.kv.value.len() + 64);
                    entry.object.encode_json(&mut json);
                    json.into()
                })
                .clone()
        };
        Ok((json, entry.prefix))
    }

    /// The object as a protobuf message without envelope; `None` for kinds that have no such form.
    pub fn proto(&self) -> Result<Option<Bytes>, DecodeError> {
        let entry = self.entry()?;
        let proto = entry.proto.get_or_init(|| {
            let mut out = Vec::with_capacity(self.kv.value.len());
            entry.object.encode_proto(&mut out).then(|| out.into())
        });
        Ok(proto.clone())
    }
}
