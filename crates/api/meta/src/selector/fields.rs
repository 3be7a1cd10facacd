//! Field selectors: `metadata.name=x,status.phase!=Running`. Which fields a kind offers is not decided here.

use std::fmt;

use super::SelectorError;
use crate::Str;

/// One term.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldTerm {
    /// Field label, such as `spec.nodeName`.
    pub field: Str,
    /// The value to compare with.
    pub value: Str,
    /// Whether the values must be equal, or must differ.
    pub equal: bool,
}

/// A conjunction of terms; none of them matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FieldSelector {
    /// Terms in sorted order.
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Matches all objects.
    pub fn everything() -> Self {
        Self::default()
    }

    /// One field with one value.
    pub fn equal(field: impl Into<Str>, value: impl Into<Str>) -> Self {
        Self { terms: vec![FieldTerm { field: field.into(), value: value.into(), equal: true }] }
    }

    /// Reads a query parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let cannot = || SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let at = part.find(['=', '!']).map(|first| {
                // A lone exclamation mark is part of the name.
                let mut at = first;
                while part[at..].starts_with('!') && !part[at..].starts_with("!=") {
                    match part[at + 1..].find(['=', '!']) {
                        Some(next) => at += 1 + next,
                        None => return None,
                    }
                }
                Some(at)
            });
            let at = at.flatten().ok_or_else(cannot)?;
            let (field, rest) = part.split_at(at);
            let (equal, value) = match rest.strip_prefix("!=") {
                Some(v) => (false, v),
                None => (true, rest.strip_prefix("==").or(rest.strip_prefix('=')).unwrap_or_default()),
            };
            terms.push(FieldTerm { field: field.into(), value: unescape(value)?.into(), equal });
        }
        Ok(Self { terms })
    }

    /// No terms.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object whose fields `get` knows meets all terms; unknown fields count as empty.
    pub fn matches<S: AsRef<str>>(&self, mut get: impl FnMut(&str) -> Option<S>) -> bool {
        self.terms.iter().all(|t| {
            let value = get(&t.field);
            (value.as_ref().map_or("", AsRef::as_ref) == t.value.as_str()) == t.equal
        })
    }

    /// The only value the selector allows for a field, if there is one.
    pub fn exact_value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let bad = |s: &str| SelectorError(format!("invalid field selector: invalid escape sequence: {s}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(bad(&format!("\\{c}"))),
                None => return Err(bad("\\")),
            },
            ',' | '=' => {
                // Go prints the code of the character.
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {}",
                    c as u32
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.field, if self.equal { "=" } else { "!=" })?;
        for c in self.value.chars() {
            if matches!(c, '\\' | ',' | '=') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, t) in self.terms.iter().enumerate() {
            write!(f, "{}{t}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
