//! [`ProtoReader`]: reads messages from a slice without trusting a single length in it.

use crate::{DecodeError, Struct};

/// Encoding of a field on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Variable-length integer.
    Varint = 0,
    /// Eight bytes.
    Fixed64 = 1,
    /// Length and bytes.
    Bytes = 2,
    /// Start of a group, which only unknown fields can be.
    Group = 3,
    /// End of a group.
    EndGroup = 4,
    /// Four bytes.
    Fixed32 = 5,
}

/// Messages nest no deeper than this.
const DEPTH_MAX: u32 = 200;

/// Reads a message.
pub struct ProtoReader<'a> {
    buf: &'a [u8],
    pos: usize,
    /// End of the current message.
    end: usize,
    depth: u32,
}

fn eof() -> DecodeError {
    DecodeError::text("unexpected EOF")
}

impl<'a> ProtoReader<'a> {
    /// A reader over a whole message.
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0, end: buf.len(), depth: 0 }
    }

    /// Reads the whole input into a struct.
    pub fn read_into<T: Struct>(mut self, value: &mut T) -> Result<(), DecodeError> {
        self.fields(|number, wire, r| value.read_message_field(number, wire, r), T::INFO.name)
    }

    /// A variable-length integer.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut n = 0u64;
        let mut shift = 0;
        loop {
            if shift >= 64 {
                return Err(DecodeError::text("proto: integer overflow"));
            }
            if self.pos >= self.end {
                return Err(eof());
            }
            let b = self.buf[self.pos];
            self.pos += 1;
            n |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(n);
            }
            shift += 7;
        }
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let left = (self.end - self.pos) as u64;
        if len > left {
            let text = if len > i64::MAX as u64 {
                "proto: negative length found during unmarshaling"
            } else {
                "unexpected EOF"
            };
            return Err(DecodeError::text(text));
        }
        let start = self.pos;
        self.pos += len as usize;
        Ok(&self.buf[start..self.pos])
    }

    #[inline]
    fn expect(&self, wire: Wire, wanted: Wire) -> Result<(), DecodeError> {
        if wire == wanted {
            return Ok(());
        }
        Err(DecodeError::text(format!("proto: wrong wireType = {}", wire as u8)))
    }

    /// The value of an integer field.
    #[inline]
    pub fn integer(&mut self, wire: Wire) -> Result<u64, DecodeError> {
        self.expect(wire, Wire::Varint)?;
        self.varint()
    }

    /// The value of an eight-byte field.
    pub fn fixed64(&mut self, wire: Wire) -> Result<u64, DecodeError> {
        self.expect(wire, Wire::Fixed64)?;
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// The value of a bytes field.
    #[inline]
    pub fn bytes(&mut self, wire: Wire) -> Result<&'a [u8], DecodeError> {
        self.expect(wire, Wire::Bytes)?;
        let len = self.varint()?;
        self.take(len)
    }

    /// Consumes an empty message if one is next.
    pub fn take_empty(&mut self, wire: Wire) -> bool {
        let empty = wire == Wire::Bytes && self.pos < self.end && self.buf[self.pos] == 0;
        self.pos += usize::from(empty);
        empty
    }

    /// Reads a nested message into a struct, merging with what it holds.
    pub fn message<T: Struct>(&mut self, wire: Wire, value: &mut T) -> Result<(), DecodeError> {
        self.nested(wire, T::INFO.name, |number, wire, r| value.read_message_field(number, wire, r))
    }

    /// Reads an embedded message whose fields belong to the outer struct.
    pub fn embedded(
        &mut self,
        wire: Wire,
        each: impl FnMut(u32, Wire, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.nested(wire, "message", each)
    }

    /// Reads a nested message field by field.
    pub fn nested(
        &mut self,
        wire: Wire,
        name: &str,
        each: impl FnMut(u32, Wire, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect(wire, Wire::Bytes)?;
        let len = self.varint()?;
        let start = self.pos;
        self.take(len)?;
        let outer = std::mem::replace(&mut self.end, self.pos);
        self.pos = start;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(DecodeError::text("proto: exceeded max depth"));
        }
        self.fields(each, name)?;
        self.depth -= 1;
        self.end = outer;
        Ok(())
    }

    /// Reads the whole input field by field.
    pub fn top(
        &mut self,
        name: &str,
        each: impl FnMut(u32, Wire, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.fields(each, name)
    }

    fn fields(
        &mut self,
        mut each: impl FnMut(u32, Wire, &mut Self) -> Result<(), DecodeError>,
        name: &str,
    ) -> Result<(), DecodeError> {
        while self.pos < self.end {
            let tag = self.varint()?;
            let number = (tag >> 3) as u32;
            let wire = match tag & 7 {
                0 => Wire::Varint,
                1 => Wire::Fixed64,
                2 => Wire::Bytes,
                3 => Wire::Group,
                5 => Wire::Fixed32,
                4 => {
                    return Err(DecodeError::text(format!(
                        "proto: {name}: wiretype end group for non-group"
                    )));
                }
                n => return Err(DecodeError::text(format!("proto: illegal wireType {n}"))),
            };
            if number == 0 || tag >> 3 > 0x1fff_ffff {
                return Err(DecodeError::text(format!(
                    "proto: {name}: illegal tag {number} (wire type {tag})"
                )));
            }
            each(number, wire, self)?;
        }
        Ok(())
    }

    /// Skips an unknown field.
    pub fn skip(&mut self, _number: u32, wire: Wire) -> Result<(), DecodeError> {
        match wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.take(8).map(drop),
            Wire::Fixed32 => self.take(4).map(drop),
            Wire::Bytes => {
                let len = self.varint()?;
                self.take(len).map(drop)
            }
            Wire::EndGroup => Err(DecodeError::text("proto: unexpected end of group")),
            Wire::Group => {
                // Groups may nest; a counter suffices because their numbers do not matter here.
                let mut depth = 1u32;
                while depth > 0 {
                    match self.varint()? & 7 {
                        0 => drop(self.varint()?),
                        1 => drop(self.take(8)?),
                        2 => {
                            let len = self.varint()?;
                            self.take(len)?;
                        }
                        3 => depth += 1,
                        4 => depth -= 1,
                        5 => drop(self.take(4)?),
                        n => return Err(DecodeError::text(format!("proto: illegal wireType {n}"))),
                    }
                }
                Ok(())
            }
        }
    }
}
