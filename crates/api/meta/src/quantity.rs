//! [`Quantity`]: an exact amount with Kubernetes' suffixes.

mod arithmetic;
mod form;
mod text;

use crate::codec::Value;
use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};
use crate::{DecodeError, Str};
use form::Form;

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

/// An amount in billionths, with the format it prints in. 16 bytes.
///
/// It is exact up to 10^28, and has 28 digits beyond. A text that upstream does not bring into its canonical form
/// (`+5`, `1.125`, `1E3`) is kept as it is until it is reckoned with.
/// Equality and order look at the amount alone: `1Ki` equals `1024`.
#[derive(Clone, Copy, Default)]
pub struct Quantity {
    /// The high and the low half of what `form` describes; mostly `nanos << 2 | format`.
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
/// Amounts beyond are no longer held in billionths.
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

    /// The amount in billionths, cut off at 10^28.
    pub fn nanos(self) -> i128 {
        self.exact().unwrap_or(if self.is_negative() { -NANOS_MAX } else { NANOS_MAX })
    }

    /// The amount in billionths, unless it is too large.
    fn exact(self) -> Option<i128> {
        match self.form() {
            Form::Nanos(nanos, _) => Some(nanos),
            _ => self.decimal().nanos(),
        }
    }

    /// The format it prints in.
    pub fn format(self) -> Format {
        match self.form() {
            Form::Nanos(_, format) | Form::Wide(_, format) => format,
            Form::Kept(kept) => kept.format,
        }
    }

    /// The same amount in another format.
    pub fn with_format(self, format: Format) -> Self {
        if self.format() == format { self } else { Self::of_decimal(self.decimal(), format) }
    }

    /// The amount rounded up to a whole number, as upstream's `Value()`.
    pub fn value(self) -> i64 {
        self.scaled(NANO)
    }

    /// The amount in thousandths, rounded up, as upstream's `MilliValue()`.
    pub fn milli_value(self) -> i64 {
        self.scaled(1_000_000)
    }

    /// The amount in whole thousandths, rounded away from zero, as upstream's `RoundUp(Milli)`; as it was written where it
    /// is one already.
    pub fn in_millis(self) -> Self {
        const MILLI: i128 = 1_000_000;
        match self.exact() {
            Some(nanos) if nanos % MILLI != 0 => {
                Self::from_nanos((nanos / MILLI + nanos.signum()) * MILLI, self.format())
            }
            _ => self,
        }
    }

    fn scaled(self, unit: i128) -> i64 {
        let n = self.nanos();
        let up = if n >= 0 { (n + unit - 1) / unit } else { (n - unit + 1) / unit };
        up.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The amount as a float; may lose digits.
    pub fn as_f64(self) -> f64 {
        match self.exact() {
            Some(nanos) => nanos as f64 / 1e9,
            None => {
                let decimal = self.decimal();
                let sign = if decimal.negative { "-" } else { "" };
                // Digits and an exponent are a number, if an infinite one.
                format!("{sign}{}e{}", decimal.mantissa, decimal.exponent).parse().unwrap_or(f64::INFINITY)
            }
        }
    }

    /// No amount.
    pub fn is_zero(self) -> bool {
        self.decimal().mantissa == 0
    }

    /// Below zero.
    pub fn is_negative(self) -> bool {
        self.decimal().negative
    }

    /// A whole number.
    pub fn is_integer(self) -> bool {
        self.exact().is_none_or(|nanos| nanos % NANO == 0)
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
