//! Numbers or percentages, and other small arithmetic.

use meta::IntOrString;

/// The number that `value` stands for: itself, or a percentage of `total`. A malformed percentage stands for nothing.
pub(crate) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = percent * i64::from(total);
            let number = if round_up {
                product.div_euclid(100) + i64::from(product.rem_euclid(100) > 0)
            } else {
                product.div_euclid(100)
            };
            i32::try_from(number).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!(scaled(&quarter, 10, true), Some(3));
        assert_eq!(scaled(&quarter, 10, false), Some(2));
        assert_eq!(scaled(&IntOrString::Int(7), 10, false), Some(7));
        assert_eq!(scaled(&IntOrString::String("x".into()), 10, false), None);
    }
}
