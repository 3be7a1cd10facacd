//! What a frame of the engine says, byte by byte (all numbers little endian).
//!
//! ```text
//! frame   := 1 revision i64, op*            a transaction
//!          | 2 lease i64, ttl ms i64, expires i64 (ms since the epoch)
//!          | 3 lease i64                    the lease has ended
//!          | 4 revision i64                 compacted
//!          | 5 revision i64, compacted i64, next lease i64    a checkpoint begins
//!          | 6 revision i64, op             a checkpoint's version of a key
//! op      := 1 create i64, version i64, lease i64, key, value
//!          | 2 key
//! key, value := length u32, bytes
//! ```

use crate::types::{KeyValue, LeaseId, Revision};
use bytes::Bytes;

/// A decoded frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    Txn { revision: Revision, changes: Vec<Change> },
    Lease { lease: LeaseId, ttl_ms: i64, expires_ms: i64 },
    LeaseEnd { lease: LeaseId },
    Compact { revision: Revision },
    Base { revision: Revision, compact_revision: Revision, next_lease: LeaseId },
    Version { revision: Revision, change: Change },
}

/// One key's change, with the revision of the record around it.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Put(KeyValue),
    Delete(Bytes),
}

fn number(buffer: &mut Vec<u8>, value: i64) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

fn bytes(buffer: &mut Vec<u8>, value: &[u8]) {
    let length = u32::try_from(value.len()).expect("keys and values are bounded by the request limit");
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(value);
}

pub(crate) fn begin_txn(buffer: &mut Vec<u8>, revision: Revision) {
    buffer.push(1);
    number(buffer, revision);
}

/// `value` is what is written of the value.
pub(crate) fn put(buffer: &mut Vec<u8>, kv: &KeyValue, value: &[u8]) {
    buffer.push(1);
    number(buffer, kv.create_revision);
    number(buffer, kv.version);
    number(buffer, kv.lease);
    bytes(buffer, &kv.key);
    bytes(buffer, value);
}

pub(crate) fn delete(buffer: &mut Vec<u8>, key: &[u8]) {
    buffer.push(2);
    bytes(buffer, key);
}

pub(crate) fn lease(buffer: &mut Vec<u8>, lease: LeaseId, ttl_ms: i64, expires_ms: i64) {
    buffer.push(2);
    [lease, ttl_ms, expires_ms].into_iter().for_each(|value| number(buffer, value));
}

pub(crate) fn lease_end(buffer: &mut Vec<u8>, lease: LeaseId) {
    buffer.push(3);
    number(buffer, lease);
}

pub(crate) fn compact(buffer: &mut Vec<u8>, revision: Revision) {
    buffer.push(4);
    number(buffer, revision);
}

pub(crate) fn base(
    buffer: &mut Vec<u8>,
    revision: Revision,
    compact_revision: Revision,
    next_lease: LeaseId,
) {
    buffer.push(5);
    [revision, compact_revision, next_lease].into_iter().for_each(|value| number(buffer, value));
}

pub(crate) fn begin_version(buffer: &mut Vec<u8>, revision: Revision) {
    buffer.push(6);
    number(buffer, revision);
}

/// Decodes a frame; the error says what is wrong with it.
pub(crate) fn decode(frame: &[u8]) -> Result<Record, String> {
    let mut reader = Reader { rest: frame };
    let record = match reader.byte()? {
        1 => {
            let revision = reader.number()?;
            let mut changes = Vec::with_capacity(1);
            while !reader.rest.is_empty() {
                changes.push(reader.change(revision)?);
            }
            Record::Txn { revision, changes }
        }
        2 => {
            Record::Lease { lease: reader.number()?, ttl_ms: reader.number()?, expires_ms: reader.number()? }
        }
        3 => Record::LeaseEnd { lease: reader.number()? },
        4 => Record::Compact { revision: reader.number()? },
        5 => Record::Base {
            revision: reader.number()?,
            compact_revision: reader.number()?,
            next_lease: reader.number()?,
        },
        6 => {
            let revision = reader.number()?;
            Record::Version { revision, change: reader.change(revision)? }
        }
        other => return Err(format!("unknown record {other}: written by a newer version?")),
    };
    if reader.rest.is_empty() { Ok(record) } else { Err("a record is longer than it should be".to_owned()) }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.rest.split_first().ok_or("a record is cut short")?;
        self.rest = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<i64, String> {
        let (first, rest) = self.rest.split_first_chunk::<8>().ok_or("a record is cut short")?;
        self.rest = rest;
        Ok(i64::from_le_bytes(*first))
    }

    fn bytes(&mut self) -> Result<Bytes, String> {
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or("a record is cut short")?;
        let split = rest.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (value, rest) = split.ok_or("a record is cut short")?;
        self.rest = rest;
        // Copied, so that a small value does not keep the whole block that it was read with.
        Ok(Bytes::copy_from_slice(value))
    }

    fn change(&mut self, mod_revision: Revision) -> Result<Change, String> {
        match self.byte()? {
            1 => Ok(Change::Put(KeyValue {
                create_revision: self.number()?,
                version: self.number()?,
                lease: self.number()?,
                key: self.bytes()?,
                value: self.bytes()?,
                mod_revision,
                payload: None,
            })),
            2 => Ok(Change::Delete(self.bytes()?)),
            other => Err(format!("unknown operation {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(record: &Record) -> Vec<u8> {
        let mut buffer = Vec::new();
        let change = |buffer: &mut Vec<u8>, change: &Change| match change {
            Change::Put(kv) => put(buffer, kv, &kv.value),
            Change::Delete(key) => delete(buffer, key),
        };
        match record {
            Record::Txn { revision, changes } => {
                begin_txn(&mut buffer, *revision);
                changes.iter().for_each(|one| change(&mut buffer, one));
            }
            Record::Lease { lease: id, ttl_ms, expires_ms } => lease(&mut buffer, *id, *ttl_ms, *expires_ms),
            Record::LeaseEnd { lease } => lease_end(&mut buffer, *lease),
            Record::Compact { revision } => compact(&mut buffer, *revision),
            Record::Base { revision, compact_revision, next_lease } => {
                base(&mut buffer, *revision, *compact_revision, *next_lease);
            }
            Record::Version { revision, change: one } => {
                begin_version(&mut buffer, *revision);
                change(&mut buffer, one);
            }
        }
        buffer
    }

    #[test]
    fn records_come_back_and_cut_ones_are_refused() {
        let kv = KeyValue {
            key: Bytes::from_static(b"/registry/pods/a"),
            value: Bytes::from_static(b"value"),
            create_revision: 3,
            mod_revision: 7,
            version: 2,
            lease: 4,
            payload: None,
        };
        let delete = || Change::Delete(Bytes::from_static(b"k"));
        let records = [
            Record::Txn { revision: 7, changes: vec![Change::Put(kv.clone()), delete()] },
            Record::Lease { lease: 1, ttl_ms: 2, expires_ms: -3 },
            Record::LeaseEnd { lease: 1 },
            Record::Compact { revision: 9 },
            Record::Base { revision: 9, compact_revision: 5, next_lease: 2 },
            Record::Version { revision: 7, change: Change::Put(kv) },
        ];
        for record in records {
            let frame = encode(&record);
            assert_eq!(decode(&frame).unwrap(), record);
            if !matches!(record, Record::Txn { .. }) {
                (0..frame.len())
                    .for_each(|cut| assert!(decode(&frame[..cut]).is_err(), "{record:?} cut at {cut}"));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&frame);
        }
    }
}
