//! Layers come plain, gzipped or as zstd; the first bytes tell which, whatever the media type claims.

use std::io::{self, BufRead, BufReader, Read};

/// Wraps a reader so that it yields the plain tar.
pub(crate) fn decompress<'a>(reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(128 << 10, reader);
    let head = reader.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        // Several members in a row are one stream (pigz and estargz write them).
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable_zstd(head) {
        Ok(Box::new(zstd::Decoder::with_buffer(reader)?))
    } else {
        Ok(Box::new(reader))
    }
}

/// zstd:chunked archives begin with a skippable frame.
fn is_skippable_zstd(head: &[u8]) -> bool {
    head.len() >= 4 && (0x50..=0x5f).contains(&head[0]) && head[1..4] == [0x2a, 0x4d, 0x18]
}
