//! Reading and printing quantities in their canonical form.

use std::fmt;
use std::str::FromStr;

use super::{Format, NANO, NANOS_MAX, Quantity, QuantityError};

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
    let amount =
        if base_two { binary(whole, fraction, exponent) } else { decimal(whole, fraction, exponent) };
    // Less than one of a binary unit reads better in decimal.
    let format = if base_two && amount > 0 && amount < NANO { Format::DecimalSI } else { format };
    Ok(Quantity::from_nanos(if negative { -amount } else { amount }, format))
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
    let exponent: i64 = digits.parse().ok()?;
    Some((false, exponent.clamp(-1_000_000, 1_000_000) as i32, Format::DecimalExponent))
}

/// Billionths of `whole.fraction * 10^exponent`, rounded up.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    // A fraction longer than any exponent here is refused by the size of a request long before.
    let shift = exponent + 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2);
    let kept = digits.len() as i64 + i64::from(shift);
    if kept > 36 {
        return NANOS_MAX;
    }
    if shift >= 0 {
        return number(digits).saturating_mul(10i128.pow(shift as u32)).min(NANOS_MAX);
    }
    if kept <= 0 {
        return 1;
    }
    let (keep, cut) = digits.split_at(kept as usize);
    number(keep) + i128::from(cut.bytes().any(|b| b != b'0'))
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
        let nanos = self.nanos();
        if nanos == 0 {
            return f.write_str("0");
        }
        let large = nanos.abs() >= 1024 * NANO;
        if self.format() == Format::BinarySI && large && nanos % NANO == 0 {
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
        if self.format() == Format::DecimalExponent {
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
