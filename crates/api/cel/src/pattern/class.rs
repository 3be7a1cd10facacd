//! Classes of characters in brackets.

use super::{PatternError, Reader, put};

/// Named classes, which mean the same in both grammars.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

impl<'p> Reader<'p> {
    pub(super) fn class(&mut self) -> Result<(), PatternError> {
        let begin = self.rest;
        self.advance(1);
        let mut class = String::from("[");
        if self.rest.starts_with('^') {
            self.advance(1);
            class.push('^');
        }
        // A bracket that comes first closes nothing.
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(named) = self.named_class()? {
                class.push_str(named);
            } else if let Some(unicode) = self.unicode_class()? {
                class.push_str(&unicode);
            } else if let Some(perl) = self.perl_class() {
                class.push_str(perl);
            } else {
                self.range(begin, &mut class)?;
            }
        }
        self.advance(1);
        class.push(']');
        self.out.push_str(&class);
        self.group().atom(1);
        Ok(())
    }

    /// `[:alpha:]` and the like.
    fn named_class(&mut self) -> Result<Option<&'p str>, PatternError> {
        let begin = self.rest;
        let Some(end) = begin.strip_prefix("[:").and_then(|inner| inner.find(":]")) else { return Ok(None) };
        let (written, rest) = begin.split_at(end + 4);
        let name = &written[2..end + 2];
        if !NAMED.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(PatternError::range(written));
        }
        self.rest = rest;
        Ok(Some(written))
    }

    /// A character or a range of such.
    fn range(&mut self, class: &str, out: &mut String) -> Result<(), PatternError> {
        let begin = self.rest;
        let low = self.of_class(class)?;
        put(out, low);
        let more = self.rest.strip_prefix('-').filter(|more| !more.is_empty() && !more.starts_with(']'));
        if let Some(more) = more {
            self.rest = more;
            let high = self.of_class(class)?;
            if high < low {
                return Err(PatternError::range(&begin[..begin.len() - self.rest.len()]));
            }
            out.push('-');
            put(out, high);
        }
        Ok(())
    }

    fn of_class(&mut self, class: &str) -> Result<char, PatternError> {
        match self.rest.chars().next() {
            None => Err(PatternError::new("missing closing ]", class)),
            Some('\\') => self.character(),
            Some(c) => {
                self.advance(c.len_utf8());
                Ok(c)
            }
        }
    }
}
