//! [`Doc`]: JSON text with an index of its values, so that walks skip, compare and copy subtrees as the bytes they are.
//!
//! One pass notes where each value begins and ends and how many values it holds. Nothing is copied or unescaped until
//! somebody asks for a string. Values nested deeper than [`DEPTH_MAX`] are one opaque value each, which keeps every
//! recursive walk over a document within a small stack.

use std::borrow::Cow;

use super::path::Scalar;

/// Levels that are looked into; the objects of the API nest less than 250 deep.
pub const DEPTH_MAX: usize = 300;

/// Form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// A list.
    List,
    /// An object.
    Map,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    end: u32,
    /// Index of the entry after everything in this value.
    next: u32,
    form: Form,
}

/// The text was not JSON, or is too long to be indexed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed JSON at byte {0}")]
pub struct Malformed(usize);

/// Indexed JSON.
#[derive(Debug)]
pub struct Doc<'t> {
    text: &'t [u8],
    entries: Vec<Entry>,
    deep: bool,
}

impl<'t> Doc<'t> {
    /// Indexes a document.
    ///
    /// # Errors
    /// [`Malformed`] when the text is not one JSON value.
    pub fn parse(text: &'t [u8]) -> Result<Self, Malformed> {
        if u32::try_from(text.len()).is_err() {
            return Err(Malformed(0));
        }
        let mut scan = Scan { text, at: 0, entries: Vec::with_capacity(text.len() / 12 + 4), deep: false };
        scan.space();
        scan.value(0)?;
        scan.space();
        if scan.at != text.len() {
            return Err(Malformed(scan.at));
        }
        Ok(Doc { text, entries: scan.entries, deep: scan.deep })
    }

    /// The outermost value.
    pub fn root(&self) -> Val<'_> {
        Val { text: self.text, entries: &self.entries, at: 0 }
    }

    /// Something in it nests deeper than [`DEPTH_MAX`].
    pub fn is_deep(&self) -> bool {
        self.deep
    }
}

/// One value of a document.
#[derive(Clone, Copy, Debug)]
pub struct Val<'d> {
    text: &'d [u8],
    entries: &'d [Entry],
    at: usize,
}

impl<'d> Val<'d> {
    fn entry(&self) -> Entry {
        self.entries[self.at]
    }

    /// Its form.
    pub fn form(&self) -> Form {
        self.entry().form
    }

    /// Its text.
    pub fn raw(&self) -> &'d [u8] {
        let entry = self.entry();
        &self.text[entry.start as usize..entry.end as usize]
    }

    /// A list or object without anything in it.
    pub fn is_empty(&self) -> bool {
        self.entry().next as usize == self.at + 1
    }

    /// Elements of a list; nothing for other forms.
    pub fn elements(&self) -> Elements<'d> {
        let end = if self.form() == Form::List { self.entry().next as usize } else { self.at + 1 };
        Elements { text: self.text, entries: self.entries, at: self.at + 1, end }
    }

    /// Members of an object: keys and values; nothing for other forms.
    pub fn members(&self) -> Members<'d> {
        let end = if self.form() == Form::Map { self.entry().next as usize } else { self.at + 1 };
        Members { text: self.text, entries: self.entries, at: self.at + 1, end }
    }

    /// A member of an object by its key.
    pub fn get(&self, key: &str) -> Option<Val<'d>> {
        self.members().find(|(name, _)| name.is(key)).map(|(_, value)| value)
    }

    /// The content of a string, or of a key.
    pub fn string(&self) -> Cow<'d, str> {
        let raw = self.raw();
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        if !inner.contains(&b'\\') {
            return String::from_utf8_lossy(inner);
        }
        serde_json::from_slice::<String>(raw)
            .map_or_else(|_| String::from_utf8_lossy(inner).into_owned().into(), Cow::Owned)
    }

    /// Whether a string without escapes is this one.
    fn is(&self, key: &str) -> bool {
        let raw = self.raw();
        if raw.len() == key.len() + 2 && &raw[1..raw.len() - 1] == key.as_bytes() {
            return true;
        }
        raw.contains(&b'\\') && self.string() == key
    }

    /// The value as a scalar of a path; lists and objects as their text.
    pub fn scalar(&self) -> Scalar {
        match self.form() {
            Form::Null => Scalar::Null,
            Form::Bool => Scalar::Bool(self.raw() == b"true"),
            Form::Number => number(self.raw()),
            Form::Text => Scalar::Text(self.string().as_ref().into()),
            Form::List | Form::Map => Scalar::Json(String::from_utf8_lossy(self.raw()).as_ref().into()),
        }
    }

    /// The same value, whatever its spelling.
    pub fn same(&self, other: &Val<'_>) -> bool {
        if self.raw() == other.raw() {
            return true;
        }
        match (self.form(), other.form()) {
            (Form::Number, Form::Number) => number(self.raw()) == number(other.raw()),
            (Form::Text, Form::Text) => self.string() == other.string(),
            (Form::List, Form::List) => {
                let (mut a, mut b) = (self.elements(), other.elements());
                loop {
                    match (a.next(), b.next()) {
                        (None, None) => {
                            return !(self.is_empty() && other.is_empty()) || self.equally_bare(other);
                        }
                        (Some(x), Some(y)) if x.same(&y) => {}
                        _ => return false,
                    }
                }
            }
            (Form::Map, Form::Map) => {
                let index = Index::new(*other);
                let mut count = 0;
                for (at, (key, value)) in self.members().enumerate() {
                    count += 1;
                    match index.find(&key, at) {
                        Some(found) if value.same(&found) => {}
                        _ => return false,
                    }
                }
                count == index.len() && (count > 0 || self.equally_bare(other))
            }
            _ => false,
        }
    }

    /// Two values that hold nothing indexed: truly empty ones, however they are spaced, or opaque ones, whose texts
    /// were compared before.
    fn equally_bare(&self, other: &Val<'_>) -> bool {
        let bare = |v: &Val<'_>| v.raw().iter().filter(|b| !b.is_ascii_whitespace()).count() == 2;
        bare(self) && bare(other)
    }
}

fn number(raw: &[u8]) -> Scalar {
    let text = std::str::from_utf8(raw).unwrap_or("0");
    match text.parse::<i64>() {
        Ok(n) => Scalar::Int(n),
        Err(_) => Scalar::Float(text.parse().unwrap_or(0.0)),
    }
}

/// See [`Val::elements`].
pub struct Elements<'d> {
    text: &'d [u8],
    entries: &'d [Entry],
    at: usize,
    end: usize,
}

impl<'d> Iterator for Elements<'d> {
    type Item = Val<'d>;

    fn next(&mut self) -> Option<Val<'d>> {
        if self.at >= self.end {
            return None;
        }
        let value = Val { text: self.text, entries: self.entries, at: self.at };
        self.at = value.entry().next as usize;
        Some(value)
    }
}

/// See [`Val::members`].
pub struct Members<'d> {
    text: &'d [u8],
    entries: &'d [Entry],
    at: usize,
    end: usize,
}

impl<'d> Iterator for Members<'d> {
    type Item = (Val<'d>, Val<'d>);

    fn next(&mut self) -> Option<(Val<'d>, Val<'d>)> {
        if self.at >= self.end {
            return None;
        }
        let key = Val { text: self.text, entries: self.entries, at: self.at };
        let value = Val { at: self.at + 1, ..key };
        self.at = value.entry().next as usize;
        Some((key, value))
    }
}

/// Objects with more members than this get sorted before they are searched.
const SCAN_MAX: usize = 16;

/// An object prepared for being searched by the keys of another one.
pub(super) struct Index<'d> {
    members: Vec<(Val<'d>, Val<'d>)>,
    sorted: Option<Vec<(Cow<'d, str>, usize)>>,
}

impl<'d> Index<'d> {
    /// Prepares an object; other forms have no members.
    pub fn new(value: Val<'d>) -> Self {
        let members: Vec<_> = value.members().collect();
        let sorted = (members.len() > SCAN_MAX).then(|| {
            let mut keys: Vec<_> =
                members.iter().enumerate().map(|(at, (key, _))| (key.string(), at)).collect();
            keys.sort();
            keys
        });
        Index { members, sorted }
    }

    /// How many members it has.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The member with this key; `hint` is where it probably is.
    pub fn find(&self, key: &Val<'_>, hint: usize) -> Option<Val<'d>> {
        if let Some((name, value)) = self.members.get(hint)
            && name.raw() == key.raw()
        {
            return Some(*value);
        }
        let wanted = key.string();
        match &self.sorted {
            Some(sorted) => {
                let at = sorted.binary_search_by(|(name, _)| name.as_ref().cmp(wanted.as_ref())).ok()?;
                Some(self.members[sorted[at].1].1)
            }
            None => self.members.iter().find(|(name, _)| name.is(&wanted)).map(|(_, value)| *value),
        }
    }
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    entries: Vec<Entry>,
    deep: bool,
}

impl Scan<'_> {
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong<T>(&self) -> Result<T, Malformed> {
        Err(Malformed(self.at))
    }

    fn open(&mut self, form: Form) -> usize {
        let start = self.at as u32;
        self.entries.push(Entry { start, end: start, next: 0, form });
        self.entries.len() - 1
    }

    fn close(&mut self, entry: usize) {
        let next = self.entries.len() as u32;
        let entry = &mut self.entries[entry];
        entry.end = self.at as u32;
        entry.next = next;
    }

    fn value(&mut self, depth: usize) -> Result<(), Malformed> {
        match self.text.get(self.at) {
            Some(b'{') if depth < DEPTH_MAX => self.map(depth),
            Some(b'[') if depth < DEPTH_MAX => self.list(depth),
            Some(b'{') => self.opaque(Form::Map),
            Some(b'[') => self.opaque(Form::List),
            Some(b'"') => {
                let entry = self.open(Form::Text);
                self.skip_string()?;
                self.close(entry);
                Ok(())
            }
            Some(b't') => self.word(b"true", Form::Bool),
            Some(b'f') => self.word(b"false", Form::Bool),
            Some(b'n') => self.word(b"null", Form::Null),
            Some(b'-' | b'0'..=b'9') => {
                let entry = self.open(Form::Number);
                while matches!(self.text.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    self.at += 1;
                }
                self.close(entry);
                Ok(())
            }
            _ => self.wrong(),
        }
    }

    fn word(&mut self, word: &[u8], form: Form) -> Result<(), Malformed> {
        if !self.text[self.at..].starts_with(word) {
            return self.wrong();
        }
        let entry = self.open(form);
        self.at += word.len();
        self.close(entry);
        Ok(())
    }

    fn skip_string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return self.wrong(),
            }
        }
    }

    /// Whether another member follows; consumes the comma or the closing bracket.
    fn more(&mut self, first: &mut bool, close: u8) -> Result<bool, Malformed> {
        self.space();
        match self.text.get(self.at) {
            Some(c) if *c == close => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(_) if *first => {
                *first = false;
                Ok(true)
            }
            _ => self.wrong(),
        }
    }

    fn map(&mut self, depth: usize) -> Result<(), Malformed> {
        let entry = self.open(Form::Map);
        self.at += 1;
        let mut first = true;
        while self.more(&mut first, b'}')? {
            if self.text.get(self.at) != Some(&b'"') {
                return self.wrong();
            }
            let key = self.open(Form::Text);
            self.skip_string()?;
            self.close(key);
            self.space();
            if self.text.get(self.at) != Some(&b':') {
                return self.wrong();
            }
            self.at += 1;
            self.space();
            self.value(depth + 1)?;
        }
        self.close(entry);
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<(), Malformed> {
        let entry = self.open(Form::List);
        self.at += 1;
        let mut first = true;
        while self.more(&mut first, b']')? {
            self.value(depth + 1)?;
        }
        self.close(entry);
        Ok(())
    }

    /// Skips a value that nests too deep to be looked into.
    fn opaque(&mut self, form: Form) -> Result<(), Malformed> {
        let entry = self.open(form);
        let mut open = 0usize;
        loop {
            match self.text.get(self.at) {
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => {
                    open -= 1;
                    if open == 0 {
                        self.at += 1;
                        break;
                    }
                }
                Some(b'"') => {
                    self.skip_string()?;
                    continue;
                }
                Some(_) => {}
                None => return self.wrong(),
            }
            self.at += 1;
        }
        self.deep = self.deep || self.entries[entry].end + 2 < self.at as u32;
        self.close(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_whatever_their_spelling() {
        let same = |a: &str, b: &str| {
            let (a, b) = (Doc::parse(a.as_bytes()).unwrap(), Doc::parse(b.as_bytes()).unwrap());
            a.root().same(&b.root())
        };
        assert!(same(r#"{"a":1,"b":[true,null]}"#, r#" { "b" : [ true , null ], "a":1.0}"#));
        assert!(same(r#""\u003c""#, r#""<""#));
        assert!(same("[]", "[ ]"));
        for (a, b) in [("{}", "[]"), ("[1]", "[1,2]"), (r#"{"a":1}"#, r#"{"a":1,"b":2}"#), ("null", "0")] {
            assert!(!same(a, b) && !same(b, a), "{a} {b}");
        }
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let text = deep(200_000);
        let doc = Doc::parse(text.as_bytes()).unwrap();
        assert!(doc.is_deep());
        let other = deep(200_001);
        assert!(!doc.root().same(&Doc::parse(other.as_bytes()).unwrap().root()));
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "{", "[1,]", "{\"a\"}", "{a:1}", "tru", "1 2", "\"abc", "{\"a\":1,}"] {
            assert!(Doc::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
