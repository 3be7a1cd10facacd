//! As much of DER (X.690) as a certificate needs: everything in it is a tag, a length and a content.

/// SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The first year that UTCTime, which has two digits for it, cannot tell.
const YEAR_WITHOUT_UTC_TIME: &str = "2050";

/// One value: `parts` are its content, one after the other.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![tag];
    if length < 0x80 {
        bytes.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let digits = &digits[digits.iter().take_while(|b| **b == 0).count()..];
        bytes.push(0x80 | digits.len() as u8);
        bytes.extend_from_slice(digits);
    }
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// SEQUENCE of the values.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, parts)
}

/// A number that is never negative.
pub(super) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let digits = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
    match digits.first() {
        None => value(INTEGER, &[&[0]]),
        Some(first) if *first >= 0x80 => value(INTEGER, &[&[0], digits]),
        Some(_) => value(INTEGER, &[digits]),
    }
}

/// An object identifier, such as `[2, 5, 29, 15]`.
pub(super) fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let first = arcs.first().copied().unwrap_or_default() * 40 + arcs.get(1).copied().unwrap_or_default();
    for arc in std::iter::once(&first).chain(arcs.iter().skip(2)) {
        let groups = (0..5).rev().map(|i| (arc >> (7 * i) & 0x7f) as u8).skip_while(|g| *g == 0);
        let mut groups: Vec<u8> = groups.collect();
        if groups.is_empty() {
            groups.push(0);
        }
        let last = groups.len() - 1;
        bytes.extend(groups.iter().enumerate().map(|(i, g)| if i == last { *g } else { g | 0x80 }));
    }
    value(OID, &[&bytes])
}

/// A point in time, in whole seconds.
pub(super) fn time(time: meta::Time) -> Vec<u8> {
    // 2026-01-01T00:00:00Z without its punctuation.
    let digits: String = time.to_string().chars().filter(char::is_ascii_digit).collect();
    if digits.get(..4).is_some_and(|year| year < YEAR_WITHOUT_UTC_TIME) {
        value(UTC_TIME, &[digits.get(2..).unwrap_or_default().as_bytes(), b"Z"])
    } else {
        value(GENERALIZED_TIME, &[digits.as_bytes(), b"Z"])
    }
}

/// An extension of a certificate.
pub(super) fn extension(arcs: &[u32], critical: bool, content: &[u8]) -> Vec<u8> {
    let flag = if critical { value(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    sequence(&[&oid(arcs), &flag, &value(OCTET_STRING, &[content])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded() {
        assert_eq!(value(OCTET_STRING, &[&[1, 2], &[3]]), [4, 3, 1, 2, 3]);
        assert_eq!(value(OCTET_STRING, &[&[0; 300]])[..4], [4, 0x82, 1, 44]);
        assert_eq!(unsigned(&[0, 0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[]), [2, 1, 0]);
        assert_eq!(oid(&[1, 2, 840, 113_549]), [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        assert_eq!(oid(&[2, 5, 29, 15]), [6, 3, 0x55, 0x1d, 0x0f]);
        assert_eq!(time(meta::Time::from_unix(1_767_225_600)), b"\x17\x0d260101000000Z");
        assert_eq!(time(meta::Time::from_unix(2_524_608_000)), b"\x18\x0f20500101000000Z");
    }
}
