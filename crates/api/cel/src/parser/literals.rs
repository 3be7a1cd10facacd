//! The values of literals.

use std::rc::Rc;

use crate::ast::Literal;

/// The value of a number, with its sign in front.
pub fn int(text: &str, negative: bool) -> Result<Literal, String> {
    let (digits, radix) = radix(text);
    let value = i128::from_str_radix(digits, radix).map(|value| if negative { -value } else { value });
    let value = value.ok().and_then(|value| i64::try_from(value).ok());
    value.map(Literal::Int).ok_or_else(|| "invalid int literal".to_owned())
}

/// The value of a number that ends in `u`.
pub fn uint(text: &str) -> Result<Literal, String> {
    let (digits, radix) = radix(&text[..text.len() - 1]);
    u64::from_str_radix(digits, radix).map(Literal::Uint).map_err(|_| "invalid uint literal".to_owned())
}

/// The value of a number with a fraction or an exponent.
pub fn double(text: &str, negative: bool) -> Result<Literal, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Literal::Double(if negative { -value } else { value })),
        _ => Err("invalid double literal".to_owned()),
    }
}

fn radix(text: &str) -> (&str, u32) {
    text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16))
}

/// The value of a string literal, quotes and escapes resolved.
pub fn string(text: &str) -> Result<Literal, String> {
    let bytes = unescape(text, false)?;
    let text = String::from_utf8(bytes).map_err(|_| "invalid unicode code point".to_owned())?;
    Ok(Literal::String(Rc::from(text)))
}

/// The value of a bytes literal.
pub fn bytes(text: &str) -> Result<Literal, String> {
    Ok(Literal::Bytes(Rc::from(unescape(&text[1..], true)?)))
}

fn unescape(text: &str, is_bytes: bool) -> Result<Vec<u8>, String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let raw = text.strip_prefix(['r', 'R']);
    let quoted = raw.unwrap_or(&text);
    let inside = if quoted.len() >= 6 && (quoted.starts_with("\"\"\"") || quoted.starts_with("'''")) {
        &quoted[3..quoted.len() - 3]
    } else {
        &quoted[1..quoted.len() - 1]
    };
    if raw.is_some() || !inside.contains('\\') {
        return Ok(inside.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(&mut out, c);
            continue;
        }
        let (digits, radix, first) = match chars.next() {
            Some('a') => (0, 0, 7),
            Some('b') => (0, 0, 8),
            Some('f') => (0, 0, 12),
            Some('n') => (0, 0, 10),
            Some('r') => (0, 0, 13),
            Some('t') => (0, 0, 9),
            Some('v') => (0, 0, 11),
            Some('x' | 'X') => (2, 16, 0),
            Some('u') if !is_bytes => (4, 16, 0),
            Some('U') if !is_bytes => (8, 16, 0),
            Some(digit @ '0'..='3') => (2, 8, digit as u32 - '0' as u32),
            Some(c @ ('\\' | '\'' | '"' | '`' | '?')) => (0, 0, c as u32),
            _ => return Err("unable to unescape string".to_owned()),
        };
        let mut code = first;
        for _ in 0..digits {
            let digit = chars.next().and_then(|c| c.to_digit(radix));
            code = code.wrapping_mul(radix) | digit.ok_or("unable to unescape string")?;
        }
        if is_bytes {
            out.push(code as u8);
        } else {
            push(&mut out, char::from_u32(code).ok_or("invalid unicode code point")?);
        }
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
