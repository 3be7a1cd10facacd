//! Usages of a certificate: their names in the API, and what they are in a certificate.

use meta::Str;

use super::der::oid;

/// Bits of the key usage (RFC 5280, 4.2.1.3).
const BITS: &[(&str, u16)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];
/// Purposes of the extended key usage.
const PURPOSES: &[(&str, &[u32])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

/// The content of the key usage's bit string, if there is any, and the identifiers of the purposes.
pub(super) fn encode(usages: &[Str]) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
    let mut bits = 0_u16;
    let mut purposes: Vec<Vec<u8>> = Vec::new();
    for usage in usages {
        if let Some((_, bit)) = BITS.iter().find(|(name, _)| usage == name) {
            bits |= 0x8000 >> bit;
        }
        if let Some((_, arcs)) = PURPOSES.iter().find(|(name, _)| usage == name) {
            let purpose = oid(arcs);
            if !purposes.contains(&purpose) {
                purposes.push(purpose);
            }
        }
    }
    if bits == 0 {
        return (None, purposes);
    }
    let unused = bits.trailing_zeros();
    let [high, low] = bits.to_be_bytes();
    let content = if low == 0 { vec![(unused - 8) as u8, high] } else { vec![unused as u8, high, low] };
    (Some(content), purposes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_become_bits_and_purposes() {
        type Row = (&'static [&'static str], Option<Vec<u8>>, usize);
        let rows: &[Row] = &[
            (&["digital signature", "key encipherment", "server auth"], Some(vec![5, 0xa0]), 1),
            (&["client auth"], None, 1),
            (&["decipher only"], Some(vec![7, 0, 0x80]), 0),
            (&["email protection", "s/mime"], None, 1),
        ];
        for (usages, bits, purposes) in rows {
            let usages: Vec<Str> = usages.iter().map(|u| Str::from(*u)).collect();
            let (found, list) = encode(&usages);
            assert_eq!((&found, list.len()), (bits, *purposes), "{usages:?}");
        }
    }
}
