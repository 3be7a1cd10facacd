//! [`Quantity`]: an exact amount with Kubernetes' suffixes.

mod arithmetic;
mod text;

use crate::codec::Value;
use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};
use crate::{DecodeError, Str};

/// Which family of suffixes an amount is printed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `k`, `M`, `m`, ...
    #[default]
    DecimalSI = 0,
    /// `Ki`, `Mi`, ...
    BinarySI = 1,
    /// `e3`, `e-3`, ...
    DecimalExponent = 2,
}

/// An exact amount in billionths, with the format it prints in. 16 bytes.
///
/// Equality and order look at the amount alone: `1Ki` equals `1024`.
#[derive(Clone, Copy, Default)]
pub struct Quantity {
    /// The high and the low half of `nanos << 2 | format`.
    high: u64,
    low: u64,
}

/// Why text is no quantity; the texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text has not the shape of a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// The number is none.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
}

const NANO: i128 = 1_000_000_000;
/// Amounts are cut off here; ten thousand times what fits into Go's 64 bits.
const NANOS_MAX: i128 = i128::MAX >> 4;

impl Quantity {
    /// An amount of billionths.
    pub fn from_nanos(nanos: i128, format: Format) -> Self {
        let bits = (nanos.clamp(-NANOS_MAX, NANOS_MAX) << 2 | format as i128) as u128;
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// A whole amount.
    pub fn new(value: i64, format: Format) -> Self {
        Self::from_nanos(i128::from(value) * NANO, format)
    }

    /// An amount of thousandths, printed in decimal.
    pub fn from_millis(millis: i64) -> Self {
        Self::from_nanos(i128::from(millis) * 1_000_000, Format::DecimalSI)
    }

    /// A number of bytes, printed in binary.
    pub fn from_bytes(bytes: i64) -> Self {
        Self::new(bytes, Format::BinarySI)
    }

    /// Reads text such as `500m`, `1.5Gi`, `1e3`.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        text::parse(text)
    }

    /// Zero in the decimal format.
    pub fn zero() -> Self {
        Self::default()
    }

    /// The amount in billionths.
    pub fn nanos(self) -> i128 {
        (((self.high as u128) << 64 | self.low as u128) as i128) >> 2
    }

    /// The format it prints in.
    pub fn format(self) -> Format {
        match self.low & 3 {
            1 => Format::BinarySI,
            2 => Format::DecimalExponent,
            _ => Format::DecimalSI,
        }
    }

    /// The same amount in another format.
    pub fn with_format(self, format: Format) -> Self {
        Self::from_nanos(self.nanos(), format)
    }

    /// The amount rounded up to a whole number, as upstream's `Value()`.
    pub fn value(self) -> i64 {
        self.scaled(NANO)
    }

    /// The amount in thousandths, rounded up, as upstream's `MilliValue()`.
    pub fn milli_value(self) -> i64 {
        self.scaled(1_000_000)
    }

    fn scaled(self, unit: i128) -> i64 {
        let n = self.nanos();
        let up = if n >= 0 { (n + unit - 1) / unit } else { (n - unit + 1) / unit };
        up.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The amount as a float; may lose digits.
    pub fn as_f64(self) -> f64 {
        self.nanos() as f64 / 1e9
    }

    /// No amount.
    pub fn is_zero(self) -> bool {
        self.nanos() == 0
    }

    /// Below zero.
    pub fn is_negative(self) -> bool {
        self.nanos() < 0
    }

    /// A whole number.
    pub fn is_integer(self) -> bool {
        self.nanos() % NANO == 0
    }
}

impl Value for Quantity {
    fn is_empty(&self) -> bool {
        // A struct in Go: `omitempty` does not apply.
        false
    }
    fn is_zero(&self) -> bool {
        self.high == 0 && self.low == 0
    }
    fn write_json(&self, w: &mut JsonWriter) {
        use std::io::Write as _;
        // Writing to a vector cannot fail.
        let _ = write!(w.out, "\"{self}\"");
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if r.try_null()? {
            *self = Self::zero();
            return Ok(());
        }
        let parsed = if r.peek()? == b'"' {
            Self::parse(r.string()?.trim())
        } else {
            Self::parse(String::from_utf8_lossy(r.raw_value()?).trim())
        };
        *self = parsed.map_err(|e| DecodeError::text(e.to_string()))?;
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        let end = w.begin();
        w.bytes(1, self.to_string().as_bytes());
        w.end(number, end);
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        let mut text = Str::new();
        r.nested(wire, "Quantity", |number, wire, r| match number {
            1 => text.read_proto(wire, r),
            _ => r.skip(number, wire),
        })?;
        // An empty message is what a zero value may look like to other writers.
        *self = if text.is_empty() {
            Self::zero()
        } else {
            Self::parse(&text).map_err(|e| DecodeError::text(e.to_string()))?
        };
        Ok(())
    }
}
