//! Durable engines under the MVCC layer.
