//! Regular expressions as Go's `regexp` has them.
//!
//! Patterns in schemas and expressions are written for RE2's language as Go reads it. [`translate`] reads a pattern by
//! that grammar, with Go's errors, and writes the same in the grammar of the crate `regex`, which differs: there `\d`
//! and `\w` mean all of Unicode, `[a&&b]` is an intersection, `a**` is fine. [`compile`] gives what matches.

mod class;
mod escape;
mod group;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;

use regex::{Regex, RegexBuilder};

use group::Group;

/// Largest compiled pattern, in bytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting.
const DEPTH_MAX: usize = 250;
/// Most copies that repetitions inside each other may make.
const COPIES_MAX: u32 = 1000;

/// Why a pattern is not one, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {why}: `{part}`")]
pub struct PatternError {
    why: &'static str,
    /// The part of the pattern that is meant.
    part: String,
}

impl PatternError {
    fn new(why: &'static str, part: &str) -> Self {
        PatternError { why, part: part.to_owned() }
    }

    fn range(part: &str) -> Self {
        Self::new("invalid character class range", part)
    }

    fn escape(part: &str) -> Self {
        Self::new("invalid escape sequence", part)
    }
}

/// Compiles a pattern.
pub fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let translated = translate(pattern)?;
    // What Go takes and this refuses is too large for it.
    let large = |_| PatternError::new("expression too large", pattern);
    RegexBuilder::new(&translated)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .build()
        .map_err(large)
}

/// The pattern in the grammar of the crate `regex`.
fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut reader = Reader {
        whole: pattern,
        rest: pattern,
        out: String::new(),
        groups: vec![Group::default()],
        classes: BTreeMap::new(),
    };
    reader.read()?;
    Ok(reader.out)
}

struct Reader<'p> {
    whole: &'p str,
    rest: &'p str,
    out: String,
    /// The groups that are open, outermost first; never empty.
    groups: Vec<Group>,
    /// Unicode classes that were looked up before, for a pattern may name one very often.
    classes: BTreeMap<String, Option<String>>,
}

impl<'p> Reader<'p> {
    fn read(&mut self) -> Result<(), PatternError> {
        // The last repetition and what follows it, if it is what was read last.
        let mut repeated: Option<&'p str> = None;
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut repetition = None;
            match c {
                '(' if before.starts_with("(?") => self.flags_or_group()?,
                '(' => {
                    self.advance(1);
                    self.open("(")?;
                }
                ')' => self.close()?,
                '|' => {
                    self.advance(1);
                    self.out.push('|');
                    self.group().alternative();
                }
                '^' | '$' | '.' => {
                    self.advance(1);
                    self.out.push(c);
                    self.group().atom(1);
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.advance(1);
                    self.repeat(before, repeated, Copies::Any)?;
                    repetition = Some(before);
                }
                '{' => match counts(before) {
                    None => self.literal(c),
                    Some((least, most, rest)) => {
                        self.rest = rest;
                        self.repeat(before, repeated, Copies::Counted { least, most })?;
                        repetition = Some(before);
                    }
                },
                '\\' => self.escaped()?,
                _ => self.literal(c),
            }
            repeated = repetition;
        }
        if self.groups.len() > 1 {
            return Err(PatternError::new("missing closing )", self.whole));
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn literal(&mut self, c: char) {
        self.advance(c.len_utf8());
        self.put(c);
    }

    /// Writes a character that stands for itself.
    fn put(&mut self, c: char) {
        put(&mut self.out, c);
        self.group().atom(1);
    }

    /// A repetition that began at `before` and was read up to its mark of laziness.
    fn repeat(&mut self, before: &'p str, last: Option<&'p str>, copies: Copies) -> Result<(), PatternError> {
        let operator = &before[..before.len() - self.rest.len()];
        let lazy = self.rest.starts_with('?');
        if let Copies::Counted { least, most } = copies
            && (least > COPIES_MAX || most.is_some_and(|most| most > COPIES_MAX || least > most))
        {
            return Err(PatternError::new("invalid repeat count", operator));
        }
        self.advance(usize::from(lazy));
        let until = |from: &'p str, rest: &str| &from[..from.len() - rest.len()];
        if let Some(last) = last {
            let both = until(last, self.rest);
            return Err(PatternError::new("invalid nested repetition operator", both));
        }
        let Some(inner) = self.group().last() else {
            let operator = until(before, self.rest);
            return Err(PatternError::new("missing argument to repetition operator", operator));
        };
        let copies = match copies {
            Copies::Any => inner,
            Copies::Counted { most: Some(0), .. } => 1,
            Copies::Counted { least, most } => inner.saturating_mul(most.unwrap_or(least).max(1)),
        };
        if copies > COPIES_MAX {
            return Err(PatternError::new("invalid repeat count", until(before, self.rest)));
        }
        self.out.push_str(operator);
        if lazy {
            self.out.push('?');
        }
        self.group().repeated(copies);
        Ok(())
    }
}

enum Copies {
    Any,
    Counted { least: u32, most: Option<u32> },
}

/// What `{1}`, `{1,}` and `{1,2}` say, and what follows; `None` when it is no such thing and the brace stands for itself.
fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (least, rest) = count(text.strip_prefix('{')?)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((least, Some(least), rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((least, None, rest));
    }
    let (most, rest) = count(rest)?;
    Some((least, Some(most), rest.strip_prefix('}')?))
}

/// A number without leading zeros; what is too big is the biggest.
fn count(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

/// Writes a character so that it stands for itself, inside of classes too.
fn put(out: &mut String, c: char) {
    if c.is_alphanumeric() {
        out.push(c);
    } else {
        // Writing to a text does not fail.
        let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
    }
}
