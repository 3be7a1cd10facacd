//! The one place that writes: an admitted object becomes bytes under a key.

use std::sync::Arc;

use admission::{Admitted, Charge};
use bytes::Bytes;
use meta::{Envelope, Object, Status, Str};
use mvcc::{Op, Put, PutPayload, Revision, Txn, TxnResponse};
use types::core::v1::ResourceQuota;

use crate::errors;
use crate::registry::Registry;
use crate::served::Served;
use crate::stored::{Entry, Stored};

/// `"resourceVersion":"0"`: what an object that is about to be stamped carries, and where the digits go.
const PLACEHOLDER: &[u8] = b"\"resourceVersion\":\"0\"";

/// How a commit ended, unless the store failed.
pub(crate) enum Committed {
    /// It is stored.
    Stored(Stored),
    /// Somebody else was faster; the state that is there now.
    Conflict(Option<Stored>),
}

impl Registry {
    /// Stores an admitted object, provided that the key is still at `expected` (0: absent).
    pub(crate) async fn commit(
        &self,
        served: Served,
        key: Bytes,
        admitted: Admitted,
        expected: Revision,
    ) -> Result<Committed, Status> {
        let (object, charges) = admitted.into_parts();
        for charge in charges {
            self.charge(charge).await?;
        }
        self.put(served, key, object, expected).await
    }

    /// Charges a quota. A quota that changed meanwhile fails the request with a conflict that the caller retries.
    async fn charge(&self, charge: Charge) -> Result<(), Status> {
        let served = Served::find("", "v1", "resourcequotas").ok_or_else(errors::no_such_resource)?;
        let Some(current) = self.find(served, &charge.namespace, &charge.name).await? else { return Ok(()) };
        let conflict = || errors::conflict("", "resourcequotas", &charge.name, errors::MODIFIED);
        if current.revision().to_string() != charge.resource_version.as_str() {
            return Err(conflict());
        }
        let object = current.object().map_err(errors::internal)?;
        let mut quota = meta::downcast_ref::<ResourceQuota>(&**object).cloned().unwrap_or_default();
        quota.status.used = charge.used.clone();
        let key = served.key(&charge.namespace, &charge.name);
        match self.put(served, key, Box::new(quota), current.revision() as Revision).await? {
            Committed::Stored(_) => Ok(()),
            Committed::Conflict(_) => Err(conflict()),
        }
    }

    async fn put(
        &self,
        served: Served,
        key: Bytes,
        mut object: Box<dyn Object>,
        expected: Revision,
    ) -> Result<Committed, Status> {
        let put = if self.store.stamps_revisions() {
            stamped(key.clone(), object)
        } else {
            object.meta_mut().resource_version = Str::new();
            Put { key: key.clone(), value: envelope(&served, &*object), ..Put::default() }
        };
        let put = if served.resource.plural == "events" {
            Put { lease: self.event_leases.lease().await.map_err(errors::from_store)?, ..put }
        } else {
            put
        };
        match self.store.replace(put, expected).await.map_err(errors::from_store)? {
            TxnResponse::Committed { mut results, .. } => {
                let kv = results.pop().and_then(|r| r.kv).ok_or_else(|| errors::internal("a put answered no key"))?;
                Ok(Committed::Stored(Stored::new(served, kv)))
            }
            TxnResponse::Conflict { mut current, .. } => {
                let kv = current.pop().flatten();
                Ok(Committed::Conflict(kv.map(|kv| Stored::new(served, kv))))
            }
        }
    }

    /// Removes an object, provided that it is still at `expected`.
    pub(crate) async fn remove(&self, stored: &Stored) -> Result<Committed, Status> {
        let expected = stored.revision() as Revision;
        let compare = vec![mvcc::Compare { key: stored.key().clone(), mod_revision: expected }];
        let txn = Txn { compare, ops: vec![Op::Delete(stored.key().clone())] };
        match self.store.txn(txn).await.map_err(errors::from_store)? {
            TxnResponse::Committed { revision, .. } => Ok(Committed::Stored(stored.at_revision(revision))),
            TxnResponse::Conflict { mut current, .. } => {
                let kv = current.pop().flatten();
                Ok(Committed::Conflict(kv.map(|kv| Stored::new(stored.served(), kv))))
            }
        }
    }
}

/// A put of the very JSON that will be served.
fn stamped(key: Bytes, mut object: Box<dyn Object>) -> Put {
    object.meta_mut().resource_version = "0".into();
    let mut json = Vec::with_capacity(1024);
    let prefix = object.encode_json(&mut json);
    // Nothing before this field can contain a quote, so the first occurrence is the field.
    let at = json.windows(PLACEHOLDER.len()).position(|w| w == PLACEHOLDER);
    let stamp_at = at.map(|at| at + PLACEHOLDER.len() - 2);
    if let Some(at) = stamp_at {
        json.remove(at);
    }
    let payload = PutPayload::Stamped(Box::new(move |revision| {
        object.meta_mut().resource_version = Str::from(revision.to_string());
        Arc::new(Entry::new(Arc::from(object), prefix))
    }));
    Put { key, value: json.into(), stamp_at, payload, ..Put::default() }
}

/// Upstream's stored form, or JSON for kinds without protobuf.
fn envelope(served: &Served, object: &dyn Object) -> Bytes {
    let mut raw = Vec::with_capacity(1024);
    let mut out = Vec::with_capacity(1024);
    if object.encode_proto(&mut raw) {
        Envelope::encode(&served.api_version(), served.resource.kind, &raw, &mut out);
    } else {
        object.encode_json(&mut out);
    }
    out.into()
}
