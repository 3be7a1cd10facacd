//! The document of OpenAPI version 2, put together of parts that are each written and compressed once: the built-in groups, one
//! part for each group and version of custom kinds, one for each extension API server. A definition that changes costs its
//! own part and a copy of the others' bytes.
//!
//! JSON parts are members of the document's objects, compressed apart so that the pieces of one gzip stream can be laid end
//! to end (RFC 1951: a full flush ends on a byte and forgets what was before). Protobuf parts are documents of their own:
//! messages that follow each other are one message.

use std::sync::Arc;

use aggregate::openapi::{Known, SECTIONS};
use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};
use schema::openapi;
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};

use super::openapi::Packed;

/// Text that has been compressed.
struct Piece {
    deflated: Vec<u8>,
    crc: Crc,
    digest: [u8; 64],
}

impl Piece {
    fn new(text: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(text);
        let mut compress = Compress::new(Compression::default(), false);
        let mut deflated = Vec::with_capacity(text.len() / 8 + 64);
        loop {
            let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX).min(text.len());
            // What is asked for here cannot fail: there is always room, and the stream does not end.
            let _ = compress.compress_vec(&text[read..], &mut deflated, FlushCompress::Full);
            let all = compress.total_in() == text.len() as u64;
            if all && deflated.len() < deflated.capacity() {
                break;
            }
            deflated.reserve(text.len() / 8 + 64);
        }
        Piece { deflated, crc, digest: Sha512::digest(text).into() }
    }
}

/// Lays pieces end to end.
fn pack<'a>(pieces: impl Iterator<Item = &'a Piece>) -> Packed {
    // A header that says nothing but how it is compressed.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let (mut crc, mut hash) = (Crc::new(), Sha512::new());
    for piece in pieces {
        gzip.extend_from_slice(&piece.deflated);
        crc.combine(&piece.crc);
        hash.update(piece.digest);
    }
    // A last block with nothing in it.
    gzip.extend([3, 0]);
    gzip.extend(crc.sum().to_le_bytes());
    gzip.extend(crc.amount().to_le_bytes());
    let hash = hash.finalize().iter().map(|b| format!("{b:02X}")).collect();
    Packed { gzip: Bytes::from(gzip), hash }
}

/// A part of the document.
pub(super) struct Part {
    /// Members of each section, each with a comma before it.
    members: [Piece; 3],
    proto: Piece,
    /// What is in it.
    known: Known,
}

impl Part {
    /// A part with these sections; others are left out.
    pub(super) fn new(document: &Value) -> Self {
        let mut known = Known::default();
        known.add(document);
        let sections =
            SECTIONS.iter().filter_map(|name| Some(((*name).to_owned(), document.get(*name)?.clone())));
        let own: Value = sections.collect::<Map<_, _>>().into();
        Part {
            members: SECTIONS.map(|section| Piece::new(&members(&own[section]))),
            proto: Piece::new(&openapi::swagger_proto(&own)),
            known,
        }
    }
}

/// `,"name":value,"name":value`
fn members(section: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in section.as_object().into_iter().flatten() {
        text.push(b',');
        // Strings and values of JSON can be written.
        let _ = serde_json::to_writer(&mut text, name);
        text.push(b':');
        let _ = serde_json::to_writer(&mut text, value);
    }
    text
}

/// What every document has.
pub(super) struct Base {
    /// The opening of the document and of its first section; of each further section; the end.
    frame: [Piece; 4],
    /// Members of each section, the first one without a comma.
    members: [Piece; 3],
    proto: Piece,
    known: Known,
}

impl Base {
    /// Everything about built-in kinds.
    pub(super) fn new(document: &Value) -> Self {
        let mut known = Known::default();
        known.add(document);
        let mut rest = document.clone();
        if let Some(rest) = rest.as_object_mut() {
            SECTIONS.iter().for_each(|section| drop(rest.remove(*section)));
        }
        let mut opening = rest.to_string();
        opening.pop();
        let open = |before: &str, section: &str| Piece::new(format!("{before},\"{section}\":{{").as_bytes());
        Base {
            frame: [
                open(&opening, SECTIONS[0]),
                open("}", SECTIONS[1]),
                open("}", SECTIONS[2]),
                Piece::new(b"}}"),
            ],
            members: SECTIONS
                .map(|section| Piece::new(members(&document[section]).get(1..).unwrap_or_default())),
            proto: Piece::new(&openapi::swagger_proto(document)),
            known,
        }
    }

    /// What extension API servers add to everything else.
    fn fitted(&self, parts: &[Arc<Part>], extensions: &[Arc<Value>]) -> Vec<Part> {
        if extensions.is_empty() {
            return Vec::new();
        }
        let mut known = self.known.clone();
        parts.iter().for_each(|part| known.join(&part.known));
        extensions.iter().map(|part| Part::new(&known.fit(part))).collect()
    }

    /// The whole document in JSON and protobuf. What extension API servers say comes last, under other names where
    /// theirs are taken.
    pub(super) fn with(&self, parts: &[Arc<Part>], extensions: &[Arc<Value>]) -> (Packed, Packed) {
        let extensions = self.fitted(parts, extensions);
        let parts = || parts.iter().map(|part| &**part).chain(&extensions);
        let sections = (0..SECTIONS.len()).flat_map(|at| {
            let of_parts = parts().map(move |part| &part.members[at]);
            [&self.frame[at], &self.members[at]].into_iter().chain(of_parts)
        });
        let json = pack(sections.chain([&self.frame[3]]));
        let proto = pack([&self.proto].into_iter().chain(parts().map(|part| &part.proto)));
        (json, proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unpacked(packed: &Packed) -> Vec<u8> {
        packed.unpacked().to_vec()
    }

    fn part(number: usize) -> Value {
        let name = format!("com.example.v1.Kind{number}");
        json!({
            "paths": { (format!("/apis/example{number}.com/v1/kinds")): { "get": { "operationId": name } } },
            "definitions": { name: { "type": "object", "description": "x".repeat(number) } },
        })
    }

    #[test]
    fn parts_make_the_whole() {
        let base = json!({
            "swagger": "2.0", "info": { "title": "t" }, "security": [{ "BearerToken": [] }],
            "parameters": { "limit": { "in": "query", "name": "limit" } },
            "paths": { "/api/": {} }, "definitions": { "Meta": { "type": "object" } },
        });
        let made = Base::new(&base);
        let parts: Vec<Arc<Part>> = (0..300).map(|n| Arc::new(Part::new(&part(n)))).collect();
        let foreign = json!({
            "paths": { "/api/": { "taken": true }, "/apis/foreign/": { "$ref": "#/definitions/Meta" } },
            "definitions": { "Meta": { "type": "other" } },
        });
        let (document, proto) = made.with(&parts, &[Arc::new(foreign)]);
        let read: Value = serde_json::from_slice(&unpacked(&document)).expect("it is JSON");
        let mut want = base.clone();
        for n in 0..300 {
            for section in ["paths", "definitions"] {
                let more = part(n)[section].as_object().expect("written above").clone();
                want[section].as_object_mut().expect("written above").extend(more);
            }
        }
        want["paths"]["/apis/foreign/"] = json!({ "$ref": "#/definitions/Meta_v2" });
        want["definitions"]["Meta_v2"] = json!({ "type": "other" });
        assert_eq!(read, want);
        let length: usize = parts.iter().map(|part| part.proto.crc.amount() as usize).sum();
        assert!(unpacked(&proto).len() > length);
        // The same parts are the same document, others another one.
        assert_eq!(made.with(&parts, &[]).0.hash, made.with(&parts, &[]).0.hash);
        assert_ne!(made.with(&parts, &[]).0.hash, made.with(&parts[1..], &[]).0.hash);
        let (bare, _) = made.with(&[], &[]);
        assert_eq!(serde_json::from_slice::<Value>(&unpacked(&bare)).expect("it is JSON"), base);
    }

    #[test]
    fn pieces_of_any_length_unpack() {
        for length in [0, 1, 63, 64, 65, 4096, 1 << 20] {
            // Text that does not compress well.
            let text: Vec<u8> =
                (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let pieces = [Piece::new(&text), Piece::new(b""), Piece::new(&text)];
            assert_eq!(unpacked(&pack(pieces.iter())), [text.as_slice(), &text].concat(), "{length}");
        }
    }
}
