//! `'%s: %d'.format([name, count])`.

use super::convert::double;
use super::{Call, Row};
use crate::eval::{EvalError, Meter};
use crate::value::{List, Value, format_duration};

/// Most digits behind the point.
const PRECISION_MAX: usize = 1_000;

pub(super) const FUNCTIONS: &[Row] =
    &[Row { name: "format", run: format, overloads: &["string_format: string.(list(dyn)) -> string"] }];

fn format<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (template, args) = (call.str(0)?, call.list(1)?);
    call.meter.make(template.len())?;
    let mut out = String::with_capacity(template.len());
    let mut next = 0;
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let precision = precision(&mut rest)?;
        let Some(verb) = rest.chars().next() else {
            return Err(failed("could not parse formatting clause: unexpected end of string"));
        };
        rest = &rest[verb.len_utf8()..];
        let Some(arg) = args.get(next) else { return Err(failed(&format!("index {next} out of range"))) };
        next += 1;
        clause(&mut out, verb, precision, &arg, call.meter)?;
    }
    out.push_str(rest);
    Ok(Value::from(out))
}

fn failed(why: &str) -> EvalError {
    EvalError::new(format!("error during formatting: {why}"))
}

fn precision(rest: &mut &str) -> Result<Option<usize>, EvalError> {
    let Some(after) = rest.strip_prefix('.') else { return Ok(None) };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let digits = &after[..end];
    *rest = &after[end..];
    match digits.parse() {
        Ok(precision) if precision <= PRECISION_MAX => Ok(Some(precision)),
        _ => Err(failed("error while parsing precision: unable to find end of precision specifier")),
    }
}

fn clause(
    out: &mut String,
    verb: char,
    precision: Option<usize>,
    arg: &Value<'_>,
    meter: &Meter,
) -> Result<(), EvalError> {
    let start = out.len();
    let refuse = |what: &str| failed(&format!("{what}, was given {}", arg.type_name()));
    let clause = |what: &str, types: &str| refuse(&format!("{what} clause can only be used on {types}"));
    match (verb, arg) {
        ('s', arg) => text(out, arg, meter)?,
        ('d', Value::Int(value)) => out.push_str(&value.to_string()),
        ('d', Value::Uint(value)) => out.push_str(&value.to_string()),
        ('d', Value::Double(value)) if !value.is_finite() => text(out, arg, meter)?,
        ('d', _) => return Err(clause("decimal", "integers")),
        ('f', arg) => {
            let value = number(arg).ok_or_else(|| clause("fixed-point", "doubles"))?;
            match value.is_finite() {
                true => out.push_str(&format!("{value:.*}", precision.unwrap_or(6))),
                false => out.push_str(non_finite(value)),
            }
        }
        ('e', arg) => {
            let value = number(arg).ok_or_else(|| clause("scientific", "doubles"))?;
            match value.is_finite() {
                true => out.push_str(&scientific(value, precision.unwrap_or(6))),
                false => out.push_str(non_finite(value)),
            }
        }
        ('b', Value::Bool(value)) => out.push(if *value { '1' } else { '0' }),
        ('b', Value::Int(value)) => out.push_str(&signed(*value, |n| format!("{n:b}"))),
        ('b', Value::Uint(value)) => out.push_str(&format!("{value:b}")),
        ('b', _) => return Err(refuse("only integers and bools can be formatted as binary")),
        ('x' | 'X', arg) => {
            let hex = match arg {
                Value::Int(value) => signed(*value, |n| format!("{n:x}")),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(value) => value.bytes().map(|b| format!("{b:02x}")).collect(),
                Value::Bytes(value) => value.iter().map(|b| format!("{b:02x}")).collect(),
                _ => {
                    return Err(refuse("only integers, byte buffers, and strings can be formatted as hex"));
                }
            };
            out.push_str(&if verb == 'X' { hex.to_uppercase() } else { hex });
        }
        ('o', Value::Int(value)) => out.push_str(&signed(*value, |n| format!("{n:o}"))),
        ('o', Value::Uint(value)) => out.push_str(&format!("{value:o}")),
        ('o', _) => return Err(clause("octal", "integers")),
        (verb, _) => {
            return Err(failed(&format!(
                "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
            )));
        }
    }
    meter.make(out.len() - start)
}

fn number(arg: &Value<'_>) -> Option<f64> {
    match arg {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn non_finite(value: f64) -> &'static str {
    match (value.is_nan(), value > 0.0) {
        (true, _) => "NaN",
        (false, true) => "∞",
        (false, false) => "-∞",
    }
}

fn signed(value: i64, digits: impl Fn(u64) -> String) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, digits(value.unsigned_abs()))
}

fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Any value as text.
fn text(out: &mut String, value: &Value<'_>, meter: &Meter) -> Result<(), EvalError> {
    match value {
        Value::String(text) => out.push_str(text),
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(&value.to_string()),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Uint(value) => out.push_str(&value.to_string()),
        Value::Double(value) if value.is_finite() => out.push_str(&double(*value)),
        Value::Double(value) => out.push_str(match non_finite(*value) {
            "∞" => "Infinity",
            "-∞" => "-Infinity",
            other => other,
        }),
        Value::Bytes(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Value::Timestamp(time) => out.push_str(&time.to_string()),
        Value::Duration(nanos) => out.push_str(&format_duration(*nanos)),
        Value::Type(ty) => out.push_str(ty.name()),
        Value::List(list) => list_text(out, list, meter)?,
        Value::Map(map) => {
            out.push('{');
            for (i, key) in map.keys().iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                text(out, key, meter)?;
                out.push_str(": ");
                match map.get(key) {
                    Some(value) => text(out, &value?, meter)?,
                    None => out.push_str("null"),
                }
                meter.make(8)?;
            }
            out.push('}');
        }
        other => {
            let types = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
            let why = format!("string clause can only be used on {types}, was given {}", other.type_name());
            return Err(failed(&why));
        }
    }
    Ok(())
}

fn list_text(out: &mut String, list: &List<'_>, meter: &Meter) -> Result<(), EvalError> {
    out.push('[');
    for (i, element) in list.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        let before = out.len();
        text(out, &element, meter)?;
        meter.make(out.len() - before + 2)?;
    }
    out.push(']');
    Ok(())
}
