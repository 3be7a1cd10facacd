//! [`IntOrString`]: a port or a percentage.

use std::fmt;

use crate::codec::Value;
use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};
use crate::{DecodeError, Str};

/// An integer or a string; a number or a string in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A name or a percentage.
    String(Str),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl IntOrString {
    /// A number out of text where the text is one, as upstream's `intstr.Parse`.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::String(text.into()), Self::Int)
    }

    /// The number, or the string read as a number; 0 when it is none.
    pub fn int_value(&self) -> i32 {
        match self {
            Self::Int(n) => *n,
            Self::String(s) => s.parse().unwrap_or(0),
        }
    }

    /// The number when it is one.
    pub fn as_int(&self) -> Option<i32> {
        match self {
            Self::Int(n) => Some(*n),
            Self::String(_) => None,
        }
    }

    /// The string when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Int(_) => None,
            Self::String(s) => Some(s),
        }
    }

    /// A percentage's number; `None` when it is not of the form `10%`.
    pub fn percent(&self) -> Option<i32> {
        match self {
            Self::Int(_) => None,
            Self::String(s) => s.strip_suffix('%')?.parse().ok(),
        }
    }

    /// The number itself, or the percentage of `total`, rounded up or down. The error is upstream's text.
    pub fn scaled_value(&self, total: i32, round_up: bool) -> Result<i32, String> {
        match self {
            Self::Int(n) => Ok(*n),
            Self::String(s) => {
                let Some(number) = s.strip_suffix('%') else {
                    return Err("invalid type: string is not a percentage".to_owned());
                };
                let percent: i64 =
                    number.parse().map_err(|_| format!("invalid value {}", crate::go_quote(s)))?;
                let product = percent.saturating_mul(i64::from(total));
                let value = if round_up {
                    product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
                } else {
                    product.div_euclid(100)
                };
                Ok(value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
            }
        }
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::String(s) => f.write_str(s),
        }
    }
}

impl From<i32> for IntOrString {
    fn from(n: i32) -> Self {
        Self::Int(n)
    }
}

impl From<&str> for IntOrString {
    fn from(s: &str) -> Self {
        Self::String(s.into())
    }
}

impl Value for IntOrString {
    fn is_empty(&self) -> bool {
        // A struct in Go: `omitempty` does not apply.
        false
    }
    fn is_zero(&self) -> bool {
        *self == Self::Int(0)
    }
    fn write_json(&self, w: &mut JsonWriter) {
        match self {
            Self::Int(n) => w.integer(i64::from(*n)),
            Self::String(s) => w.string(s),
        }
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if r.peek()? == b'"' {
            *self = Self::String(Str::from(&*r.string()?));
            return Ok(());
        }
        let mut n = 0i32;
        if !r.try_null()? {
            if !matches!(r.peek()?, b'-' | b'0'..=b'9') {
                return Err(r.mismatch(Some("int32")));
            }
            let text = r.number()?;
            n = text.parse().map_err(|_| DecodeError::mismatch(format!("number {text}"), Some("int32")))?;
        }
        *self = Self::Int(n);
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        let end = w.begin();
        let (kind, int, string) = match self {
            Self::Int(n) => (0, *n, ""),
            Self::String(s) => (1, 0, s.as_str()),
        };
        w.bytes(3, string.as_bytes());
        w.integer(2, i64::from(int) as u64);
        w.integer(1, kind);
        w.end(number, end);
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        let (mut kind, mut int, mut string) = (0, 0, Str::new());
        r.nested(wire, "IntOrString", |number, wire, r| match number {
            1 => {
                kind = r.integer(wire)?;
                Ok(())
            }
            2 => int.read_proto(wire, r),
            3 => string.read_proto(wire, r),
            _ => r.skip(number, wire),
        })?;
        *self = if kind == 0 { Self::Int(int) } else { Self::String(string) };
        Ok(())
    }
}
