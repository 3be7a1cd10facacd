//! Comparing, adding and subtracting quantities.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use super::Quantity;
use super::form::Decimal;

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.exact() {
            Some(nanos) => nanos.hash(state),
            None => self.decimal().magnitude().hash(state),
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Some(one), Some(other)) = (self.exact(), other.exact()) {
            return one.cmp(&other);
        }
        let (one, other) = (self.decimal(), other.decimal());
        match (one.negative, other.negative) {
            (false, false) => one.magnitude().cmp(&other.magnitude()),
            (true, true) => other.magnitude().cmp(&one.magnitude()),
            (is_negative, _) => {
                if is_negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

impl Quantity {
    /// Zero takes over the format of what is added to it, as upstream does.
    fn plus(self, other: Self, other_decimal: Decimal) -> Self {
        let format = if self.is_zero() { other.format() } else { self.format() };
        let one = self.decimal();
        let sum = match (one.nanos(), other_decimal.nanos()) {
            // Two halves of what 128 bits hold.
            (Some(one), Some(other)) => {
                let sum = one + other;
                Decimal { negative: sum < 0, mantissa: sum.unsigned_abs(), exponent: -9 }
            }
            _ => one.plus(other_decimal),
        };
        Self::of_decimal(sum, format)
    }
}

impl Decimal {
    /// The sum, of which at least one is large. Digits that are too far behind those of the larger one are lost.
    fn plus(self, other: Self) -> Self {
        let (mut large, mut small) = (self.stripped(), other.stripped());
        if large.magnitude() < small.magnitude() {
            (large, small) = (small, large);
        }
        // What is smaller has room for the digits of what is larger.
        while small.exponent > large.exponent && small.mantissa > 0 {
            small.mantissa *= 10;
            small.exponent -= 1;
        }
        // A sum of two numbers of 37 digits fits.
        const DIGITS_MAX: u128 = 10u128.pow(36);
        while large.exponent > small.exponent && large.mantissa < DIGITS_MAX {
            large.mantissa *= 10;
            large.exponent -= 1;
        }
        while small.exponent < large.exponent && small.mantissa > 0 {
            small.mantissa /= 10;
            small.exponent += 1;
        }
        let mantissa = match large.negative == small.negative {
            true => large.mantissa + small.mantissa,
            false => large.mantissa.saturating_sub(small.mantissa),
        };
        Decimal { mantissa, ..large }
    }
}

impl Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.plus(other, other.decimal())
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let decimal = other.decimal();
        self.plus(other, Decimal { negative: !decimal.negative, ..decimal })
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        let decimal = self.decimal();
        Self::of_decimal(Decimal { negative: !decimal.negative, ..decimal }, self.format())
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::zero(), |a, b| a + b)
    }
}
