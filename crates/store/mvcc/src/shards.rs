//! The whole index: finds the shard of a key, and says which revision is visible.

use crate::error::StoreError;
use crate::range::KeyRange;
use crate::shard::{self, Shard};
use crate::types::{Event, GetResponse, KeyValue, RangeOptions, RangeResponse, Revision};
use crate::watch::Signal;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Every key, by shard. Only the commit thread changes it; anybody reads it.
#[derive(Debug)]
pub(crate) struct Shards {
    by_prefix: RwLock<BTreeMap<Bytes, Arc<Shard>>>,
    /// Every transaction up to this revision is durable and applied.
    visible: AtomicI64,
    compact_revision: AtomicI64,
    /// Watches over several shards.
    watchers: Mutex<Vec<Weak<Signal>>>,
    pub(crate) live_bytes: AtomicU64,
    pub(crate) live_keys: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) closed: AtomicBool,
}

/// The prefix that names a key's shard: `/registry/<kind>/`, or `/registry/<group>/<kind>/` when the second part has
/// a dot, as the keys of custom resources have; empty for keys of another shape.
pub(crate) fn shard_prefix(key: &[u8]) -> &[u8] {
    if key.first() != Some(&b'/') {
        return b"";
    }
    let mut slashes =
        key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index).skip(1);
    let (Some(second), Some(third)) = (slashes.next(), slashes.next()) else { return b"" };
    if key[second..third].contains(&b'.')
        && let Some(fourth) = slashes.next()
    {
        return &key[..=fourth];
    }
    &key[..=third]
}

/// The one shard that can hold keys of the range, if there is only one.
fn home(range: &KeyRange) -> Option<&[u8]> {
    let prefix = shard_prefix(&range.start);
    // Below a group's own prefix there may be a shard for each of its kinds.
    let parts = prefix.iter().filter(|byte| **byte == b'/').count();
    let closed = parts == 4 || (parts == 3 && !prefix.contains(&b'.'));
    (closed && range.within(prefix)).then_some(prefix)
}

impl Shards {
    pub(crate) fn new() -> Shards {
        Shards {
            by_prefix: RwLock::default(),
            visible: AtomicI64::new(1),
            compact_revision: AtomicI64::new(0),
            watchers: Mutex::default(),
            live_bytes: AtomicU64::new(0),
            live_keys: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn visible(&self) -> Revision {
        self.visible.load(Ordering::Acquire)
    }

    pub(crate) fn set_visible(&self, revision: Revision) {
        self.visible.store(revision, Ordering::Release);
    }

    pub(crate) fn compact_revision(&self) -> Revision {
        self.compact_revision.load(Ordering::Acquire)
    }

    pub(crate) fn set_compact_revision(&self, revision: Revision) {
        self.compact_revision.store(revision, Ordering::Release);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Shard>> {
        self.by_prefix.read().values().cloned().collect()
    }

    fn find(&self, key: &[u8]) -> Option<Arc<Shard>> {
        self.by_prefix.read().get(shard_prefix(key)).cloned()
    }

    fn find_or_make(&self, prefix: &[u8]) -> Arc<Shard> {
        if let Some(shard) = self.by_prefix.read().get(prefix) {
            return shard.clone();
        }
        self.by_prefix.write().entry(Bytes::copy_from_slice(prefix)).or_default().clone()
    }

    /// The shards that may hold keys of the range.
    pub(crate) fn covering(&self, range: &KeyRange) -> Vec<Arc<Shard>> {
        let shards = self.by_prefix.read();
        match home(range) {
            Some(prefix) => shards.get(prefix).cloned().into_iter().collect(),
            None => {
                let covering = shards.iter().filter(|(prefix, _)| range.intersects(prefix));
                covering.map(|(_, shard)| shard.clone()).collect()
            }
        }
    }

    /// The shard that alone holds the range's keys; `None` when there may be several.
    pub(crate) fn home(&self, range: &KeyRange) -> Option<Arc<Shard>> {
        home(range).map(|prefix| self.find_or_make(prefix))
    }

    pub(crate) fn shard_of(&self, key: &[u8]) -> Arc<Shard> {
        self.find_or_make(shard_prefix(key))
    }

    pub(crate) fn latest(&self, key: &[u8]) -> Option<Arc<KeyValue>> {
        self.find(key).and_then(|shard| shard.latest(key))
    }

    /// Keeps the sums of what is current.
    pub(crate) fn count(&self, prev: Option<&KeyValue>, next: Option<&KeyValue>) {
        if let Some(kv) = next {
            self.live_keys.fetch_add(1, Ordering::Relaxed);
            self.live_bytes.fetch_add(shard::kv_bytes(kv), Ordering::Relaxed);
        }
        if let Some(kv) = prev {
            self.live_keys.fetch_sub(1, Ordering::Relaxed);
            self.live_bytes.fetch_sub(shard::kv_bytes(kv), Ordering::Relaxed);
        }
    }

    /// Applies events, makes `revision` visible, and wakes the watches.
    pub(crate) fn publish(&self, events: Vec<Event>, revision: Revision) {
        let mut touched: Vec<Arc<Shard>> = Vec::new();
        let mut events = events.into_iter().peekable();
        while let Some(first) = events.peek() {
            let prefix = Bytes::copy_from_slice(shard_prefix(&first.kv.key));
            let shard = self.find_or_make(&prefix);
            let run = std::iter::from_fn(|| events.next_if(|event| shard_prefix(&event.kv.key) == prefix));
            shard.apply(run);
            if !touched.iter().any(|known| Arc::ptr_eq(known, &shard)) {
                touched.push(shard);
            }
        }
        self.set_visible(revision);
        touched.iter().for_each(|shard| shard.wake());
        shard::wake(&self.watchers);
    }

    pub(crate) fn subscribe(&self, signal: &Arc<Signal>) {
        shard::subscribe(&self.watchers, signal);
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.all().iter().for_each(|shard| shard.wake());
        shard::wake(&self.watchers);
    }

    /// The revision that a read asks for, if it can be read.
    fn readable(&self, at: Option<Revision>) -> Result<Revision, StoreError> {
        let visible = self.visible();
        let at = at.unwrap_or(visible);
        if at > visible {
            return Err(StoreError::FutureRevision { revision: visible });
        }
        let compact_revision = self.compact_revision();
        if at < compact_revision { Err(StoreError::Compacted { compact_revision }) } else { Ok(at) }
    }

    pub(crate) fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, StoreError> {
        loop {
            let revision = self.readable(at)?;
            let kv = self.find(key).and_then(|shard| shard.at(key, revision));
            // Compaction announces itself before it forgets: if it has not, nothing was missing.
            if self.compact_revision() <= revision {
                return Ok(GetResponse { revision, kv });
            }
        }
    }

    pub(crate) fn range(&self, range: &KeyRange, options: RangeOptions) -> Result<RangeResponse, StoreError> {
        loop {
            let revision = self.readable(options.at)?;
            let response = self.range_at(range, revision, options);
            if self.compact_revision() <= revision {
                return Ok(response);
            }
        }
    }

    fn range_at(&self, range: &KeyRange, revision: Revision, options: RangeOptions) -> RangeResponse {
        let mut response = RangeResponse { revision, kvs: Vec::new(), more: false, remaining: 0 };
        if range.is_empty() {
            return response;
        }
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let shards = self.covering(range);
        for shard in &shards {
            let mut found = shard.range(range, revision, limit, options.count);
            response.kvs.append(&mut found.kvs);
            response.more |= found.more;
            response.remaining += found.remaining;
        }
        if shards.len() > 1 {
            response.kvs.sort_by(|a, b| a.key.cmp(&b.key));
            let surplus = response.kvs.len().saturating_sub(limit);
            response.kvs.truncate(limit);
            response.more |= surplus > 0;
            response.remaining += if options.count { surplus as u64 } else { 0 };
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_find_their_shard() {
        for (key, prefix) in [
            ("/registry/pods/default/a", "/registry/pods/"),
            ("/registry/nodes/a", "/registry/nodes/"),
            ("/registry/example.com/widgets/default/a", "/registry/example.com/widgets/"),
            ("/registry/example.com/a", "/registry/example.com/"),
            ("/registry/pods", ""),
            ("/x", ""),
            ("plain", ""),
            ("", ""),
        ] {
            assert_eq!(shard_prefix(key.as_bytes()), prefix.as_bytes(), "{key}");
        }
        for (range, expected) in [
            (KeyRange::prefix("/registry/pods/"), Some("/registry/pods/")),
            (KeyRange::prefix("/registry/pods/default/"), Some("/registry/pods/")),
            (KeyRange::single("/registry/pods/default/a"), Some("/registry/pods/")),
            (KeyRange::prefix("/registry/example.com/widgets/"), Some("/registry/example.com/widgets/")),
            (KeyRange::prefix("/registry/example.com/"), None),
            (KeyRange::prefix("/registry/"), None),
            (KeyRange::between("/registry/pods/a", "/registry/secrets/b"), None),
            (KeyRange::all(), None),
        ] {
            assert_eq!(home(&range), expected.map(str::as_bytes), "{range:?}");
        }
    }
}
