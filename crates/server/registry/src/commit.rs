//! The one place that writes: an admitted object becomes bytes under a key.

use std::sync::Arc;
use std::time::Instant;

use admission::{Admitted, Charge};
use bytes::Bytes;
use meta::{Envelope, Object, Status, Str};
use mvcc::{Operation, Put, PutPayload, Revision, TxnResponse};
use types::core::v1::ResourceQuota;

use crate::conversion;
use crate::errors;
use crate::managed;
use crate::registry::Registry;
use crate::served::Served;
use crate::stored::Stored;

/// `"resourceVersion":"0"`: what an object that is about to be stamped carries, and where the digits go.
const PLACEHOLDER: &[u8] = b"\"resourceVersion\":\"0\"";

/// How long events are kept (`--event-ttl`).
const EVENT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(3600);

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
        served: &Served,
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
        let Some(current) = self.find_object(&served, &charge.namespace, &charge.name).await? else {
            return Ok(());
        };
        let conflict = || errors::conflict("", "resourcequotas", &charge.name, errors::MODIFIED);
        if current.revision().to_string() != charge.resource_version.as_str() {
            return Err(conflict());
        }
        let mut quota = meta::downcast_ref::<ResourceQuota>(&**current.object()).cloned().unwrap_or_default();
        let before = std::mem::replace(&mut quota.status.used, charge.used.clone());
        let managers = &quota.metadata.managed_fields;
        let changed = quota.status.used.iter().filter(|(name, amount)| before.get(name) != Some(*amount));
        // Mostly the amounts are the server's already: then the entries stay as they are, which spares their reckoning.
        if changed.into_iter().any(|(name, _)| !managed::owns_in_status(managers, name)) {
            managed::record_own_status(&served, &mut quota, &current, self.now_s());
        }
        let key = served.key(&charge.namespace, &charge.name);
        match self.put(&served, key, Box::new(quota), current.revision() as Revision).await? {
            Committed::Stored(_) => Ok(()),
            Committed::Conflict(_) => Err(conflict()),
        }
    }

    async fn put(
        &self,
        served: &Served,
        key: Bytes,
        object: Box<dyn Object>,
        expected: Revision,
    ) -> Result<Committed, Status> {
        let mut object = match conversion::to_storage(served, &*object).await? {
            Some(converted) => Box::new(converted),
            None => crate::convert::to_storage(served, object),
        };
        let mut kept = None;
        let mut put = if self.store.stamps_revisions() {
            stamped(key.clone(), object, served.custom().map_or(0, |custom| custom.definition.form))
        } else {
            object.meta_mut().resource_version = Str::new();
            let value = envelope(&*object);
            kept = Some(object);
            Put { key: key.clone(), value, ..Put::default() }
        };
        if served.resource().plural == "events" {
            let lease = self.event_leases.lease(&*self.store, EVENT_LIFETIME).await;
            put.lease = lease.map_err(errors::from_store)?;
        }
        let requests = self.feeds.of(served)?.measured().requests();
        let operation = if expected == 0 { Operation::Create } else { Operation::Update };
        let begun = Instant::now();
        let outcome = self.store.replace(put, expected).await;
        requests.done(operation, begun, outcome.is_err());
        match outcome.map_err(errors::from_store)? {
            TxnResponse::Committed { mut results, .. } => {
                let kv = results
                    .pop()
                    .and_then(|r| r.kv)
                    .ok_or_else(|| errors::internal("a put answered no key"))?;
                let carried = kv.payload.as_ref().and_then(feed::carried::<dyn Object>);
                let object = match (carried, kept) {
                    (Some(object), _) => object,
                    (None, Some(mut object)) => {
                        object.meta_mut().resource_version = Str::from(kv.mod_revision.to_string());
                        object.into()
                    }
                    (None, None) => return Err(errors::internal("a stamped put lost its object")),
                };
                let stored = Stored::fresh(served, &kv, object);
                Ok(Committed::Stored(conversion::bring_one(served, stored).await?))
            }
            TxnResponse::Conflict { .. } => Ok(Committed::Conflict(self.conflicting(served, &key).await?)),
        }
    }

    /// What is under the key of a write that lost.
    async fn conflicting(&self, served: &Served, key: &[u8]) -> Result<Option<Stored>, Status> {
        let snapshot = self.newest(served).await?;
        Ok(snapshot.get(key).map(|entry| Stored::entry(served, entry.clone())))
    }

    /// Removes an object, provided that it is still at its revision.
    pub(crate) async fn remove(&self, stored: &Stored) -> Result<Committed, Status> {
        let expected = stored.revision() as Revision;
        let requests = self.feeds.of(stored.served())?.measured().requests();
        let begun = Instant::now();
        let outcome = self.store.delete(stored.key().clone(), Some(expected)).await;
        requests.done(Operation::Delete, begun, outcome.is_err());
        match outcome.map_err(errors::from_store)? {
            TxnResponse::Committed { .. } => Ok(Committed::Stored(stored.clone())),
            TxnResponse::Conflict { .. } => {
                Ok(Committed::Conflict(self.conflicting(stored.served(), stored.key()).await?))
            }
        }
    }

    /// Stores an object that a deletion marks. Deletion runs no mutating admission, so there is no proof to ask for
    /// beyond the validating half, which ran before.
    pub(crate) async fn commit_marked(
        &self,
        served: &Served,
        current: &Stored,
        object: Box<dyn Object>,
    ) -> Result<Committed, Status> {
        self.put(served, current.key().clone(), object, current.revision() as Revision).await
    }
}

/// A put of the very JSON that will be served; `form` is that of the object's definition.
fn stamped(key: Bytes, mut object: Box<dyn Object>, form: u64) -> Put {
    object.meta_mut().resource_version = "0".into();
    let mut json = Vec::with_capacity(1024);
    object.encode_json(&mut json);
    // Nothing before this field can contain a quote, so the first occurrence is the field.
    let at = json.windows(PLACEHOLDER.len()).position(|w| w == PLACEHOLDER);
    let stamp_at = at.map(|at| at + PLACEHOLDER.len() - 2);
    if let Some(at) = stamp_at {
        json.remove(at);
    }
    let payload = PutPayload::Stamped(Box::new(move |revision| {
        object.meta_mut().resource_version = Str::from(revision.to_string());
        feed::payload_in::<dyn Object>(form, Arc::from(object))
    }));
    Put { key, value: json.into(), stamp_at, payload, ..Put::default() }
}

/// Upstream's stored form, or JSON for kinds without protobuf.
fn envelope(object: &dyn Object) -> Bytes {
    let gvk = object.group_version_kind();
    let mut raw = Vec::with_capacity(1024);
    let mut out = Vec::with_capacity(1024);
    if object.encode_proto(&mut raw) {
        Envelope::encode(&gvk.api_version(), &gvk.kind, &raw, &mut out);
    } else {
        object.encode_json(&mut out);
    }
    out.into()
}
