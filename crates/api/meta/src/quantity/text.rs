//! Reading and printing quantities in their canonical form.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::form::{Decimal, Form, Kept};
use super::{Format, NANO, Quantity, QuantityError};

const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[&str] = &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

pub(super) fn parse(text: &str) -> Result<Quantity, QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(QuantityError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, mut rest) = rest.split_at(whole_len);
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        let len = after.bytes().take_while(u8::is_ascii_digit).count();
        (fraction, rest) = after.split_at(len);
    }
    let suffix = rest;
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let exponent = suffix[letters..].strip_prefix(['+', '-']).unwrap_or(&suffix[letters..]);
    if !exponent.bytes().all(|b| b.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(QuantityError::Numeric);
    }
    let (base_two, exponent, format) = suffix_of(suffix).ok_or(QuantityError::Suffix)?;
    let (number, whole_zeros) = (whole.trim_start_matches('0'), whole.len());
    let text = Text {
        negative,
        plus: text.starts_with('+'),
        zeros: whole_zeros - number.len(),
        number,
        fraction,
        point: text.contains('.'),
        suffix,
        exponent,
        format,
    };
    if let Some(kept) = text.kept() {
        return Ok(kept);
    }
    if !base_two {
        return Ok(Quantity::of_decimal(decimal(negative, whole, fraction, exponent), format));
    }
    let amount = binary(whole, fraction, exponent);
    // Less than one of a binary unit reads better in decimal.
    let format = if amount > 0 && amount < NANO { Format::DecimalSI } else { format };
    Ok(Quantity::from_nanos(if negative { -amount } else { amount }, format))
}

/// The parts of a text.
struct Text<'a> {
    negative: bool,
    plus: bool,
    zeros: usize,
    /// Digits in front of the point, without zeros in front of them.
    number: &'a str,
    fraction: &'a str,
    point: bool,
    suffix: &'a str,
    exponent: i32,
    format: Format,
}

impl Text<'_> {
    /// The text as it is, where upstream's `ParseQuantity` takes it for canonical although it is not: what fits into its 64
    /// bits, and has a suffix that it would have had anyway.
    fn kept(&self) -> Option<Quantity> {
        const DIGITS_MAX: i32 = 18;
        // Digits of the largest amount in billionths, less one.
        const PLACES_MAX: i64 = 28;
        let is_decorated =
            self.plus || self.zeros > 0 || self.point || self.format == Format::DecimalExponent;
        let is_large = self.format != Format::BinarySI
            && self.number.len() as i64 + i64::from(self.exponent) > PLACES_MAX;
        if !is_decorated && !is_large {
            return None;
        }
        let digits = i32::try_from(self.number.len() + self.fraction.len()).ok()?;
        let places = i32::try_from(self.fraction.len()).ok()?;
        // Without digits in front of the point there is a zero.
        let written: String = [self.number, self.fraction].concat();
        let has_zero = self.number.is_empty();
        let number: u64 = written.parse().ok()?;
        let stays = match self.format {
            Format::BinarySI => {
                let precise = 14 - digits - self.exponent * 3 / 10 >= 0;
                self.fraction.is_empty() && precise && number & 7 != 0
            }
            _ => {
                let scale = self.exponent.checked_sub(places)?;
                let few = digits + i32::from(has_zero) <= DIGITS_MAX;
                few && scale >= -9 && scale % 3 == 0 && !written.ends_with("000") && !has_zero
            }
        };
        if !stays {
            return None;
        }
        let exponent_text = match self.format {
            Format::DecimalExponent => &self.suffix[1..],
            _ => "",
        };
        let unsigned = exponent_text.strip_prefix(['+', '-']).unwrap_or(exponent_text);
        let significant = unsigned.trim_start_matches('0');
        // One digit is there in any case.
        let exponent_zeros = unsigned.len() - significant.len().max(1).min(unsigned.len());
        let sign = exponent_text.starts_with('+') || (exponent_text.starts_with('-') && self.exponent == 0);
        let kept = Kept {
            format: self.format,
            negative: self.negative,
            plus: self.plus,
            zeros: u8::try_from(self.zeros).ok()?,
            number,
            point: self.point,
            places: u8::try_from(places).ok()?,
            exponent: self.exponent,
            capital: self.format == Format::DecimalExponent && self.suffix.starts_with('E'),
            sign,
            exponent_zeros: u8::try_from(exponent_zeros).ok()?,
        };
        let plain_exponent = self.format != Format::DecimalExponent || self.exponent != 0;
        let is_canonical = !(kept.plus || kept.zeros > 0 || kept.point || kept.capital || kept.sign)
            && kept.exponent_zeros == 0
            && plain_exponent;
        if is_canonical && kept.decimal().nanos().is_some() {
            return None;
        }
        // Only a sign that the exponent has anyway can be told.
        let told = !(exponent_text.starts_with('-') && self.exponent == 0);
        told.then(|| Quantity::kept(kept)).flatten()
    }
}

/// Whether the base is two, the exponent, and the format.
fn suffix_of(suffix: &str) -> Option<(bool, i32, Format)> {
    if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Some((false, *e, Format::DecimalSI));
    }
    if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
        return Some((true, i as i32 * 10, Format::BinarySI));
    }
    let digits = suffix.strip_prefix(['e', 'E'])?;
    // The smallest one has no counterpart.
    let exponent = digits.parse().ok().filter(|exponent| *exponent > i32::MIN)?;
    Some((false, exponent, Format::DecimalExponent))
}

/// `whole.fraction * 10^exponent`, rounded up to billionths, and to 38 digits.
fn decimal(negative: bool, whole: &str, fraction: &str, exponent: i32) -> Decimal {
    const DIGITS_MAX: i64 = 38;
    let digits = match fraction {
        "" => Cow::Borrowed(whole),
        fraction => Cow::Owned([whole, fraction].concat()),
    };
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    let length = significant.len() as i64;
    // Of the last significant digit.
    let lowest = i64::from(exponent) - fraction.len() as i64 + (digits.len() as i64 - length);
    let dropped = (length - DIGITS_MAX).max(-9 - lowest).max(0);
    let exponent = i32::try_from(lowest + dropped).unwrap_or(i32::MAX);
    if length == 0 || dropped >= length {
        // Not nothing, but less than the least.
        return Decimal { negative, mantissa: u128::from(length > 0), exponent: -9 };
    }
    let (keep, cut) = significant.split_at((length - dropped) as usize);
    Decimal { negative, mantissa: number(keep) as u128 + u128::from(!cut.is_empty()), exponent }
}

/// Billionths of `whole.fraction * 2^exponent`, rounded up, cut off at what Go can hold.
fn binary(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let cap = i128::from(i64::MAX) * NANO;
    let whole = whole.trim_start_matches('0');
    if whole.len() > 19 {
        return cap;
    }
    let factor = 1i128 << exponent;
    let whole = number(whole).saturating_mul(factor).saturating_mul(NANO);
    // Digits beyond the eighteenth can only round up.
    let (head, tail) = fraction.split_at(fraction.len().min(18));
    let scale = 10i128.pow(head.len() as u32);
    let product = number(head) * factor;
    let rest = (product % scale) * NANO;
    let up = i128::from(rest % scale != 0 || tail.bytes().any(|b| b != b'0'));
    whole.saturating_add(product / scale * NANO + rest / scale + up).min(cap)
}

fn number(digits: &str) -> i128 {
    digits.bytes().fold(0, |n, b| n * 10 + i128::from(b - b'0'))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nanos, format) = match self.form() {
            Form::Nanos(nanos, format) => (nanos, format),
            Form::Kept(kept) => return kept.fmt(f),
            Form::Wide(decimal, format) => return wide(decimal, format, f),
        };
        if nanos == 0 {
            return f.write_str("0");
        }
        let large = nanos.abs() >= 1024 * NANO;
        if format == Format::BinarySI && large && nanos % NANO == 0 {
            let mut n = nanos / NANO;
            let mut i = 0;
            while n % 1024 == 0 && i + 1 < BINARY.len() {
                n /= 1024;
                i += 1;
            }
            return write!(f, "{n}{}", BINARY[i]);
        }
        let mut n = nanos;
        let mut exponent = -9;
        while n % 1000 == 0 && exponent < 18 {
            n /= 1000;
            exponent += 3;
        }
        if format == Format::DecimalExponent {
            while n % 1000 == 0 {
                n /= 1000;
                exponent += 3;
            }
            return if exponent == 0 { write!(f, "{n}") } else { write!(f, "{n}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
        write!(f, "{n}{suffix}")
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (self.negative, self.plus) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let digits = self.number.to_string();
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(usize::from(self.places)));
        let point = if self.point { "." } else { "" };
        write!(f, "{sign}{:0<zeros$}{whole}{point}{fraction}", "", zeros = usize::from(self.zeros))?;
        match self.format {
            Format::BinarySI => {
                let place = usize::try_from(self.exponent / 10).unwrap_or_default();
                f.write_str(BINARY.get(place).copied().unwrap_or_default())
            }
            Format::DecimalSI => {
                f.write_str(DECIMAL.iter().find(|(_, e)| *e == self.exponent).map_or("", |(s, _)| s))
            }
            Format::DecimalExponent => {
                let letter = if self.capital { 'E' } else { 'e' };
                let sign = match (self.exponent < 0, self.sign) {
                    (true, _) => "-",
                    (false, true) => "+",
                    (false, false) => "",
                };
                let zeros = usize::from(self.exponent_zeros);
                write!(f, "{letter}{sign}{:0<zeros$}{}", "", self.exponent.unsigned_abs())
            }
        }
    }
}

/// Zeros that are written out at most.
const ZEROS_MAX: i32 = 1000;

/// A large number. One too large for the suffixes has further zeros, or an exponent when those were too many.
fn wide(decimal: Decimal, format: Format, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sign = if decimal.negative { "-" } else { "" };
    let Decimal { mut mantissa, mut exponent, .. } = decimal.stripped();
    while exponent % 3 != 0 {
        mantissa *= 10;
        exponent -= 1;
    }
    match exponent {
        0 => write!(f, "{sign}{mantissa}"),
        18..=ZEROS_MAX if format != Format::DecimalExponent => {
            let zeros = usize::try_from(exponent - 18).unwrap_or_default();
            write!(f, "{sign}{mantissa}{:0<zeros$}E", "")
        }
        1..18 if format != Format::DecimalExponent => {
            let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
            write!(f, "{sign}{mantissa}{suffix}")
        }
        _ => write!(f, "{sign}{mantissa}e{exponent}"),
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(s: &str) -> Result<Self, QuantityError> {
        Self::parse(s)
    }
}
