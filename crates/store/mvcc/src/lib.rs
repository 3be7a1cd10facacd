//! Revisions, ranges, compaction and leases over a storage engine.
