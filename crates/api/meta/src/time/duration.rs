//! [`Duration`]: Go's `1h30m0s`.

use std::fmt;

use crate::DecodeError;
use crate::codec::Value;
use crate::go::go_quote;
use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};

/// A span of time; a string such as `1m30s` in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    /// Nanoseconds, negative when the span goes backwards.
    pub nanos: i64,
}

const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Duration {
    /// From whole seconds.
    pub fn from_secs(seconds: i64) -> Self {
        Self { nanos: seconds.saturating_mul(1_000_000_000) }
    }

    /// Seconds with fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.nanos as f64 / 1e9
    }

    /// As the standard library's type; negative spans become zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.nanos).unwrap_or(0))
    }

    /// Reads Go's form. The error text is Go's.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let invalid = || DecodeError::text(format!("time: invalid duration {}", go_quote(text)));
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
            let value: i128 = if whole == 0 { 0 } else { rest[..whole].parse().map_err(|_| invalid())? };
            rest = &rest[whole..];
            let mut fraction = "";
            if let Some(after) = rest.strip_prefix('.') {
                let n = after.bytes().take_while(u8::is_ascii_digit).count();
                fraction = &after[..n];
                rest = &after[n..];
            }
            if whole == 0 && fraction.is_empty() {
                return Err(invalid());
            }
            let name_len = rest.bytes().take_while(|b| *b != b'.' && !b.is_ascii_digit()).count();
            let name = &rest[..name_len];
            if name.is_empty() {
                return Err(DecodeError::text(format!("time: missing unit in duration {}", go_quote(text))));
            }
            let Some((_, unit)) = UNITS.iter().find(|(n, _)| *n == name) else {
                return Err(DecodeError::text(format!(
                    "time: unknown unit {} in duration {}",
                    go_quote(name),
                    go_quote(text)
                )));
            };
            rest = &rest[name_len..];
            total = value
                .checked_mul(i128::from(*unit))
                .and_then(|v| total.checked_add(v))
                .ok_or_else(invalid)?;
            let mut scale = i128::from(*unit);
            let mut part: i128 = 0;
            let mut divisor: i128 = 1;
            for digit in fraction.bytes().take(18) {
                part = part * 10 + i128::from(digit - b'0');
                divisor *= 10;
            }
            scale = part * scale / divisor;
            total += scale;
            if total > i128::from(i64::MAX) + i128::from(negative) {
                return Err(invalid());
            }
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed).map(|nanos| Self { nanos }).map_err(|_| invalid())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0s");
        }
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        let n = self.nanos.unsigned_abs();
        let fraction = |f: &mut fmt::Formatter<'_>, unit: u64, name: &str| {
            let digits = unit.ilog10() as usize;
            let part = format!("{:0digits$}", n % unit);
            let part = part.trim_end_matches('0');
            let dot = if part.is_empty() { "" } else { "." };
            write!(f, "{}{dot}{part}{name}", n / unit)
        };
        match n {
            0..=999 => write!(f, "{n}ns"),
            1_000..=999_999 => fraction(f, 1_000, "µs"),
            1_000_000..=999_999_999 => fraction(f, 1_000_000, "ms"),
            _ => {
                let seconds = n / 1_000_000_000;
                let (h, m) = (seconds / 3600, seconds / 60 % 60);
                if h > 0 {
                    write!(f, "{h}h{m}m")?;
                } else if m > 0 {
                    write!(f, "{m}m")?;
                }
                let part = format!("{:09}", n % 1_000_000_000);
                let part = part.trim_end_matches('0');
                let dot = if part.is_empty() { "" } else { "." };
                write!(f, "{}{dot}{part}s", seconds % 60)
            }
        }
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Value for Duration {
    fn is_empty(&self) -> bool {
        // A struct in Go: `omitempty` does not apply.
        false
    }
    fn is_zero(&self) -> bool {
        self.nanos == 0
    }
    fn write_json(&self, w: &mut JsonWriter) {
        w.string(&self.to_string());
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if r.try_null()? {
            return Ok(());
        }
        if r.peek()? != b'"' {
            return Err(r.mismatch(Some("string")));
        }
        *self = Self::parse(&r.string()?)?;
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        let end = w.begin();
        self.nanos.put_proto(1, w);
        w.end(number, end);
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        let mut nanos = 0i64;
        r.nested(wire, "Duration", |number, wire, r| match number {
            1 => nanos.read_proto(wire, r),
            _ => r.skip(number, wire),
        })?;
        self.nanos = nanos;
        Ok(())
    }
}
