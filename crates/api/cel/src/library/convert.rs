//! Conversions between types.

use std::sync::Arc;

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Opaque, Text, Timestamp, Value, format_duration, parse_duration, parse_timestamp};

pub(super) const FUNCTIONS: &[Row] = &[
    Row { name: "type", run: type_of, overloads: &["type: (A) -> type(A)"] },
    Row { name: "dyn", run: dynamic, overloads: &["to_dyn: (A) -> dyn"] },
    Row {
        name: "bool",
        run: to_bool,
        overloads: &["bool_to_bool: (bool) -> bool", "string_to_bool: (string) -> bool"],
    },
    Row {
        name: "bytes",
        run: to_bytes,
        overloads: &["bytes_to_bytes: (bytes) -> bytes", "string_to_bytes: (string) -> bytes"],
    },
    Row {
        name: "double",
        run: to_double,
        overloads: &[
            "double_to_double: (double) -> double",
            "int64_to_double: (int) -> double",
            "string_to_double: (string) -> double",
            "uint64_to_double: (uint) -> double",
        ],
    },
    Row {
        name: "duration",
        run: to_duration,
        overloads: &[
            "duration_to_duration: (duration) -> duration",
            "string_to_duration: (string) -> duration",
        ],
    },
    Row {
        name: "int",
        run: to_int,
        overloads: &[
            "int64_to_int64: (int) -> int",
            "double_to_int64: (double) -> int",
            "duration_to_int64: (duration) -> int",
            "string_to_int64: (string) -> int",
            "timestamp_to_int64: (timestamp) -> int",
            "uint64_to_int64: (uint) -> int",
        ],
    },
    Row {
        name: "string",
        run: to_string,
        overloads: &[
            "string_to_string: (string) -> string",
            "bool_to_string: (bool) -> string",
            "bytes_to_string: (bytes) -> string",
            "double_to_string: (double) -> string",
            "duration_to_string: (duration) -> string",
            "int64_to_string: (int) -> string",
            "timestamp_to_string: (timestamp) -> string",
            "uint64_to_string: (uint) -> string",
            "ip_to_string: (net.IP) -> string",
            "cidr_to_string: (net.CIDR) -> string",
        ],
    },
    Row {
        name: "timestamp",
        run: to_timestamp,
        overloads: &[
            "timestamp_to_timestamp: (timestamp) -> timestamp",
            "int64_to_timestamp: (int) -> timestamp",
            "string_to_timestamp: (string) -> timestamp",
        ],
    },
    Row {
        name: "uint",
        run: to_uint,
        overloads: &[
            "uint64_to_uint64: (uint) -> uint",
            "double_to_uint64: (double) -> uint",
            "int64_to_uint64: (int) -> uint",
            "string_to_uint64: (string) -> uint",
        ],
    },
];

fn failed(from: &str, to: &str) -> EvalError {
    EvalError::new(format!("type conversion error from '{from}' to '{to}'"))
}

fn type_of<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [value] = call.args else { return Err(wrong_type(call)) };
    Ok(Value::Type(Arc::new(value.type_of())))
}

fn dynamic<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    call.args.first().cloned().ok_or_else(|| wrong_type(call))
}

fn to_bool<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Bool(value)] => Ok(Value::Bool(*value)),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => Err(failed("string", "bool")),
        },
        _ => Err(wrong_type(call)),
    }
}

fn to_bytes<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Bytes(bytes)] => Ok(Value::Bytes(bytes.clone())),
        [Value::String(text)] => Ok(Value::Bytes(text.as_bytes().into())),
        _ => Err(wrong_type(call)),
    }
}

fn to_double<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Double(value)] => Ok(Value::Double(*value)),
        [Value::Int(value)] => Ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
        [Value::String(text)] => text.parse().map(Value::Double).map_err(|_| failed("string", "double")),
        _ => Err(wrong_type(call)),
    }
}

fn to_duration<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Duration(nanos)] => Ok(Value::Duration(*nanos)),
        [Value::String(text)] => parse_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| failed("string", "google.protobuf.Duration")),
        _ => Err(wrong_type(call)),
    }
}

fn to_int<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Int(value)] => Ok(Value::Int(*value)),
        [Value::Uint(value)] => {
            i64::try_from(*value).map(Value::Int).map_err(|_| EvalError::new("integer overflow"))
        }
        // The limits themselves are not exact as doubles.
        [Value::Double(value)] if *value > -9.223_372_036_854_776e18 && *value < 9.223_372_036_854_776e18 => {
            Ok(Value::Int(*value as i64))
        }
        [Value::Double(_)] => Err(EvalError::new("integer overflow")),
        [Value::Duration(nanos)] => Ok(Value::Int(*nanos)),
        [Value::Timestamp(time)] => Ok(Value::Int(time.seconds)),
        [Value::String(text)] => text.parse().map(Value::Int).map_err(|_| failed("string", "int")),
        _ => Err(wrong_type(call)),
    }
}

fn to_uint<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Uint(value)] => Ok(Value::Uint(*value)),
        [Value::Int(value)] => {
            u64::try_from(*value).map(Value::Uint).map_err(|_| EvalError::new("unsigned integer overflow"))
        }
        [Value::Double(value)] if *value >= 0.0 && *value < 1.844_674_407_370_955_2e19 => {
            Ok(Value::Uint(*value as u64))
        }
        [Value::Double(_)] => Err(EvalError::new("unsigned integer overflow")),
        [Value::String(text)] => text.parse().map(Value::Uint).map_err(|_| failed("string", "uint")),
        _ => Err(wrong_type(call)),
    }
}

fn to_string<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [value] = call.args else { return Err(wrong_type(call)) };
    Ok(Value::from(match value {
        Value::String(_) => return Ok(value.clone()),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double(*value),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(nanos) => format_duration(*nanos),
        Value::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes);
            let text =
                text.map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?;
            return Ok(Value::String(Text::from(text.to_owned())));
        }
        Value::Opaque(value @ (Opaque::Ip(_) | Opaque::Cidr(_))) => value.to_string(),
        _ => return Err(wrong_type(call)),
    }))
}

/// A double as Go's `%g` with as few digits as tell it apart.
pub(super) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn to_timestamp<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let of = |nanos: Option<Timestamp>| {
        nanos.map(Value::Timestamp).ok_or_else(|| EvalError::new("timestamp overflow"))
    };
    match call.args {
        [Value::Timestamp(time)] => Ok(Value::Timestamp(*time)),
        [Value::Int(seconds)] => of(Timestamp::from_nanos(i128::from(*seconds) * 1_000_000_000)),
        [Value::String(text)] => parse_timestamp(text)
            .map(Value::Timestamp)
            .ok_or_else(|| failed("string", "google.protobuf.Timestamp")),
        _ => Err(wrong_type(call)),
    }
}
