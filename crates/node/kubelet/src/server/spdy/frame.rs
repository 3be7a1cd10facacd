//! SPDY/3.1 frames: the few kinds that Kubernetes' streams use. Pure.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Largest frame that is taken, in bytes.
pub const MAX_FRAME: usize = 16 << 20;
/// Largest block of headers, inflated.
const MAX_HEADERS: usize = 64 * 1024;
/// The sender sends no more on this stream.
pub const FIN: u8 = 1;

/// Words of the dictionary that both sides begin their header compression with (SPDY/3 draft, section 2.6.10.1).
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges \
    age allow authorization cache-control connection content-base content-encoding content-language content-length \
    content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 \
    Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
    Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, \
    GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut out = vec![];
    for word in WORDS.split_whitespace().map(|w| w.replace('_', " ")) {
        out.extend_from_slice(&(word.len() as u32).to_be_bytes());
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(TAIL.as_bytes());
    out
}

/// Headers of a stream, names in lower case.
pub type Headers = Vec<(String, String)>;

/// A frame as it arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A stream begins.
    Open {
        /// Its number.
        stream: u32,
        /// Its headers.
        headers: Headers,
        /// The sender sends nothing on it.
        fin: bool,
    },
    /// Bytes of a stream.
    Data {
        /// Which.
        stream: u32,
        /// The bytes.
        data: Vec<u8>,
        /// The last ones.
        fin: bool,
    },
    /// A stream is broken off.
    Reset {
        /// Which.
        stream: u32,
    },
    /// To be sent back.
    Ping(u32),
    /// The sender wants no more streams.
    GoAway,
    /// Nothing that matters here.
    Other,
}

/// Length of the frame whose first eight bytes these are.
pub fn length(head: &[u8; 8]) -> usize {
    usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7])
}

/// Header compression of one direction of one connection.
pub struct Inflater(Decompress);

/// Header compression of the other direction.
pub struct Deflater(Compress);

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater(Decompress::new(true))
    }
}

impl Default for Deflater {
    fn default() -> Deflater {
        let mut inner = Compress::new(Compression::default(), true);
        // A fresh stream takes any dictionary.
        let _ = inner.set_dictionary(&dictionary());
        Deflater(inner)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl Inflater {
    fn headers(&mut self, block: &[u8]) -> Option<Headers> {
        let plain = self.inflate(block)?;
        let mut at = 4;
        let mut text = || {
            let len = number(&plain, at)? as usize;
            let bytes = plain.get(at + 4..at + 4 + len)?;
            at += 4 + len;
            String::from_utf8(bytes.to_vec()).ok()
        };
        let count = number(&plain, 0)?;
        (0..count.min(1000)).map(|_| Some((text()?.to_ascii_lowercase(), text()?))).collect()
    }

    fn inflate(&mut self, block: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let (in_before, out_before) = (self.0.total_in(), out.len());
            let result = self.0.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            rest = &rest[(self.0.total_in() - in_before) as usize..];
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).ok()?;
                    continue;
                }
                Err(_) => return None,
                Ok(_) => {}
            }
            if out.len() > MAX_HEADERS {
                return None;
            }
            if out.len() == out.capacity() {
                out.reserve(1024);
                continue;
            }
            if rest.is_empty() || out.len() == out_before {
                return Some(out);
            }
        }
    }

    /// Reads a frame from its head and body; `None` if it makes no sense.
    pub fn read(&mut self, head: &[u8; 8], body: &[u8]) -> Option<Frame> {
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let fin = head[4] & FIN != 0;
        if first & 0x8000_0000 == 0 {
            return Some(Frame::Data { stream: first, data: body.to_vec(), fin });
        }
        let stream = || Some(number(body, 0)? & 0x7fff_ffff);
        Some(match first & 0xffff {
            1 => Frame::Open { stream: stream()?, headers: self.headers(body.get(10..)?)?, fin },
            3 => Frame::Reset { stream: stream()? },
            6 => Frame::Ping(number(body, 0)?),
            7 => Frame::GoAway,
            8 => {
                // Later headers carry nothing of interest, but the compression must stay in step.
                self.headers(body.get(4..)?)?;
                Frame::Other
            }
            _ => Frame::Other,
        })
    }
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, 3];
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&((body.len() as u32) | u32::from(flags) << 24).to_be_bytes());
    out.extend_from_slice(body);
    out
}

impl Deflater {
    fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 128);
        let mut rest = &plain[..];
        loop {
            let before = self.0.total_in();
            // Fails only on misuse of its state, which a block at a time cannot cause.
            if self.0.compress_vec(rest, &mut out, FlushCompress::Sync).is_err() {
                return out;
            }
            rest = &rest[(self.0.total_in() - before) as usize..];
            if out.len() < out.capacity() {
                return out;
            }
            out.reserve(256);
        }
    }

    /// SYN_STREAM, as a client sends it.
    #[cfg(test)]
    pub fn open(&mut self, stream: u32, headers: &Headers, fin: bool) -> Vec<u8> {
        let mut body = stream.to_be_bytes().to_vec();
        body.extend_from_slice(&[0; 6]);
        body.extend(self.block(headers));
        control(1, u8::from(fin), &body)
    }

    /// SYN_REPLY without headers.
    pub fn reply(&mut self, stream: u32) -> Vec<u8> {
        let mut body = stream.to_be_bytes().to_vec();
        body.extend(self.block(&vec![]));
        control(2, 0, &body)
    }
}

/// A data frame.
pub fn data(stream: u32, data: &[u8], fin: bool) -> Vec<u8> {
    let mut out = (stream & 0x7fff_ffff).to_be_bytes().to_vec();
    out.extend_from_slice(&((data.len() as u32 & 0x00ff_ffff) | u32::from(fin) << 24).to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// The answer to a ping.
pub fn ping(id: u32) -> Vec<u8> {
    control(6, 0, &id.to_be_bytes())
}

/// RST_STREAM: cancelled.
pub fn reset(stream: u32) -> Vec<u8> {
    let mut body = stream.to_be_bytes().to_vec();
    body.extend_from_slice(&5u32.to_be_bytes());
    control(3, 0, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inflater: &mut Inflater, bytes: &[u8]) -> Option<Frame> {
        let head: [u8; 8] = bytes[..8].try_into().unwrap();
        assert_eq!(length(&head), bytes.len() - 8);
        inflater.read(&head, &bytes[8..])
    }

    #[test]
    fn the_dictionary_is_the_one_of_spdy_3() {
        // Every SPDY/3 connection's first header block begins with these bytes: the zlib head and the dictionary's checksum.
        let block = Deflater::default().block(&vec![]);
        assert_eq!(&block[..6], [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
        assert_eq!(dictionary().len(), 1423);
    }

    #[test]
    fn frames_round_trip() {
        let (mut out, mut back) = (Deflater::default(), Inflater::default());
        for i in 0..3 {
            let headers: Headers =
                vec![("streamtype".into(), "data".into()), ("port".into(), format!("80{i}"))];
            let frame = read(&mut back, &out.open(2 * i + 1, &headers, false)).unwrap();
            assert_eq!(frame, Frame::Open { stream: 2 * i + 1, headers, fin: false });
        }
        let big: Headers = vec![("x".into(), "y".repeat(20_000))];
        assert!(matches!(read(&mut back, &out.open(9, &big, true)).unwrap(), Frame::Open { fin: true, .. }));
        assert_eq!(
            read(&mut back, &data(5, b"hi", true)).unwrap(),
            Frame::Data { stream: 5, data: b"hi".to_vec(), fin: true }
        );
        assert_eq!(read(&mut back, &ping(7)).unwrap(), Frame::Ping(7));
        assert_eq!(read(&mut back, &reset(5)).unwrap(), Frame::Reset { stream: 5 });
    }

    #[test]
    fn nonsense_is_refused() {
        let mut back = Inflater::default();
        assert_eq!(back.read(&[0x80, 3, 0, 1, 0, 0, 0, 4], &[0, 0, 0, 1]), None);
        assert_eq!(back.read(&[0x80, 3, 0, 1, 0, 0, 0, 14], &[0; 14]), None);
    }
}
