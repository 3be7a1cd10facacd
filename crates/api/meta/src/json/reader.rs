//! [`JsonReader`]: a pull parser over bytes that decodes straight into structs and notes unknown and duplicate fields.

use std::borrow::Cow;

use super::scan;
use crate::{DecodeContext, DecodeError, FieldValidation, Struct, TypeInfo};

/// Typed values nest no deeper than this; deeper input is refused as Go refuses 10,000 levels, before the stack of
/// a server thread could run out. Untyped JSON inside them ([`crate::RawJson`]) may be as deep as Go allows.
const TYPED_DEPTH_MAX: u32 = 250;

/// Reads JSON from a slice.
pub struct JsonReader<'a> {
    buf: &'a [u8],
    pos: usize,
    depth: u32,
    /// Where findings go; `None` when nobody asks for them.
    findings: Option<&'a mut DecodeContext>,
    /// Numbers that are too large lose their high bits.
    wraps: bool,
    path: Vec<Segment<'a>>,
}

#[derive(Clone)]
enum Segment<'a> {
    Field(&'static str),
    Key(Cow<'a, str>),
    Index(usize),
}

impl<'a> JsonReader<'a> {
    /// A reader that notes nothing.
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0, depth: 0, findings: None, wraps: false, path: Vec::new() }
    }

    /// A reader that records unknown and duplicate fields unless the context ignores them.
    pub fn with_context(buf: &'a [u8], context: &'a mut DecodeContext) -> Self {
        let wraps = context.converted;
        let findings = (context.validation != FieldValidation::Ignore).then_some(context);
        Self { findings, wraps, ..Self::new(buf) }
    }

    /// What is left of a number that a field is too small for, where such numbers pass.
    pub(crate) fn wrapped(&self, text: &str) -> Option<i64> {
        let whole = || text.parse().ok().filter(|number: &f64| number.fract() == 0.0);
        let wide = || text.parse::<i64>().ok().or_else(|| whole().map(beyond_int64));
        self.wraps.then(wide).flatten()
    }

    /// Reads something without noting what is unknown or repeated in it.
    pub fn unnoticed<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let findings = self.findings.take();
        let result = read(self);
        self.findings = findings;
        result
    }

    /// Decodes the whole input into `value`. Errors of syntax win over errors of type, as in Go, which checks the whole
    /// document first.
    pub fn read_document<T: Struct>(self, value: &mut T) -> Result<(), DecodeError> {
        self.whole(|r| value.read_json_value(r)).map_err(|e| e.at_top(T::INFO.go))
    }

    /// Decodes the whole input with `read`.
    pub fn whole<F>(mut self, read: F) -> Result<(), DecodeError>
    where
        F: FnOnce(&mut Self) -> Result<(), DecodeError>,
    {
        let result = read(&mut self).and_then(|()| {
            let end = scan::skip_space(self.buf, self.pos);
            match self.buf.get(end) {
                None => Ok(()),
                Some(&c) => Err(scan::invalid(c, "after top-level value", end)),
            }
        });
        match result {
            Err(e) if !e.is_syntax() => {
                scan::check_syntax(self.buf)?;
                Err(e)
            }
            other => other,
        }
    }

    /// The first byte of the next value.
    #[inline]
    pub fn peek(&mut self) -> Result<u8, DecodeError> {
        self.pos = scan::skip_space(self.buf, self.pos);
        self.buf.get(self.pos).copied().ok_or_else(|| scan::eof(self.pos))
    }

    /// Consumes a `null` if one is next.
    #[inline]
    pub fn try_null(&mut self) -> Result<bool, DecodeError> {
        if self.peek()? == b'n' {
            self.pos = scan::literal(self.buf, self.pos, b"null")?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Skips the next value.
    pub fn skip_value(&mut self) -> Result<(), DecodeError> {
        self.pos = scan::skip_value(self.buf, self.pos)?;
        Ok(())
    }

    /// The next value's text.
    pub fn raw_value(&mut self) -> Result<&'a [u8], DecodeError> {
        self.peek()?;
        let start = self.pos;
        self.skip_value()?;
        Ok(&self.buf[start..self.pos])
    }

    /// A boolean.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.peek()? {
            b't' => {
                self.pos = scan::literal(self.buf, self.pos, b"true")?;
                Ok(true)
            }
            b'f' => {
                self.pos = scan::literal(self.buf, self.pos, b"false")?;
                Ok(false)
            }
            _ => Err(self.mismatch(None)),
        }
    }

    /// The text of a number.
    pub fn number(&mut self) -> Result<&'a str, DecodeError> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => {
                let start = self.pos;
                self.pos = scan::skip_number(self.buf, start)?;
                Ok(std::str::from_utf8(&self.buf[start..self.pos]).unwrap_or_default())
            }
            _ => Err(self.mismatch(None)),
        }
    }

    /// A string; borrowed when it holds no escapes and is valid UTF-8. Invalid UTF-8 becomes U+FFFD, as in Go.
    pub fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        if self.peek()? != b'"' {
            return Err(self.mismatch(None));
        }
        self.quoted()
    }

    #[inline]
    fn quoted(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let start = self.pos + 1;
        let rest = &self.buf[start..];
        // The common case: no escape before the closing quote.
        let plain = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
        if let Some(n) = plain
            && rest[n] == b'"'
        {
            self.pos = start + n + 1;
            return Ok(String::from_utf8_lossy(&rest[..n]));
        }
        let end = scan::skip_string(self.buf, self.pos)?;
        self.pos = end;
        Ok(Cow::Owned(unescape(&self.buf[start..end - 1])))
    }

    /// The error for a value of the wrong type; `go` names the wanted type where the field table does not.
    #[cold]
    pub fn mismatch(&mut self, go: Option<&'static str>) -> DecodeError {
        let found = match self.peek() {
            Err(e) => return e,
            Ok(b'"') => "string",
            Ok(b'{') => "object",
            Ok(b'[') => "array",
            Ok(b't' | b'f') => "bool",
            Ok(b'-' | b'0'..=b'9') => "number",
            Ok(c) => return scan::invalid(c, "looking for beginning of value", self.pos),
        };
        DecodeError::mismatch(found.to_owned(), go)
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        self.pos += 1;
        if self.depth > TYPED_DEPTH_MAX {
            return Err(DecodeError::syntax("exceeded max depth", self.pos));
        }
        Ok(())
    }

    /// Reads an object into a struct; `null` leaves it as it is.
    pub fn read_struct<T: Struct>(&mut self, value: &mut T) -> Result<(), DecodeError> {
        if self.try_null()? {
            return Ok(());
        }
        if self.peek()? != b'{' {
            return Err(self.mismatch(None));
        }
        self.enter()?;
        let mut state = ObjectState::default();
        while let Some(index) = self.next_field(T::INFO, &mut state)? {
            value.read_field(index, self).map_err(|e| e.in_field(T::INFO, index))?;
            if self.findings.is_some() {
                self.path.pop();
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Whether another member follows; consumes the comma or the closing bracket.
    #[inline]
    fn next_member(&mut self, first: &mut bool, close: u8) -> Result<bool, DecodeError> {
        let c = self.peek()?;
        if *first {
            *first = false;
            if c == close {
                self.pos += 1;
                return Ok(false);
            }
            return Ok(true);
        }
        if c == close {
            self.pos += 1;
            return Ok(false);
        }
        if c == b',' {
            self.pos += 1;
            return Ok(true);
        }
        let context = if close == b'}' { "after object key:value pair" } else { "after array element" };
        Err(scan::invalid(c, context, self.pos))
    }

    fn key(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let c = self.peek()?;
        if c != b'"' {
            return Err(scan::invalid(c, "looking for beginning of object key string", self.pos));
        }
        let key = self.quoted()?;
        self.pos = scan::colon(self.buf, self.pos)?;
        Ok(key)
    }

    /// The next known field of a struct. Unknown fields are noted and skipped; `kind` and `apiVersion` of kinds are
    /// skipped, the caller has looked at them before.
    fn next_field(
        &mut self,
        info: &'static TypeInfo,
        state: &mut ObjectState,
    ) -> Result<Option<usize>, DecodeError> {
        while self.next_member(&mut state.first, b'}')? {
            let key = self.key()?;
            if let Some(index) = info.find(key.as_bytes(), state.next) {
                state.next = index + 1;
                if self.findings.is_some() {
                    if state.saw(index) {
                        self.record("duplicate", &key);
                    }
                    self.path.push(Segment::Field(info.fields[index].name));
                }
                return Ok(Some(index));
            }
            if info.type_meta.is_some() && (key == "kind" || key == "apiVersion") {
                // Indexes past the last field stand for the type's own two.
                if self.findings.is_some() && state.saw(if key == "kind" { 126 } else { 127 }) {
                    self.record("duplicate", &key);
                }
                self.type_meta_value(info, &key)?;
                continue;
            }
            if self.findings.is_some() {
                self.record("unknown", &key);
            }
            self.skip_value()?;
        }
        Ok(None)
    }

    fn type_meta_value(&mut self, info: &'static TypeInfo, key: &str) -> Result<(), DecodeError> {
        if self.try_null()? {
            return Ok(());
        }
        if self.peek()? != b'"' {
            let name = if key == "kind" { "kind" } else { "apiVersion" };
            return Err(self.mismatch(Some("string")).in_named_field(
                info.name,
                if name == "kind" { "TypeMeta.kind" } else { "TypeMeta.apiVersion" },
            ));
        }
        self.quoted().map(drop)
    }

    /// Reads a list; `each` reads one element.
    pub fn read_list(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.peek()? != b'[' {
            return Err(self.mismatch(None));
        }
        self.enter()?;
        let mut first = true;
        let mut index = 0;
        while self.next_member(&mut first, b']')? {
            if self.findings.is_some() {
                self.path.push(Segment::Index(index));
            }
            each(self).map_err(DecodeError::in_element)?;
            if self.findings.is_some() {
                self.path.pop();
            }
            index += 1;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an object with free keys; `each` reads one value and answers whether its key was there before.
    pub fn read_map(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.peek()? != b'{' {
            return Err(self.mismatch(None));
        }
        self.enter()?;
        let mut first = true;
        while self.next_member(&mut first, b'}')? {
            let key = self.key()?;
            if self.findings.is_some() {
                self.path.push(Segment::Key(key.clone()));
            }
            let known = each(self, &key).map_err(DecodeError::in_element)?;
            if self.findings.is_some() {
                self.path.pop();
                if known {
                    self.record("duplicate", &key);
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    #[cold]
    fn record(&mut self, what: &str, key: &str) {
        let mut text = String::new();
        for segment in &self.path {
            match segment {
                Segment::Index(i) => text.push_str(&format!("[{i}]")),
                Segment::Field(name) => dotted(&mut text, name),
                Segment::Key(key) => dotted(&mut text, key),
            }
        }
        dotted(&mut text, key);
        if let Some(context) = &mut self.findings {
            context.record(format!("{what} field {}", crate::go_quote(&text)));
        }
    }
}

fn dotted(text: &mut String, part: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(part);
}

/// What is known about the object being read.
struct ObjectState {
    first: bool,
    next: usize,
    seen: u128,
}

impl Default for ObjectState {
    fn default() -> Self {
        Self { first: true, next: 0, seen: 0 }
    }
}

impl ObjectState {
    /// Marks a field; true when it was marked before.
    fn saw(&mut self, index: usize) -> bool {
        let bit = 1u128.checked_shl(index as u32).unwrap_or(0);
        let before = self.seen & bit != 0;
        self.seen |= bit;
        before
    }
}

/// Resolves escapes of a string whose syntax was checked.
fn unescape(bytes: &[u8]) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'\\' {
            out.push(bytes[i]);
            i += 1;
            continue;
        }
        i += 2;
        let c = match bytes.get(i - 1) {
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = hex4(bytes, i);
                i += 4;
                if (0xd800..0xdc00).contains(&high) && bytes.get(i..i + 2) == Some(b"\\u") {
                    let low = hex4(bytes, i + 2);
                    if (0xdc00..0xe000).contains(&low) {
                        i += 6;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                            .unwrap_or('\u{fffd}')
                    } else {
                        '\u{fffd}'
                    }
                } else {
                    char::from_u32(high).unwrap_or('\u{fffd}')
                }
            }
            Some(&c) => char::from(c),
            None => break,
        };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    match String::from_utf8(out) {
        Ok(s) => s,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    }
}

fn hex4(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .unwrap_or_default()
        .iter()
        .fold(0, |n, c| n * 16 + char::from(*c).to_digit(16).unwrap_or(0))
}

/// A float as a whole number: what does not fit is the least of them, as on Go's most usual processors.
fn beyond_int64(number: f64) -> i64 {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if (-BEYOND..BEYOND).contains(&number) { number as i64 } else { i64::MIN }
}
