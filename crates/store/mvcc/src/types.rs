//! What goes into a store and comes out of it.

use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The store's clock: every committed transaction that changes something raises it by one. An empty store is at 1,
/// so the first write is 2, as in etcd.
pub type Revision = i64;

/// Names a lease. [`NO_LEASE`] means none.
pub type LeaseId = i64;

/// The lease of a key that never expires.
pub const NO_LEASE: LeaseId = 0;

/// A value of the caller's own that travels with a put to the watchers in this process, who then need not decode
/// the stored bytes. It is not stored: after a restart it is absent.
pub type Payload = Arc<dyn Any + Send + Sync>;

/// One version of one key. Shared between the index, the history and all readers.
#[derive(Clone)]
pub struct KeyValue {
    /// The whole key, such as `/registry/pods/default/web-0`.
    pub key: Bytes,
    /// The stored bytes; empty in the event of a deletion.
    pub value: Bytes,
    /// The revision at which the key came into being, and not a mere change.
    pub create_revision: Revision,
    /// The revision of this version.
    pub mod_revision: Revision,
    /// 1 for a created key, one more with every put; 0 in the event of a deletion.
    pub version: i64,
    /// The lease that the key dies with.
    pub lease: LeaseId,
    /// What the writer gave along, if it wrote in this process.
    pub payload: Option<Payload>,
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}(create {}, version {}, {} bytes)",
            String::from_utf8_lossy(&self.key),
            self.mod_revision,
            self.create_revision,
            self.version,
            self.value.len()
        )
    }
}

impl PartialEq for KeyValue {
    /// Payloads are not compared: they are a shortcut to the value, not a part of it.
    fn eq(&self, other: &KeyValue) -> bool {
        (&self.key, &self.value, self.create_revision, self.mod_revision, self.version, self.lease)
            == (
                &other.key,
                &other.value,
                other.create_revision,
                other.mod_revision,
                other.version,
                other.lease,
            )
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was created or changed.
    Put,
    /// It was deleted, by a transaction or by the end of its lease.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The new version. For a deletion: the key, and the revision of the deletion as `mod_revision`.
    pub kv: Arc<KeyValue>,
    /// The version before, if there was one and it is still known.
    pub prev: Option<Arc<KeyValue>>,
}

impl Event {
    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        self.kv.mod_revision
    }

    /// True when the key did not exist before.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.kv.create_revision == self.kv.mod_revision
    }
}

/// The payload of a put.
#[derive(Default)]
pub enum PutPayload {
    /// None: watchers decode the value.
    #[default]
    None,
    /// This one.
    Ready(Payload),
    /// Made at the commit from the revision that it got, so that the object can carry it. Runs on the commit
    /// thread: it should only move and set, never wait.
    Stamped(Box<dyn FnOnce(Revision) -> Payload + Send>),
}

impl fmt::Debug for PutPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutPayload::None => "None",
            PutPayload::Ready(_) => "Ready",
            PutPayload::Stamped(_) => "Stamped",
        })
    }
}

/// Stores a value under a key.
#[derive(Debug, Default)]
pub struct Put {
    /// The whole key.
    pub key: Bytes,
    /// The bytes to store.
    pub value: Bytes,
    /// Offset in `value` at which the decimal digits of the commit's revision are inserted: lets a JSON object be
    /// stored exactly as it is served, with its `resourceVersion`. A store that does not know the revision
    /// beforehand leaves the value as it is; see [`crate::Store::stamps_revisions`].
    pub stamp_at: Option<usize>,
    /// The lease to die with.
    pub lease: LeaseId,
    /// For watchers in this process.
    pub payload: PutPayload,
}

impl Put {
    /// A plain value under a key.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        Put { key: key.into(), value: value.into(), ..Put::default() }
    }
}

/// One operation of a transaction.
#[derive(Debug)]
pub enum Op {
    /// Create or replace.
    Put(Put),
    /// Delete; a key that is not there is no error.
    Delete(Bytes),
}

impl Op {
    /// The key that the operation is about.
    pub fn key(&self) -> &Bytes {
        match self {
            Op::Put(put) => &put.key,
            Op::Delete(key) => key,
        }
    }
}

/// A condition: the key is at this modification revision, or absent when that is 0.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// The revision that the key must have; 0: must not exist.
    pub mod_revision: Revision,
}

/// Operations that happen together, at one revision, if all conditions hold. A key may occur once in `ops`.
#[derive(Debug, Default)]
pub struct Txn {
    /// Conditions; none means always.
    pub compare: Vec<Compare>,
    /// What to do then.
    pub ops: Vec<Op>,
}

/// What one operation did.
#[derive(Clone, Debug, PartialEq)]
pub struct OpResult {
    /// The new version; `None` for a deletion.
    pub kv: Option<Arc<KeyValue>>,
    /// The version before; `None` when there was none.
    pub prev: Option<Arc<KeyValue>>,
}

/// The outcome of a transaction; both are normal.
#[derive(Clone, Debug, PartialEq)]
pub enum TxnResponse {
    /// All conditions held and everything is durable. A transaction that changed nothing (deletions of absent
    /// keys) answers the revision that was current.
    Committed {
        /// The revision of all changes.
        revision: Revision,
        /// One for each operation.
        results: Vec<OpResult>,
    },
    /// Some condition did not hold, and nothing was done.
    Conflict {
        /// A revision at which it did not hold.
        revision: Revision,
        /// For each condition: the key's version at that time.
        current: Vec<Option<Arc<KeyValue>>>,
    },
}

/// How to read a range.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeOptions {
    /// At most this many keys; 0: all.
    pub limit: usize,
    /// Read as of this revision; `None`: the current one.
    pub at: Option<Revision>,
    /// Also count the keys beyond the limit, which has to walk over them.
    pub count: bool,
}

/// A key as of a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct GetResponse {
    /// The revision that was read, at which the answer is true.
    pub revision: Revision,
    /// The version at that revision.
    pub kv: Option<Arc<KeyValue>>,
}

/// Keys as of a revision, in the order of their bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeResponse {
    /// The revision that was read.
    pub revision: Revision,
    /// The keys, at most `limit`.
    pub kvs: Vec<Arc<KeyValue>>,
    /// True when there are more than `limit`.
    pub more: bool,
    /// How many keys lie beyond the returned ones; 0 unless asked for.
    pub remaining: u64,
}

/// What a watch delivers at once: every event of its range up to a revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchBatch {
    /// In the order of revisions; transactions are never split. Empty for mere progress.
    pub events: Vec<Event>,
    /// All events of the range up to this revision have been delivered.
    pub revision: Revision,
}

/// Where a store stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoreStatus {
    /// The current revision.
    pub revision: Revision,
    /// Reads before this revision answer [`crate::StoreError::Compacted`].
    pub compact_revision: Revision,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of the keys and values that are current.
    pub live_bytes: u64,
    /// Keys that are current.
    pub keys: u64,
}
