//! How a [`Quantity`] lies in its 128 bits.
//!
//! The lowest two bits tell the form apart: an amount in billionths in one of three formats, or something else, of which
//! the next bit tells which. *Kept* is a text that was not canonical and that upstream keeps all the same; *wide* is a
//! decimal number too large for billionths. Both are only used where billionths do not do.

use super::{Format, NANOS_MAX, Quantity};

const OTHER: u128 = 3;
const MANTISSA_BITS: u32 = 60;
const WIDE_BITS: u32 = 96;
const WIDE_EXPONENT_BITS: u32 = 26;
const WIDE_EXPONENT_MAX: u32 = (1 << WIDE_EXPONENT_BITS) - 1;

/// `±mantissa · 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    pub(super) mantissa: u128,
    pub(super) exponent: i32,
}

/// A text as it was written: its number without the point, and what else stands around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) format: Format,
    pub(super) negative: bool,
    pub(super) plus: bool,
    /// Zeros in front of the number.
    pub(super) zeros: u8,
    /// Digits, at most 18 of them.
    pub(super) number: u64,
    /// A point is written.
    pub(super) point: bool,
    /// How many of the digits stand behind the point.
    pub(super) places: u8,
    /// The exponent that the suffix means, of 2 for the binary format and else of 10.
    pub(super) exponent: i32,
    /// The suffix is `E` and not `e`.
    pub(super) capital: bool,
    /// A sign that the exponent does not need.
    pub(super) sign: bool,
    /// Zeros in front of the exponent.
    pub(super) exponent_zeros: u8,
}

/// One of the three forms.
pub(super) enum Form {
    Nanos(i128, Format),
    Kept(Kept),
    Wide(Decimal, Format),
}

/// Takes and gives bits from the lowest on.
struct Bits(u128, u32);

impl Bits {
    fn put(&mut self, value: u128, bits: u32) {
        self.0 |= value << self.1;
        self.1 += bits;
    }

    fn take(&mut self, bits: u32) -> u128 {
        let value = self.0 & ((1 << bits) - 1);
        self.0 >>= bits;
        value
    }

    fn flag(&mut self) -> bool {
        self.take(1) == 1
    }
}

fn format_of(bits: u128) -> Format {
    match bits {
        1 => Format::BinarySI,
        2 => Format::DecimalExponent,
        _ => Format::DecimalSI,
    }
}

impl Quantity {
    fn from_bits(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    fn bits(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    pub(super) fn form(self) -> Form {
        let bits = self.bits();
        if bits & 3 != OTHER {
            return Form::Nanos(bits as i128 >> 2, format_of(bits & 3));
        }
        let mut bits = Bits(bits >> 2, 0);
        if bits.flag() {
            let format = format_of(bits.take(2));
            let negative = bits.flag();
            let mantissa = bits.take(WIDE_BITS);
            return Form::Wide(Decimal { negative, mantissa, exponent: bits.0 as i32 }, format);
        }
        Form::Kept(Kept {
            format: format_of(bits.take(2)),
            negative: bits.flag(),
            plus: bits.flag(),
            zeros: bits.take(5) as u8,
            number: bits.take(MANTISSA_BITS) as u64,
            point: bits.flag(),
            places: bits.take(5) as u8,
            exponent: bits.take(32) as u32 as i32,
            capital: bits.flag(),
            sign: bits.flag(),
            exponent_zeros: bits.take(3) as u8,
        })
    }

    /// A text as it was written, where there are bits for all of it.
    pub(super) fn kept(kept: Kept) -> Option<Self> {
        let fits = kept.number < 1 << MANTISSA_BITS && kept.zeros < 32 && kept.exponent_zeros < 8;
        if !fits || kept.places > 18 {
            return None;
        }
        let mut bits = Bits(OTHER, 3);
        bits.put(kept.format as u128, 2);
        bits.put(u128::from(kept.negative), 1);
        bits.put(u128::from(kept.plus), 1);
        bits.put(u128::from(kept.zeros), 5);
        bits.put(u128::from(kept.number), MANTISSA_BITS);
        bits.put(u128::from(kept.point), 1);
        bits.put(u128::from(kept.places), 5);
        bits.put(u128::from(kept.exponent as u32), 32);
        bits.put(u128::from(kept.capital), 1);
        bits.put(u128::from(kept.sign), 1);
        bits.put(u128::from(kept.exponent_zeros), 3);
        Some(Self::from_bits(bits.0))
    }

    /// A number in billionths where that is possible. Larger ones have 28 digits, further ones are rounded up.
    pub(super) fn of_decimal(decimal: Decimal, format: Format) -> Self {
        if let Some(nanos) = decimal.nanos() {
            return Self::from_nanos(nanos, format);
        }
        let mut wide = decimal.stripped();
        while wide.mantissa >= 1 << WIDE_BITS {
            let rest = wide.mantissa % 10;
            wide.mantissa = wide.mantissa / 10 + u128::from(rest > 0);
            wide.exponent = wide.exponent.saturating_add(1);
        }
        // A large number of few digits leaves more to its mantissa.
        while wide.exponent < 0 {
            wide.mantissa = wide.mantissa.div_ceil(10);
            wide.exponent += 1;
        }
        let exponent = wide.exponent.unsigned_abs().min(WIDE_EXPONENT_MAX);
        let mut bits = Bits(OTHER, 2);
        bits.put(1, 1);
        bits.put(format as u128, 2);
        bits.put(u128::from(wide.negative), 1);
        bits.put(wide.mantissa, WIDE_BITS);
        bits.put(u128::from(exponent), WIDE_EXPONENT_BITS);
        Self::from_bits(bits.0)
    }

    /// The amount as a decimal number.
    pub(super) fn decimal(self) -> Decimal {
        match self.form() {
            Form::Nanos(nanos, _) => {
                Decimal { negative: nanos < 0, mantissa: nanos.unsigned_abs(), exponent: -9 }
            }
            Form::Wide(decimal, _) => decimal,
            Form::Kept(kept) => kept.decimal(),
        }
    }
}

impl Kept {
    pub(super) fn decimal(&self) -> Decimal {
        let (negative, number) = (self.negative, u128::from(self.number));
        match self.format {
            // No more than 60 bits are kept of those.
            Format::BinarySI => {
                Decimal { negative, mantissa: number << self.exponent.clamp(0, 60), exponent: 0 }
            }
            _ => {
                let exponent = self.exponent.saturating_sub(i32::from(self.places));
                Decimal { negative, mantissa: number, exponent }
            }
        }
    }
}

impl Decimal {
    /// Without zeros at its end.
    pub(super) fn stripped(mut self) -> Self {
        if self.mantissa == 0 {
            return Decimal { negative: false, mantissa: 0, exponent: 0 };
        }
        while self.mantissa.is_multiple_of(10) {
            self.mantissa /= 10;
            self.exponent = self.exponent.saturating_add(1);
        }
        self
    }

    /// The number in billionths, where it is one of them and not too large.
    pub(super) fn nanos(self) -> Option<i128> {
        let Decimal { negative, mantissa, exponent } =
            if self.exponent < -9 { self.stripped() } else { self };
        if mantissa == 0 {
            return Some(0);
        }
        let shift = u32::try_from(exponent.checked_add(9)?).ok()?;
        let nanos = 10u128.checked_pow(shift)?.checked_mul(mantissa)?;
        let nanos = i128::try_from(nanos).ok().filter(|nanos| *nanos <= NANOS_MAX)?;
        Some(if negative { -nanos } else { nanos })
    }

    /// The place of the first digit, and the digits as far as there are 38 of them.
    pub(super) fn magnitude(self) -> (i64, u128) {
        if self.mantissa == 0 {
            return (i64::MIN, 0);
        }
        let digits = self.mantissa.ilog10();
        let aligned = match 37u32.checked_sub(digits) {
            Some(missing) => self.mantissa * 10u128.pow(missing),
            None => self.mantissa / 10,
        };
        (i64::from(self.exponent) + i64::from(digits), aligned)
    }
}
