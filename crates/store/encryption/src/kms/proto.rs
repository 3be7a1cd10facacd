//! The few protobuf messages of KMS v2 and of the envelope: fields of bytes, strings, numbers and maps of bytes.

use std::collections::BTreeMap;

/// Longest message that is taken, in bytes: annotations may have 32 kB.
pub(super) const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// Writes a message.
#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field of bytes or text; what is empty is left out.
    pub(super) fn bytes(&mut self, field: u64, value: &[u8]) {
        if !value.is_empty() {
            self.some_bytes(field, value);
        }
    }

    fn some_bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A number; zero is left out.
    pub(super) fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    /// A map of bytes.
    pub(super) fn map(&mut self, field: u64, map: &BTreeMap<String, Vec<u8>>) {
        for (key, value) in map {
            let mut entry = Writer::default();
            entry.bytes(1, key.as_bytes());
            entry.bytes(2, value);
            self.some_bytes(field, &entry.0);
        }
    }
}

/// A field as found.
pub(super) enum Field<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// The fields of a message by number, in order; `None` when it is no message.
pub(super) fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Field::Bytes(bytes)
            }
            // Fields of other widths are newer than us.
            1 => skip(&mut rest, 8)?,
            5 => skip(&mut rest, 4)?,
            _ => return None,
        };
        found.push((tag >> 3, field));
    }
    Some(found)
}

fn skip<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<Field<'a>> {
    let (_, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(Field::Number(0))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// One entry of a map of bytes.
pub(super) fn entry(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let (mut key, mut value) = (String::new(), Vec::new());
    for (number, field) in fields(bytes)? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = String::from_utf8(bytes.to_vec()).ok()?,
            (2, Field::Bytes(bytes)) => value = bytes.to_vec(),
            _ => {}
        }
    }
    Some((key, value))
}
