//! Hashes that name the revisions of a template.
//!
//! Of Deployments and DaemonSets upstream hashes Go's in-memory form, which only Go can reproduce, and nothing reads the hash
//! but the controller that wrote it. Ours is of the JSON form, spelled with the same alphabet. Revisions of StatefulSets
//! are hashed by the data that they keep, here as upstream.

use meta::{Codec, Struct};

/// FNV-1a of 32 bits.
pub(crate) fn fnv32a(parts: &[&[u8]]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    parts.iter().flat_map(|part| part.iter()).fold(0x811c_9dc5, step)
}

/// FNV-1 of 32 bits, whose steps go the other way round.
pub(crate) fn fnv32(parts: &[&[u8]]) -> u32 {
    let step = |hash: u32, byte: &u8| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte);
    parts.iter().flat_map(|part| part.iter()).fold(0x811c_9dc5, step)
}

/// The decimal digits of `hash` in letters that spell no words.
pub(crate) fn encode(hash: u32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    hash.to_string().bytes().map(|digit| ALPHABET[usize::from(digit) % ALPHABET.len()] as char).collect()
}

/// The hash of `template`, another one for every collision counted so far.
pub(crate) fn template_hash<T: Struct + Codec>(template: &T, collisions: Option<i32>) -> String {
    let collisions = collisions.map(|count| (count as u32).to_le_bytes());
    encode(fnv32a(&[&template.to_json(), collisions.as_ref().map_or(&[], |bytes| &bytes[..])]))
}
