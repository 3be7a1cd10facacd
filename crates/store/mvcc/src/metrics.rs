//! What the store measures of itself, under etcd's names where etcd has one.

use std::sync::LazyLock;
use telemetry::{Gauge, Histogram};

/// Time to make a batch durable.
pub(crate) static SYNC_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.000_125, 2.0, 16);
    let help = "Seconds to write a batch of transactions to the log and sync it.";
    telemetry::histogram("etcd_disk_wal_fsync_duration_seconds", help, &[], &limits).with(&[])
});

/// Transactions that shared one sync.
pub(crate) static BATCH_TRANSACTIONS: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(1.0, 2.0, 11);
    let help = "Transactions that became durable with one sync.";
    telemetry::histogram("ferrokube_store_batch_transactions", help, &[], &limits).with(&[])
});

/// Bytes on disk.
static DISK_BYTES: LazyLock<Gauge> = LazyLock::new(|| {
    telemetry::gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the store on disk.", &[]).with(&[])
});

/// The same under the name that a client of the store has for it.
static STORAGE_BYTES: LazyLock<Gauge> = LazyLock::new(|| {
    let help = "Bytes of the store on disk, by the number of the store.";
    telemetry::gauge("apiserver_storage_size_bytes", help, &["storage_cluster_id"]).with(&["etcd-0"])
});

/// The store takes so many bytes on disk now.
pub(crate) fn disk_bytes(bytes: u64) {
    DISK_BYTES.set(bytes as f64);
    STORAGE_BYTES.set(bytes as f64);
}

/// Keys of leases whose successors were granted.
pub(crate) static LEASE_OBJECTS: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = [10.0, 50.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0];
    let help = "Objects that shared one lease, counted when the next one takes its place.";
    telemetry::histogram("etcd_lease_object_counts", help, &[], &limits).with(&[])
});

/// The current revision.
pub(crate) static REVISION: LazyLock<Gauge> = LazyLock::new(|| {
    telemetry::gauge("etcd_debugging_mvcc_current_revision", "The current revision.", &[]).with(&[])
});

/// The compacted revision.
pub(crate) static COMPACT_REVISION: LazyLock<Gauge> = LazyLock::new(|| {
    telemetry::gauge("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction.", &[])
        .with(&[])
});
