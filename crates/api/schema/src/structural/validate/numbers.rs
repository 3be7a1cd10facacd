//! Numbers: bounds, multiples, and whether they fit the type.

use serde_json::Number;

use super::super::Schema;
use super::super::place::Place;
use super::problem::Findings;

/// Difference up to which upstream takes a float for a whole number, relative to its size.
const EPSILON: f64 = 1e-9;

/// Whether a float is a whole number that JSON readers keep exact.
pub(super) fn is_integer(f: f64) -> bool {
    const SAFE: f64 = ((1_i64 << 53) - 1) as f64;
    if f.is_nan() || f.is_infinite() || f.abs() > SAFE {
        return false;
    }
    let rounded = f.trunc();
    let (f, g) = (f.abs(), rounded.abs());
    let diff = (f - g).abs();
    if f == g {
        return true;
    }
    if f == 0.0 || g == 0.0 || diff < f64::MIN_POSITIVE {
        return diff < EPSILON * f64::MIN_POSITIVE;
    }
    diff / (f + g).min(f64::MAX) < EPSILON
}

/// A number as Go prints it.
pub(crate) fn text(number: &Number) -> String {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole.to_string(),
        (None, Some(float)) => float_text(float),
        (None, None) => number.to_string(),
    }
}

/// A float as Go's `%v` prints it: shortest form, with an exponent when it is very small or large.
pub(super) fn float_text(f: f64) -> String {
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{f:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(positive) => ('-', positive),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{f}")
}

/// The number without its fraction, where it has a whole part that fits.
pub fn truncated(value: f64) -> Option<i64> {
    const OVER: f64 = 9_223_372_036_854_775_808.0;
    // The range is checked before.
    #[allow(clippy::cast_possible_truncation)]
    (-OVER..OVER).contains(&value).then_some(value.trunc() as i64)
}

/// The numeric type and format of a schema, where they are unambiguous.
fn range(schema: &Schema) -> (&str, &str) {
    if schema.int_or_string {
        return ("", "");
    }
    match schema.type_.as_str() {
        "integer" | "number" => (&schema.type_, &schema.rules.format),
        _ => ("", ""),
    }
}

/// Why a number does not fit the type.
fn misfit(value: f64, whole: Option<i64>, schema: &Schema, what: &str, at: &Place<'_>) -> Option<String> {
    let (type_, format) = range(schema);
    let fits = match (type_, format) {
        ("integer", "int32") => match whole {
            Some(n) => i32::try_from(n).is_ok(),
            None => value.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value),
        },
        ("integer", _) => {
            const OVER: f64 = 9_223_372_036_854_775_808.0;
            whole.is_some() || (value.fract() == 0.0 && (-OVER..OVER).contains(&value))
        }
        ("number", "float") => value.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if fits {
        return None;
    }
    Some(match format {
        "" => format!("{what} value must be of type {type_} (default format) in {at}"),
        format => format!("{what} value must be of type {type_} with format {format} in {at}"),
    })
}

pub(super) fn check(schema: &Schema, number: &Number, at: &Place<'_>) -> Findings {
    let mut found = Findings::default();
    let rules = &schema.rules;
    let whole = number.as_i64();
    let value = number.as_f64().unwrap_or(f64::NAN);
    let shown = || meta::BadValue::Plain(text(number));
    if let Some(why) = misfit(value, whole, schema, "Checked", at) {
        found.other(why);
    }
    let native = |bound: f64, what: &str, found: &mut Findings| match misfit(bound, None, schema, what, at) {
        // The bound does not fit the type either, so all is compared as floats.
        Some(why) => {
            found.other(why);
            None
        }
        None => whole,
    };
    if let Some(factor) = rules.multiple_of {
        let whole = native(factor, "MultipleOf", &mut found);
        multiple(factor, value, whole, at, shown, &mut found);
    }
    if let Some(min) = rules.minimum {
        let whole = native(min, "Minimum boundary", &mut found);
        let bound = whole.map_or_else(|| float_text(min), |_| (min as i64).to_string());
        let under = whole.map_or_else(|| value < min, |n| n < min as i64);
        let equal = whole.map_or_else(|| value == min, |n| n == min as i64);
        if under || (rules.exclusive_minimum && equal) {
            let how = if rules.exclusive_minimum { "greater than" } else { "greater than or equal to" };
            found.invalid(at, shown(), &format!("should be {how} {bound}"));
        }
    }
    if let Some(max) = rules.maximum {
        let whole = native(max, "Maximum boundary", &mut found);
        let bound = whole.map_or_else(|| float_text(max), |_| (max as i64).to_string());
        let over = whole.map_or_else(|| value > max, |n| n > max as i64);
        let equal = whole.map_or_else(|| value == max, |n| n == max as i64);
        if over || (rules.exclusive_maximum && equal) {
            let how = if rules.exclusive_maximum { "less than" } else { "less than or equal to" };
            found.invalid(at, shown(), &format!("should be {how} {bound}"));
        }
    }
    found.count();
    found
}

fn multiple(
    factor: f64,
    value: f64,
    whole: Option<i64>,
    at: &Place<'_>,
    shown: impl Fn() -> meta::BadValue,
    found: &mut Findings,
) {
    let (shown_factor, positive, holds) = match whole {
        Some(n) => {
            let factor = factor as i64;
            (factor.to_string(), factor > 0, factor > 0 && n % factor == 0)
        }
        None => {
            let quotient = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
            (float_text(factor), factor > 0.0, is_integer(quotient))
        }
    };
    if !positive {
        let text = format!("factor MultipleOf declared for {at} must be positive: {shown_factor}");
        return found.invalid_text(at, meta::BadValue::Plain(shown_factor), text);
    }
    if !holds {
        found.invalid(at, shown(), &format!("should be a multiple of {shown_factor}"));
    }
}
