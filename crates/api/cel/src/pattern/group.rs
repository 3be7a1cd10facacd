//! Groups, their flags and names.

use super::{DEPTH_MAX, PatternError, Reader};

/// A group that is open, as far as it was read.
#[derive(Default)]
pub(super) struct Group {
    /// Copies that repetitions make of what was read last, where that can be repeated.
    last: Option<u32>,
    /// The most copies of anything in the group.
    most: u32,
}

impl Group {
    /// Something came that can be repeated.
    pub(super) fn atom(&mut self, copies: u32) {
        self.last = Some(copies);
        self.most = self.most.max(copies);
    }

    /// What came last is repeated.
    pub(super) fn repeated(&mut self, copies: u32) {
        self.atom(copies);
    }

    /// Another alternative begins.
    pub(super) fn alternative(&mut self) {
        self.last = None;
    }

    /// Copies of what came last, if that can be repeated.
    pub(super) fn last(&self) -> Option<u32> {
        self.last
    }
}

impl<'p> Reader<'p> {
    pub(super) fn group(&mut self) -> &mut Group {
        if self.groups.is_empty() {
            self.groups.push(Group::default());
        }
        let innermost = self.groups.len() - 1;
        &mut self.groups[innermost]
    }

    pub(super) fn open(&mut self, written: &str) -> Result<(), PatternError> {
        if self.groups.len() > DEPTH_MAX {
            return Err(PatternError::new("expression nests too deeply", self.whole));
        }
        self.out.push_str(written);
        self.groups.push(Group::default());
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), PatternError> {
        if self.groups.len() < 2 {
            return Err(PatternError::new("unexpected )", self.whole));
        }
        self.advance(1);
        self.out.push(')');
        let most = self.groups.pop().map_or(1, |group| group.most.max(1));
        self.group().atom(most);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?:`, `(?i:` or `(?i)`.
    pub(super) fn flags_or_group(&mut self) -> Result<(), PatternError> {
        let begin = self.rest;
        for start in ["(?P<", "(?<"] {
            if let Some(after) = begin.strip_prefix(start).filter(|after| !after.is_empty()) {
                return self.named(begin, after);
            }
        }
        let (mut on, mut off, mut negated, mut seen) = (String::new(), String::new(), false, false);
        self.advance(2);
        while let Some(c) = self.rest.chars().next() {
            self.advance(c.len_utf8());
            match c {
                'i' | 'm' | 's' | 'U' => {
                    let flags = if negated { &mut off } else { &mut on };
                    if !flags.contains(c) {
                        flags.push(c);
                    }
                    seen = true;
                }
                '-' if !negated => (negated, seen) = (true, false),
                ':' | ')' if !negated || seen => {
                    on.retain(|flag| !off.contains(flag));
                    let minus = if negated { "-" } else { "" };
                    if c == ':' {
                        return self.open(&format!("(?{on}{minus}{off}:"));
                    }
                    if !on.is_empty() || negated {
                        self.out.push_str(&format!("(?{on}{minus}{off})"));
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        let part = &begin[..begin.len() - self.rest.len()];
        Err(PatternError::new("invalid or unsupported Perl syntax", part))
    }

    fn named(&mut self, begin: &'p str, after: &'p str) -> Result<(), PatternError> {
        let why = "invalid named capture";
        let Some(end) = after.find('>') else { return Err(PatternError::new(why, begin)) };
        let name = &after[..end];
        self.rest = &after[end + 1..];
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(PatternError::new(why, &begin[..begin.len() - self.rest.len()]));
        }
        // Nobody asks for what a group caught, and names may come twice.
        self.open("(?:")
    }
}
