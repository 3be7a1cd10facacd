//! Leases: keys that die together when their time is up.

use crate::error::StoreError;
use crate::metrics;
use crate::store::Store;
use crate::types::LeaseId;
use bytes::Bytes;
use env::Env;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// All leases of a store. Owned by the commit thread.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) next: LeaseId,
    by_id: HashMap<LeaseId, Lease>,
    by_expiry: BTreeSet<(i64, LeaseId)>,
}

#[derive(Debug)]
struct Lease {
    ttl_ms: i64,
    expires_ms: i64,
    keys: HashSet<Bytes>,
}

/// A change that takes effect once it is durable.
#[derive(Debug)]
pub(crate) enum LeaseChange {
    Grant { lease: LeaseId, ttl_ms: i64, expires_ms: i64 },
    Attach { lease: LeaseId, key: Bytes },
    Detach { lease: LeaseId, key: Bytes },
    End { lease: LeaseId },
}

impl Leases {
    pub(crate) fn new() -> Leases {
        Leases { next: 1, by_id: HashMap::new(), by_expiry: BTreeSet::new() }
    }

    pub(crate) fn apply(&mut self, change: LeaseChange) {
        match change {
            LeaseChange::Grant { lease, ttl_ms, expires_ms } => {
                self.next = self.next.max(lease + 1);
                self.by_id.insert(lease, Lease { ttl_ms, expires_ms, keys: HashSet::new() });
                self.by_expiry.insert((expires_ms, lease));
            }
            LeaseChange::Attach { lease, key } => {
                if let Some(lease) = self.by_id.get_mut(&lease) {
                    lease.keys.insert(key);
                }
            }
            LeaseChange::Detach { lease, key } => {
                if let Some(lease) = self.by_id.get_mut(&lease) {
                    lease.keys.remove(&key);
                }
            }
            LeaseChange::End { lease } => {
                if let Some(ended) = self.by_id.remove(&lease) {
                    self.by_expiry.remove(&(ended.expires_ms, lease));
                }
            }
        }
    }

    pub(crate) fn contains(&self, lease: LeaseId) -> bool {
        self.by_id.contains_key(&lease)
    }

    /// The keys that die with a lease, in order; `None` when there is no such lease.
    pub(crate) fn keys(&self, lease: LeaseId) -> Option<Vec<Bytes>> {
        let mut keys: Vec<Bytes> = self.by_id.get(&lease)?.keys.iter().cloned().collect();
        keys.sort();
        Some(keys)
    }

    /// The leases whose time is up, the earliest first.
    pub(crate) fn due(&self, now_ms: i64) -> Vec<LeaseId> {
        self.by_expiry.range(..=(now_ms, LeaseId::MAX)).map(|(_, lease)| *lease).collect()
    }

    /// When the next lease ends, in milliseconds since the epoch; `i64::MAX` when there is none.
    pub(crate) fn next_expiry_ms(&self) -> i64 {
        self.by_expiry.first().map_or(i64::MAX, |(expires_ms, _)| *expires_ms)
    }

    /// Every lease as (lease, time to live, expiry), for a checkpoint.
    pub(crate) fn all(&self) -> impl Iterator<Item = (LeaseId, i64, i64)> + '_ {
        self.by_id.iter().map(|(id, lease)| (*id, lease.ttl_ms, lease.expires_ms))
    }
}

/// How long one lease is handed out again, as upstream's `--lease-reuse-duration-seconds` is by default.
const REUSE: Duration = Duration::from_secs(60);

/// Keys that share a lease at most: so many are deleted in one transaction.
const KEYS_PER_LEASE: usize = 1000;

/// Hands out one lease to many keys of the same time to live, since a lease for each event would cost more than
/// the event. A key lives for its time to live and at most a minute longer.
#[derive(Debug)]
pub struct LeasePool {
    env: Env,
    by_ttl: Mutex<HashMap<Duration, Current>>,
}

#[derive(Debug)]
struct Current {
    lease: LeaseId,
    until: Duration,
    keys: usize,
}

impl LeasePool {
    /// A pool without leases.
    pub fn new(env: Env) -> LeasePool {
        std::sync::LazyLock::force(&metrics::LEASE_OBJECTS);
        LeasePool { env, by_ttl: Mutex::default() }
    }

    /// A lease for one key that is to live for `ttl`.
    ///
    /// # Errors
    /// As [`Store::grant_lease`], when a new one is needed.
    pub async fn lease(&self, store: &dyn Store, ttl: Duration) -> Result<LeaseId, StoreError> {
        let now = self.env.clock.monotonic();
        if let Some(current) = self.by_ttl.lock().get_mut(&ttl)
            && now < current.until
            && current.keys < KEYS_PER_LEASE
        {
            current.keys += 1;
            return Ok(current.lease);
        }
        let lease = store.grant_lease(ttl + REUSE).await?;
        let before = self.by_ttl.lock().insert(ttl, Current { lease, until: now + REUSE, keys: 1 });
        if let Some(before) = before {
            metrics::LEASE_OBJECTS.observe(before.keys as f64);
        }
        Ok(lease)
    }

    /// Forgets a lease that the store says is not there, so that the next key gets another.
    pub fn forget(&self, lease: LeaseId) {
        self.by_ttl.lock().retain(|_, current| current.lease != lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_end_in_the_order_of_their_expiry() {
        let mut leases = Leases::new();
        for (lease, expires_ms) in [(1, 300), (2, 100), (3, 200)] {
            leases.apply(LeaseChange::Grant { lease, ttl_ms: 100, expires_ms });
        }
        leases.apply(LeaseChange::Attach { lease: 2, key: Bytes::from_static(b"b") });
        leases.apply(LeaseChange::Attach { lease: 2, key: Bytes::from_static(b"a") });
        leases.apply(LeaseChange::Attach { lease: 9, key: Bytes::from_static(b"a") });
        assert_eq!(leases.due(250), [2, 3]);
        assert_eq!(leases.keys(2).unwrap(), ["a", "b"]);
        leases.apply(LeaseChange::Detach { lease: 2, key: Bytes::from_static(b"b") });
        assert_eq!(leases.keys(2).unwrap(), ["a"]);
        leases.apply(LeaseChange::End { lease: 2 });
        assert_eq!((leases.keys(2), leases.next_expiry_ms(), leases.next), (None, 200, 4));
    }
}
