//! One object at one version, with its encodings: an entry of the feed, or the fresh result of a write.
//!
//! A store that stamps revisions keeps objects as the very JSON that is answered, so both a GET and the answer to a
//! write hand out the store's own bytes.

use std::sync::Arc;

use bytes::Bytes;
use feed::Entry;
use meta::Object;
use mvcc::{KeyValue, Revision};
use scheme::Unstructured;

use crate::served::Served;

#[derive(Clone)]
enum Form {
    Entry(Arc<Entry<dyn Object>>),
    Fresh { key: Bytes, revision: Revision, object: Arc<dyn Object>, json: Option<Bytes> },
}

/// An object with its version. Cheap to clone.
#[derive(Clone)]
pub struct Stored {
    served: Served,
    form: Form,
}

impl Stored {
    /// An entry of the kind's feed.
    pub fn entry(served: &Served, entry: Arc<Entry<dyn Object>>) -> Self {
        if let Some(converted) = crate::convert::to_served(served, &**entry.object()) {
            let (key, revision) = (entry.key().clone(), entry.revision());
            return Stored {
                served: served.clone(),
                form: Form::Fresh { key, revision, object: converted.into(), json: None },
            };
        }
        Stored { served: served.clone(), form: Form::Entry(entry) }
    }

    /// What a write in this process left in the store; `object` carries the revision already.
    pub(crate) fn fresh(served: &Served, kv: &KeyValue, object: Arc<dyn Object>) -> Self {
        let (key, revision) = (kv.key.clone(), kv.mod_revision);
        if let Some(converted) = crate::convert::to_served(served, &*object) {
            return Stored {
                served: served.clone(),
                form: Form::Fresh { key, revision, object: converted.into(), json: None },
            };
        }
        let json = kv.value.starts_with(b"{").then(|| kv.value.clone());
        Stored { served: served.clone(), form: Form::Fresh { key, revision, object, json } }
    }

    /// The same state in another version.
    pub(crate) fn converted(&self, object: Unstructured) -> Self {
        let (key, revision) = (self.key().clone(), self.revision() as Revision);
        let form = Form::Fresh { key, revision, object: Arc::new(object), json: None };
        Stored { served: self.served.clone(), form }
    }

    /// An object that was made for an answer and is stored nowhere.
    pub fn made(served: &Served, object: Arc<dyn Object>) -> Self {
        Stored {
            served: served.clone(),
            form: Form::Fresh { key: Bytes::new(), revision: 0, object, json: None },
        }
    }

    /// The kind.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// The revision of this state.
    pub fn revision(&self) -> u64 {
        match &self.form {
            Form::Entry(entry) => entry.revision().max(0) as u64,
            Form::Fresh { revision, .. } => (*revision).max(0) as u64,
        }
    }

    /// The whole key.
    pub fn key(&self) -> &Bytes {
        match &self.form {
            Form::Entry(entry) => entry.key(),
            Form::Fresh { key, .. } => key,
        }
    }

    /// The typed value.
    pub fn object(&self) -> &Arc<dyn Object> {
        match &self.form {
            Form::Entry(entry) => entry.object(),
            Form::Fresh { object, .. } => object,
        }
    }

    /// The feed's entry, when it is one.
    pub fn feed_entry(&self) -> Option<&Arc<Entry<dyn Object>>> {
        match &self.form {
            Form::Entry(entry) => Some(entry),
            Form::Fresh { .. } => None,
        }
    }

    /// The whole object as JSON.
    pub fn json(&self) -> Bytes {
        match &self.form {
            Form::Entry(entry) => entry.json().clone(),
            Form::Fresh { json: Some(json), .. } => json.clone(),
            Form::Fresh { object, .. } => {
                let mut json = Vec::with_capacity(1024);
                object.encode_json(&mut json);
                json.into()
            }
        }
    }

    /// The object as a member of a list: JSON without `kind` and `apiVersion` and without its opening brace.
    pub fn item_json(&self) -> Bytes {
        let json = self.json();
        let prefix = self.served.json_prefix();
        let skip = if json.starts_with(prefix.as_bytes()) { prefix.len() } else { 1 };
        json.slice(skip.min(json.len())..)
    }

    /// The object as a protobuf message without envelope.
    pub fn protobuf(&self) -> Bytes {
        match &self.form {
            Form::Entry(entry) => entry.protobuf().clone(),
            Form::Fresh { object, .. } => {
                let mut out = Vec::with_capacity(512);
                object.encode_proto(&mut out);
                out.into()
            }
        }
    }
}
