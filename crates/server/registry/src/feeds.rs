//! One feed per stored resource, opened at start: the caches that every read is answered from.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use custom::Kind;
use env::Env;
use feed::{Codec, Feed, FeedOptions, ReadAt, Snapshot};
use meta::{DecodeContext, Envelope, Object, PROTOBUF_MAGIC, Status, Str};
use mvcc::{KeyValue, Revision, Store, StoreError};
use scheme::{Resource, Unstructured};

use crate::errors;
use crate::served::Served;

/// A feed of any kind.
pub type ObjectFeed = Feed<dyn Object>;

/// All feeds by the prefix of their keys.
pub struct Feeds {
    by_prefix: HashMap<&'static str, Arc<ObjectFeed>>,
}

impl Feeds {
    /// Opens a feed for each stored resource of the scheme.
    pub async fn open(store: &Arc<dyn Store>, env: &Env) -> Result<Self, StoreError> {
        let stored = scheme::RESOURCES.iter().filter(|r| !r.key_prefix.is_empty() && r.is_storage_version());
        let opening = stored.map(|resource| async move {
            let options = FeedOptions::new(&*resource.key_prefix, &resource.group, &resource.plural);
            let codec = Arc::new(ObjectCodec { resource });
            let feed = ObjectFeed::open(store.clone(), codec, env, options).await?;
            Ok::<_, StoreError>((&*resource.key_prefix, Arc::new(feed)))
        });
        let opened = futures::future::try_join_all(opening).await?;
        Ok(Feeds { by_prefix: opened.into_iter().collect() })
    }

    /// The feed of a resource.
    pub fn of<'a>(&'a self, served: &'a Served) -> Result<&'a Arc<ObjectFeed>, Status> {
        if let Some(custom) = served.custom() {
            return Ok(&custom.definition.feed);
        }
        let prefix = &*served.resource().key_prefix;
        self.by_prefix.get(prefix).ok_or_else(|| errors::internal(format!("there is no feed of {prefix}")))
    }

    /// What is known now of each stored resource, by the prefix of its keys.
    pub fn all_now(&self) -> impl Iterator<Item = (&'static str, Snapshot<dyn Object>)> {
        self.by_prefix.iter().map(|(prefix, feed)| (*prefix, feed.snapshot_now()))
    }

    /// What is known now, without waiting.
    pub fn now(&self, resource: &Resource) -> Option<Snapshot<dyn Object>> {
        self.by_prefix.get(&*resource.key_prefix).map(|feed| feed.snapshot_now())
    }

    /// Waits until everything that was committed before is known.
    pub async fn catch_up(&self, resource: &Resource) {
        if let Some(feed) = self.by_prefix.get(&*resource.key_prefix)
            && let Err(error) = feed.wait(ReadAt::Latest).await
        {
            tracing::warn!(%error, resource = &*resource.plural, "a feed is behind the store");
        }
    }
}

/// Reads and writes one resource's objects.
struct ObjectCodec {
    resource: &'static Resource,
}

/// Decodes stored bytes of either form into the resource's kind.
pub(crate) fn decode_stored(resource: &Resource, value: &[u8]) -> Result<Box<dyn Object>, String> {
    if value.starts_with(PROTOBUF_MAGIC) {
        let envelope = Envelope::decode(value).map_err(|e| e.to_string())?;
        return resource.object.decode_proto(envelope.raw).map_err(|e| e.to_string());
    }
    resource.object.decode_json(value, &mut DecodeContext::lenient()).map_err(|e| e.to_string())
}

/// Reads and writes the objects of a definition.
pub(crate) struct CustomCodec {
    /// The version in which objects are stored.
    pub(crate) storage: Arc<Kind>,
    /// Whether objects in other versions become that version without asking anybody.
    pub(crate) converts: bool,
    /// The number of the definition's state: an object that was written under another one is read anew, since defaults may
    /// have come and fields may have gone.
    pub(crate) form: u64,
}

impl Codec<dyn Object> for CustomCodec {
    fn form(&self) -> u64 {
        self.form
    }

    fn decode(&self, kv: &KeyValue) -> Result<Arc<dyn Object>, String> {
        let mut object = Unstructured::from_json(&kv.value, &mut DecodeContext::lenient())
            .map_err(|error| error.to_string())?;
        if self.storage.is_version_of(&object) {
            self.storage.settle(&mut object);
        } else if self.converts {
            object = self.storage.convert(&object);
        }
        object.metadata.resource_version = Str::from(kv.mod_revision.to_string());
        Ok(Arc::new(object))
    }

    fn restamp(&self, object: &dyn Object, revision: Revision) -> Arc<dyn Object> {
        let mut copy = object.clone_object();
        copy.meta_mut().resource_version = Str::from(revision.to_string());
        copy.into()
    }

    /// What is stored may lack what the schema fills in, so it is not what is served.
    fn json(&self, object: &dyn Object, _: Option<&Bytes>) -> Bytes {
        let mut json = Vec::with_capacity(1024);
        object.encode_json(&mut json);
        json.into()
    }

    fn protobuf(&self, _: &dyn Object) -> Bytes {
        Bytes::new()
    }
}

impl Codec<dyn Object> for ObjectCodec {
    fn decode(&self, kv: &KeyValue) -> Result<Arc<dyn Object>, String> {
        let mut object = decode_stored(self.resource, &kv.value)?;
        object.meta_mut().resource_version = Str::from(kv.mod_revision.to_string());
        Ok(object.into())
    }

    fn restamp(&self, object: &dyn Object, revision: Revision) -> Arc<dyn Object> {
        let mut copy = object.clone_object();
        copy.meta_mut().resource_version = Str::from(revision.to_string());
        copy.into()
    }

    fn json(&self, object: &dyn Object, stored: Option<&Bytes>) -> Bytes {
        if let Some(stored) = stored.filter(|s| s.starts_with(b"{")) {
            return stored.clone();
        }
        let mut json = Vec::with_capacity(1024);
        object.encode_json(&mut json);
        json.into()
    }

    /// The message without its envelope, so that lists can gather it.
    fn protobuf(&self, object: &dyn Object) -> Bytes {
        let mut out = Vec::with_capacity(512);
        object.encode_proto(&mut out);
        out.into()
    }

    fn indexes(&self) -> &'static [&'static str] {
        if self.resource.plural == "pods" { &["spec.nodeName"] } else { &[] }
    }

    fn index_value<'a>(&self, object: &'a dyn Object, index: &str) -> Option<&'a str> {
        if index != "spec.nodeName" {
            return None;
        }
        meta::downcast_ref::<types::core::v1::Pod>(object).map(|pod| pod.spec.node_name.as_str())
    }
}
