//! What follows a backslash.

use regex::Regex;

use super::{PatternError, Reader};

/// Where no word of ASCII begins or ends.
const NO_BOUNDARY: &str = r"(?-u:\B)";

impl<'p> Reader<'p> {
    /// A backslash outside of classes.
    pub(super) fn escaped(&mut self) -> Result<(), PatternError> {
        let begin = self.rest;
        let anchor = match begin.as_bytes().get(1) {
            Some(b'A') => r"\A",
            Some(b'z') => r"\z",
            // Words are of ASCII.
            Some(b'b') => r"(?-u:\b)",
            Some(b'B') => NO_BOUNDARY,
            Some(b'C') => return Err(PatternError::escape(&begin[..2])),
            Some(b'Q') => {
                let (literal, rest) = begin[2..].split_once(r"\E").unwrap_or((&begin[2..], ""));
                literal.chars().for_each(|c| self.put(c));
                self.rest = rest;
                return Ok(());
            }
            _ => "",
        };
        if !anchor.is_empty() {
            self.advance(2);
            self.out.push_str(anchor);
            self.group().atom(1);
            return Ok(());
        }
        if let Some(class) = self.unicode_class()? {
            self.out.push_str(&class);
            self.group().atom(1);
        } else if let Some(class) = self.perl_class() {
            self.out.push_str(class);
            self.group().atom(1);
        } else {
            let c = self.character()?;
            self.put(c);
        }
        Ok(())
    }

    /// `\d` and the like, of ASCII.
    pub(super) fn perl_class(&mut self) -> Option<&'static str> {
        let class = match self.rest.get(..2)? {
            r"\d" => "[0-9]",
            r"\D" => "[^0-9]",
            r"\s" => r"[\t\n\f\r ]",
            r"\S" => r"[^\t\n\f\r ]",
            r"\w" => "[0-9A-Za-z_]",
            r"\W" => "[^0-9A-Za-z_]",
            _ => return None,
        };
        self.advance(2);
        Some(class)
    }

    /// `\p{Greek}`, `\pL` and their negations.
    pub(super) fn unicode_class(&mut self) -> Result<Option<String>, PatternError> {
        let begin = self.rest;
        let Some(after) = begin.strip_prefix(r"\p").or_else(|| begin.strip_prefix(r"\P")) else {
            return Ok(None);
        };
        let (name, rest) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| PatternError::range(begin))?,
            None => after.split_at(after.chars().next().map_or(0, char::len_utf8)),
        };
        self.rest = rest;
        let mut negated = begin.starts_with(r"\P");
        let positive = name.strip_prefix('^');
        negated ^= positive.is_some();
        let name = positive.unwrap_or(name);
        let found = match self.classes.get(name) {
            Some(found) => found.clone(),
            None => {
                let found = class_of(name);
                self.classes.insert(name.to_owned(), found.clone());
                found
            }
        };
        match found {
            Some(class) => Ok(Some(format!("\\{}{class}", if negated { 'P' } else { 'p' }))),
            None => Err(PatternError::range(&begin[..begin.len() - rest.len()])),
        }
    }

    /// A backslash and what it makes a character of.
    pub(super) fn character(&mut self) -> Result<char, PatternError> {
        let begin = self.rest;
        let mut chars = begin[1..].chars();
        let Some(c) = chars.next() else {
            return Err(PatternError::new("trailing backslash at end of expression", ""));
        };
        let octal = |c: Option<char>| c.and_then(|c| c.to_digit(8));
        let found = match c {
            '0'..='7' if c == '0' || octal(chars.clone().next()).is_some() => {
                let mut code = u32::from(c) - u32::from('0');
                for _ in 0..2 {
                    let Some(digit) = octal(chars.clone().next()) else { break };
                    code = code * 8 + digit;
                    chars.next();
                }
                char::from_u32(code)
            }
            'x' => hexadecimal(&mut chars),
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c),
            _ => None,
        };
        self.rest = chars.as_str();
        found.ok_or_else(|| PatternError::escape(&begin[..begin.len() - self.rest.len()]))
    }
}

/// The class of a category or a script, as it is written behind `\p`.
fn class_of(name: &str) -> Option<String> {
    let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || " _-".contains(c));
    let mut known = ["gc", "sc"].into_iter().map(|kind| format!("{{{kind}={name}}}"));
    known.find(|class| sound && Regex::new(&format!("\\p{class}")).is_ok())
}

/// `\x7F` or `\x{10FFFF}`, from behind the `x`.
fn hexadecimal(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let first = chars.next()?;
    if first != '{' {
        let second = chars.next()?;
        return char::from_u32(first.to_digit(16)? * 16 + second.to_digit(16)?);
    }
    let (mut code, mut digits) = (0u32, false);
    loop {
        match chars.next()? {
            '}' if digits => return char::from_u32(code),
            c => {
                code = code * 16 + c.to_digit(16)?;
                digits = true;
                if code > u32::from(char::MAX) {
                    return None;
                }
            }
        }
    }
}
