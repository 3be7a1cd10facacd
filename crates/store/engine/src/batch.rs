//! A batch of frames in the very bytes that reach the disk, so that nothing is copied on the way.
//!
//! ```text
//! block := length u32 | checksum u32 | sequence u64 | frame*      (little endian; length counts the frames' bytes)
//! frame := length u32 | bytes
//! ```
//!
//! The checksum (CRC-32C) covers the sequence, the file that the block belongs to, and the frames, so that an old
//! block at the right place is not taken for a new one.

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = 16;

/// A buffer that one large batch has grown is given back when it is above this size.
const KEEP_BYTES: usize = 1 << 20;

/// Frames that become durable together.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    frames: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch { bytes: vec![0; HEADER_BYTES], frames: 0 }
    }

    /// Adds one frame: `write` appends its bytes to the buffer.
    pub fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let length =
            u32::try_from(self.bytes.len() - start - 4).expect("a frame is bounded by the request limits");
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.frames += 1;
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// True when there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes that the batch takes on disk.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties the batch for its next use.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.frames = 0;
    }

    /// Completes the header and gives the block as it is written.
    pub(crate) fn seal(&mut self, file: u64, sequence: u64) -> &[u8] {
        let (header, frames) = self.bytes.split_at_mut(HEADER_BYTES);
        let length = u32::try_from(frames.len()).expect("a batch is bounded by the MVCC layer");
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..8].copy_from_slice(&checksum(file, sequence, frames).to_le_bytes());
        header[8..].copy_from_slice(&sequence.to_le_bytes());
        &self.bytes
    }

    /// The frames' bytes, without the block's header.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

/// The checksum of a block in file number `file`.
pub(crate) fn checksum(file: u64, sequence: u64, frames: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&file.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &sequence.to_le_bytes()), frames)
}

/// A block's header as found on disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) length: u32,
    pub(crate) checksum: u32,
    pub(crate) sequence: u64,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Header {
        let [a, b, c, d, e, f, g, h, i @ ..] = *bytes;
        Header {
            length: u32::from_le_bytes([a, b, c, d]),
            checksum: u32::from_le_bytes([e, f, g, h]),
            sequence: u64::from_le_bytes(i),
        }
    }
}

/// Splits a block's body into frames. `None` instead of a frame when the lengths do not add up.
pub(crate) fn frames(mut body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let split = body
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        match split {
            Some((frame, rest)) => {
                body = rest;
                Some(Some(frame))
            }
            None => {
                body = &[];
                Some(None)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went_in() {
        let mut batch = Batch::new();
        batch.frame(|buffer| buffer.extend_from_slice(b"one"));
        batch.frame(|_| ());
        let block = batch.seal(3, 9).to_vec();
        let (header, body) = block.split_first_chunk::<HEADER_BYTES>().unwrap();
        let header = Header::parse(header);
        assert_eq!((header.length as usize, header.sequence), (body.len(), 9));
        assert_eq!(header.checksum, checksum(3, 9, body));
        assert_ne!(header.checksum, checksum(4, 9, body));
        assert_eq!(frames(body).collect::<Vec<_>>(), [Some(&b"one"[..]), Some(b"")]);
        assert_eq!(frames(&body[1..]).last().unwrap(), None);
        batch.clear();
        assert!(batch.is_empty());
    }
}
