//! Syntax of JSON without meaning: finds the end of a value with an explicit stack, and names errors as Go does.

use crate::DecodeError;
use crate::go::go_quote_char;

/// Go's limit on nesting.
const DEPTH_MAX: usize = 10_000;

/// Checks that the whole input is one JSON value.
pub fn check_syntax(buf: &[u8]) -> Result<(), DecodeError> {
    let end = skip_value(buf, 0)?;
    let end = skip_space(buf, end);
    match buf.get(end) {
        None => Ok(()),
        Some(&c) => Err(invalid(c, "after top-level value", end)),
    }
}

pub(super) fn skip_space(buf: &[u8], mut pos: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = buf.get(pos) {
        pos += 1;
    }
    pos
}

pub(super) fn eof(pos: usize) -> DecodeError {
    DecodeError::syntax("unexpected end of JSON input", pos)
}

#[cold]
pub(super) fn invalid(c: u8, context: &str, pos: usize) -> DecodeError {
    DecodeError::syntax(format!("invalid character {} {context}", go_quote_char(c)), pos)
}

/// Skips one value and gives the position after it.
pub(super) fn skip_value(buf: &[u8], pos: usize) -> Result<usize, DecodeError> {
    // One byte a level: what closes it.
    let mut stack: Vec<u8> = Vec::new();
    let mut pos = pos;
    loop {
        pos = skip_space(buf, pos);
        match buf.get(pos) {
            None => return Err(eof(pos)),
            Some(b'{') => {
                pos = skip_space(buf, pos + 1);
                if buf.get(pos) != Some(&b'}') {
                    push(&mut stack, b'}', pos)?;
                    pos = object_key(buf, pos, "looking for beginning of object key string")?;
                    continue;
                }
                pos += 1;
            }
            Some(b'[') => {
                pos = skip_space(buf, pos + 1);
                if buf.get(pos) != Some(&b']') {
                    push(&mut stack, b']', pos)?;
                    continue;
                }
                pos += 1;
            }
            Some(b'"') => pos = skip_string(buf, pos)?,
            Some(b't') => pos = literal(buf, pos, b"true")?,
            Some(b'f') => pos = literal(buf, pos, b"false")?,
            Some(b'n') => pos = literal(buf, pos, b"null")?,
            Some(b'-' | b'0'..=b'9') => pos = skip_number(buf, pos)?,
            Some(&c) => return Err(invalid(c, "looking for beginning of value", pos)),
        }
        // A value ended: close what it ends, or go on to the next one.
        loop {
            let Some(&close) = stack.last() else { return Ok(pos) };
            pos = skip_space(buf, pos);
            match buf.get(pos) {
                None => return Err(eof(pos)),
                Some(&c) if c == close => {
                    stack.pop();
                    pos += 1;
                }
                Some(b',') => {
                    pos += 1;
                    if close == b'}' {
                        pos = object_key(buf, pos, "looking for beginning of object key string")?;
                    }
                    break;
                }
                Some(&c) => {
                    let context =
                        if close == b'}' { "after object key:value pair" } else { "after array element" };
                    return Err(invalid(c, context, pos));
                }
            }
        }
    }
}

fn push(stack: &mut Vec<u8>, close: u8, pos: usize) -> Result<(), DecodeError> {
    if stack.len() >= DEPTH_MAX {
        return Err(DecodeError::syntax("exceeded max depth", pos));
    }
    stack.push(close);
    Ok(())
}

/// Skips a key and its colon.
fn object_key(buf: &[u8], pos: usize, context: &str) -> Result<usize, DecodeError> {
    let pos = skip_space(buf, pos);
    match buf.get(pos) {
        None => Err(eof(pos)),
        Some(b'"') => colon(buf, skip_string(buf, pos)?),
        Some(&c) => Err(invalid(c, context, pos)),
    }
}

pub(super) fn colon(buf: &[u8], pos: usize) -> Result<usize, DecodeError> {
    let pos = skip_space(buf, pos);
    match buf.get(pos) {
        None => Err(eof(pos)),
        Some(b':') => Ok(pos + 1),
        Some(&c) => Err(invalid(c, "after object key", pos)),
    }
}

/// Skips a string whose opening quote is at `pos`.
pub(super) fn skip_string(buf: &[u8], pos: usize) -> Result<usize, DecodeError> {
    let mut i = pos + 1;
    loop {
        match buf.get(i) {
            None => return Err(eof(i)),
            Some(b'"') => return Ok(i + 1),
            Some(b'\\') => match buf.get(i + 1) {
                None => return Err(eof(i)),
                Some(b'u') => {
                    for k in 2..6 {
                        match buf.get(i + k) {
                            None => return Err(eof(i)),
                            Some(c) if c.is_ascii_hexdigit() => {}
                            Some(&c) => return Err(invalid(c, "in \\u hexadecimal character escape", i + k)),
                        }
                    }
                    i += 6;
                }
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => i += 2,
                Some(&c) => return Err(invalid(c, "in string escape code", i + 1)),
            },
            Some(&c) if c < 0x20 => return Err(invalid(c, "in string literal", i)),
            Some(_) => i += 1,
        }
    }
}

pub(super) fn literal(buf: &[u8], pos: usize, word: &[u8]) -> Result<usize, DecodeError> {
    for (i, &expected) in word.iter().enumerate() {
        match buf.get(pos + i) {
            None => return Err(eof(pos + i)),
            Some(&c) if c == expected => {}
            Some(&c) => {
                let context = format!(
                    "in literal {} (expecting {})",
                    String::from_utf8_lossy(word),
                    go_quote_char(expected)
                );
                return Err(invalid(c, &context, pos + i));
            }
        }
    }
    Ok(pos + word.len())
}

pub(super) fn skip_number(buf: &[u8], pos: usize) -> Result<usize, DecodeError> {
    let mut i = pos;
    if buf.get(i) == Some(&b'-') {
        i += 1;
    }
    let digits = |mut i: usize, context: &str| -> Result<usize, DecodeError> {
        match buf.get(i) {
            None => return Err(eof(i)),
            Some(b'0'..=b'9') => {}
            Some(&c) => return Err(invalid(c, context, i)),
        }
        while let Some(b'0'..=b'9') = buf.get(i) {
            i += 1;
        }
        Ok(i)
    };
    if buf.get(i) == Some(&b'0') {
        i += 1;
    } else {
        i = digits(i, "in numeric literal")?;
    }
    if buf.get(i) == Some(&b'.') {
        i = digits(i + 1, "after decimal point in numeric literal")?;
    }
    if let Some(b'e' | b'E') = buf.get(i) {
        i += 1;
        if let Some(b'+' | b'-') = buf.get(i) {
            i += 1;
        }
        i = digits(i, "in exponent of numeric literal")?;
    }
    Ok(i)
}
