//! [`JsonWriter`]: appends JSON to a byte vector under Go's rules (escapes, omission, number formats).

use crate::codec::Value;
use crate::{List, Struct};

/// Appends JSON to a buffer.
#[derive(Debug, Default)]
pub struct JsonWriter {
    /// What was written so far.
    pub out: Vec<u8>,
    /// Lists that were sent empty are written as `[]`, not as `null`.
    pub as_sent: bool,
    /// Fields with `omitempty` are written although they are empty.
    pub empties: bool,
}

/// For each byte: 0 when it is written as it is, otherwise the escape letter, `u` for `\u00XX`, 0xff for a
/// multi-byte character that may need an escape.
const ESCAPE: [u8; 256] = {
    let mut t = [0u8; 256];
    let mut i = 0;
    while i < 0x20 {
        t[i] = b'u';
        i += 1;
    }
    t[b'"' as usize] = b'"';
    t[b'\\' as usize] = b'\\';
    t[b'\n' as usize] = b'n';
    t[b'\r' as usize] = b'r';
    t[b'\t' as usize] = b't';
    t[0x08] = b'b';
    t[0x0c] = b'f';
    t[b'<' as usize] = b'u';
    t[b'>' as usize] = b'u';
    t[b'&' as usize] = b'u';
    t[0xe2] = 0xff;
    t
};

const HEX: &[u8; 16] = b"0123456789abcdef";

impl JsonWriter {
    /// Writes after what `out` holds already.
    pub fn new(out: Vec<u8>) -> Self {
        Self { out, ..Self::default() }
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.out.push(b'{');
    }

    /// Closes an object.
    pub fn end_object(&mut self) {
        self.out.push(b'}');
    }

    /// Writes a field name that needs no escape, with the comma before it where one is due.
    #[inline]
    pub fn key(&mut self, name: &str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Writes a map key.
    pub fn map_key(&mut self, key: &str) {
        self.comma();
        self.string(key);
        self.out.push(b':');
    }

    /// A comma, unless an object or list was just opened.
    #[inline]
    pub fn comma(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[') | None) {
            self.out.push(b',');
        }
    }

    /// A field with `omitempty`.
    #[inline]
    pub fn opt<V: Value>(&mut self, name: &str, value: &V) {
        if !value.is_empty() || self.empties {
            self.key(name);
            value.write_json(self);
        }
    }

    /// A field that is always written.
    #[inline]
    pub fn req<V: Value>(&mut self, name: &str, value: &V) {
        self.key(name);
        value.write_json(self);
    }

    /// A field with `omitzero`.
    pub fn zero<V: Value>(&mut self, name: &str, value: &V) {
        if !value.is_zero() {
            self.key(name);
            value.write_json(self);
        }
    }

    /// The items of a list kind: never `null`.
    pub fn items<T>(&mut self, name: &str, items: &List<T>)
    where
        T: Value,
    {
        self.key(name);
        self.out.push(b'[');
        for item in items {
            self.comma();
            item.write_json(self);
        }
        self.out.push(b']');
    }

    /// A list of whole kinds inside another kind: each element says what it is. Omitted when empty.
    pub fn opt_kinds<T: Struct>(&mut self, name: &str, items: &List<T>) {
        if items.is_empty() {
            return;
        }
        self.key(name);
        self.out.push(b'[');
        for item in items {
            self.comma();
            self.object(item);
        }
        self.out.push(b']');
    }

    /// A whole object with `kind` and `apiVersion` first, where it has them. Gives back how many bytes from the
    /// opening brace on belong to that prefix, including the comma after it; the rest, with a brace put before it, is
    /// the object as a list shows it.
    pub fn object<T: Struct>(&mut self, value: &T) -> usize {
        let Some(prefix) = T::INFO.type_meta else {
            value.write_json_value(self);
            return 1;
        };
        let start = self.out.len();
        self.out.push(b'{');
        self.out.extend_from_slice(prefix.as_bytes());
        let bare = self.out.len() - start;
        value.write_fields(self);
        self.out.push(b'}');
        if self.out.get(start + bare) == Some(&b',') { bare + 1 } else { bare }
    }

    /// A string with Go's escapes, HTML-safe.
    #[inline]
    pub fn string(&mut self, s: &str) {
        self.out.push(b'"');
        self.escaped(s.as_bytes(), true);
        self.out.push(b'"');
    }

    fn escaped(&mut self, bytes: &[u8], quotes: bool) {
        let mut from = 0;
        for (i, &b) in bytes.iter().enumerate() {
            let e = ESCAPE[b as usize];
            if e == 0 || (!quotes && b != b'<' && b != b'>' && b != b'&' && e != 0xff) {
                continue;
            }
            if e == 0xff {
                // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
                if bytes.get(i + 1) == Some(&0x80)
                    && let Some(last @ (0xa8 | 0xa9)) = bytes.get(i + 2)
                {
                    self.out.extend_from_slice(&bytes[from..i]);
                    self.out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    from = i + 3;
                }
                continue;
            }
            self.out.extend_from_slice(&bytes[from..i]);
            from = i + 1;
            if e == b'u' {
                self.out.extend_from_slice(b"\\u00");
                self.out.push(HEX[(b >> 4) as usize]);
                self.out.push(HEX[(b & 15) as usize]);
            } else {
                self.out.extend_from_slice(&[b'\\', e]);
            }
        }
        self.out.extend_from_slice(&bytes[from..]);
    }

    /// Embeds JSON as Go embeds the result of a `MarshalJSON`: compacted and HTML-safe.
    pub fn raw(&mut self, json: &[u8]) {
        let mut in_string = false;
        let mut from = 0;
        let mut i = 0;
        while i < json.len() {
            match json[i] {
                b'"' => in_string = !in_string,
                b'\\' if in_string => i += 1,
                b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                    self.escaped(&json[from..i], false);
                    from = i + 1;
                }
                _ => {}
            }
            i += 1;
        }
        self.escaped(&json[from.min(json.len())..], false);
    }

    /// An integer.
    pub fn integer(&mut self, n: i64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    }

    /// A float as Go writes it: plain digits, and an exponent below 1e-6 and from 1e21 on.
    pub fn float(&mut self, n: f64) {
        use std::io::Write as _;
        if !n.is_finite() {
            // Go refuses to encode these; they cannot come from a decoder.
            self.out.extend_from_slice(b"null");
            return;
        }
        let abs = n.abs();
        // Writing to a vector cannot fail.
        if abs != 0.0 && !(1e-6..1e21).contains(&abs) {
            let text = format!("{n:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let _ = match exponent.strip_prefix('-') {
                Some(e) => write!(self.out, "{digits}e-{e}"),
                None => write!(self.out, "{digits}e+{exponent}"),
            };
        } else {
            let _ = write!(self.out, "{n}");
        }
    }
}
