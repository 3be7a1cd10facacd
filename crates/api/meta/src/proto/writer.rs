//! [`ProtoWriter`]: fills a buffer from its end, so that the length of a message is known when it is written.

use super::Wire;
use crate::codec::Value;

/// Writes a message back to front; callers write fields from the highest number to the lowest.
#[derive(Debug, Default)]
pub struct ProtoWriter {
    buf: Vec<u8>,
    start: usize,
}

impl ProtoWriter {
    /// A copy of the message.
    pub fn finish(self) -> Vec<u8> {
        self.written().to_vec()
    }

    /// The message so far.
    pub fn written(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buf.len() - self.start
    }

    /// Nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cold]
    fn grow(&mut self, need: usize) {
        let used = self.len();
        let size = (self.buf.len() * 2).max(used + need).max(256);
        let mut bigger = vec![0; size];
        bigger[size - used..].copy_from_slice(self.written());
        self.start = size - used;
        self.buf = bigger;
    }

    /// Puts bytes before everything written so far.
    #[inline]
    pub fn prepend(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            self.grow(bytes.len());
        }
        self.start -= bytes.len();
        self.buf[self.start..self.start + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts a variable-length integer before everything.
    #[inline]
    pub fn varint(&mut self, mut n: u64) {
        let mut bytes = [0u8; 10];
        let mut len = 0;
        loop {
            let low = (n & 0x7f) as u8;
            n >>= 7;
            bytes[len] = if n == 0 { low } else { low | 0x80 };
            len += 1;
            if n == 0 {
                break;
            }
        }
        self.prepend(&bytes[..len]);
    }

    #[inline]
    fn tag(&mut self, number: u32, wire: Wire) {
        self.varint(u64::from(number) << 3 | wire as u64);
    }

    /// A field with an integer.
    #[inline]
    pub fn integer(&mut self, number: u32, n: u64) {
        self.varint(n);
        self.tag(number, Wire::Varint);
    }

    /// A field with eight bytes.
    pub fn fixed64(&mut self, number: u32, n: u64) {
        self.prepend(&n.to_le_bytes());
        self.tag(number, Wire::Fixed64);
    }

    /// A field with bytes.
    #[inline]
    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.prepend(bytes);
        self.before_bytes(number, bytes.len());
    }

    /// What stands before that many bytes of a field.
    #[inline]
    pub fn before_bytes(&mut self, number: u32, length: usize) {
        self.varint(length as u64);
        self.tag(number, Wire::Bytes);
    }

    /// Begins a nested message: remember the answer, write the fields, then call [`ProtoWriter::end`].
    #[inline]
    pub fn begin(&self) -> usize {
        self.len()
    }

    /// Ends a nested message.
    #[inline]
    pub fn end(&mut self, number: u32, begin: usize) {
        self.varint((self.len() - begin) as u64);
        self.tag(number, Wire::Bytes);
    }

    /// A field.
    #[inline]
    pub fn put<V: Value>(&mut self, number: u32, value: &V) {
        value.put_proto(number, self);
    }

    /// A field whose message is written even when it is empty.
    pub fn always<V: Value>(&mut self, number: u32, value: &V) {
        value.put_always(number, self);
    }

    /// A named list, which is a message of its own and absent when nil.
    pub fn wrapped<V: Value>(&mut self, number: u32, value: &V) {
        if !value.is_empty() {
            value.put_element(number, self);
        }
    }
}
