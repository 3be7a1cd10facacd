//! Messages and attributes of netlink (`linux/netlink.h`): a builder that keeps lengths right, and readers that never trust
//! a length.

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer with a verdict even on success.
pub const ACK: u16 = 0x4;
/// `NLM_F_ROOT | NLM_F_MATCH`: list everything.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

/// Flag of an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// Bits of an attribute's type that are not flags.
const TYPE_MASK: u16 = 0x3fff;
/// Size of `struct nlmsghdr`.
pub const HEADER_BYTES: usize = 16;

/// One or several messages being written.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    start: usize,
}

impl Builder {
    /// An empty buffer.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Starts a message; ends the one before it.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32) -> &mut Builder {
        self.finish();
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self
    }

    /// Adds flags to the message being written.
    pub fn add_flags(&mut self, flags: u16) {
        if let Some(bytes) = self.bytes.get_mut(self.start + 6..self.start + 8) {
            let have = u16::from_ne_bytes([bytes[0], bytes[1]]);
            bytes.copy_from_slice(&(have | flags).to_ne_bytes());
        }
    }

    /// Appends raw bytes, the fixed header of a message kind.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Builder {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Builder {
        let length = u16::try_from(value.len() + 4).expect("attributes are built from small values");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends a zero-terminated string.
    pub fn string(&mut self, kind: u16, value: &str) -> &mut Builder {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Appends a number in network byte order, as all of nftables wants it.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Builder {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a 64 bit number in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) -> &mut Builder {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a number in the machine's byte order, as routing messages want it.
    pub fn ne32(&mut self, kind: u16, value: u32) -> &mut Builder {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute that holds what `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Builder)) -> &mut Builder {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - at).expect("callers split lists before 64 KiB");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished messages.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.finish();
        self.bytes
    }

    fn finish(&mut self) {
        if self.bytes.len() >= self.start + HEADER_BYTES {
            let length = u32::try_from(self.bytes.len() - self.start).expect("a message is far below 4 GiB");
            self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// A received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages in a datagram; stops at the first malformed one.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        if length < HEADER_BYTES || length > bytes.len() {
            return None;
        }
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload: &bytes[HEADER_BYTES..length],
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes` as type (without flags) and value; stops at the first malformed one.
pub fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        if length < 4 || length > bytes.len() {
            return None;
        }
        let item = (u16_at(bytes, 2)? & TYPE_MASK, &bytes[4..length]);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(item)
    })
}

/// The value of the first attribute of type `kind`.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(have, _)| *have == kind).map(|(_, value)| value)
}

/// A machine-order `u16` at an offset.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A machine-order `u32` at an offset.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A string without its terminating zero.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_built_is_read() {
        let mut builder = Builder::new();
        builder.message(20, REQUEST, 7).raw(&[1, 2]).string(3, "eth0").nest(18, |inner| {
            inner.be32(1, 5);
        });
        builder.message(21, ACK, 8);
        let bytes = builder.into_bytes();
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!((all[0].kind, all[0].sequence, all[1].kind, all[1].payload), (20, 7, 21, &[][..]));
        let body = &all[0].payload[4..];
        assert_eq!(text(find(body, 3).unwrap()), "eth0");
        assert_eq!(find(find(body, 18).unwrap(), 1), Some(&[0, 0, 0, 5][..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                for (_, value) in attrs(message.payload) {
                    let _ = attrs(value).count();
                }
            }
            attrs(&bytes).for_each(|(_, value)| drop(text(value)));
        }
    }
}
