//! `+ - * / %` and negation, with overflow as an error.

use std::sync::Arc;

use super::{Call, Row, wrong_type};
use crate::ast::op;
use crate::eval::EvalError;
use crate::schema::ListKind;
use crate::value::{List, Timestamp, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    Row {
        name: op::ADD,
        run: add,
        overloads: &[
            "add_bytes: (bytes,bytes) -> bytes",
            "add_double: (double,double) -> double",
            "add_duration_duration: (duration,duration) -> duration",
            "add_duration_timestamp: (duration,timestamp) -> timestamp",
            "add_timestamp_duration: (timestamp,duration) -> timestamp",
            "add_int64: (int,int) -> int",
            "add_list: (list(A),list(A)) -> list(A)",
            "add_string: (string,string) -> string",
            "add_uint64: (uint,uint) -> uint",
        ],
    },
    Row {
        name: op::SUBTRACT,
        run: subtract,
        overloads: &[
            "subtract_double: (double,double) -> double",
            "subtract_duration_duration: (duration,duration) -> duration",
            "subtract_int64: (int,int) -> int",
            "subtract_timestamp_duration: (timestamp,duration) -> timestamp",
            "subtract_timestamp_timestamp: (timestamp,timestamp) -> duration",
            "subtract_uint64: (uint,uint) -> uint",
        ],
    },
    Row {
        name: op::MULTIPLY,
        run: multiply,
        overloads: &[
            "multiply_double: (double,double) -> double",
            "multiply_int64: (int,int) -> int",
            "multiply_uint64: (uint,uint) -> uint",
        ],
    },
    Row {
        name: op::DIVIDE,
        run: divide,
        overloads: &[
            "divide_double: (double,double) -> double",
            "divide_int64: (int,int) -> int",
            "divide_uint64: (uint,uint) -> uint",
        ],
    },
    Row {
        name: op::MODULO,
        run: modulo,
        overloads: &["modulo_int64: (int,int) -> int", "modulo_uint64: (uint,uint) -> uint"],
    },
    Row {
        name: op::NEGATE,
        run: negate,
        overloads: &["negate_double: (double) -> double", "negate_int64: (int) -> int"],
    },
];

fn int_overflow() -> EvalError {
    EvalError::new("integer overflow")
}

fn uint_overflow() -> EvalError {
    EvalError::new("unsigned integer overflow")
}

fn duration_overflow() -> EvalError {
    EvalError::new("duration overflow")
}

fn moved<'a>(time: Timestamp, by: i128) -> Result<Value<'a>, EvalError> {
    let moved = Timestamp::from_nanos(time.as_nanos() + by);
    moved.map(Value::Timestamp).ok_or_else(|| EvalError::new("timestamp overflow"))
}

fn add<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [one, other] = call.args else { return Err(wrong_type(call)) };
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => {
            one.checked_add(*other).map(Value::Int).ok_or_else(int_overflow)
        }
        (Value::Uint(one), Value::Uint(other)) => {
            one.checked_add(*other).map(Value::Uint).ok_or_else(uint_overflow)
        }
        (Value::Double(one), Value::Double(other)) => Ok(Value::Double(one + other)),
        (Value::String(one), Value::String(other)) => {
            call.meter.make(one.len() + other.len())?;
            Ok(Value::from([&**one, &**other].concat()))
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            call.meter.make(one.len() + other.len())?;
            Ok(Value::Bytes([&**one, &**other].concat().into()))
        }
        (Value::Duration(one), Value::Duration(other)) => {
            one.checked_add(*other).map(Value::Duration).ok_or_else(duration_overflow)
        }
        (Value::Timestamp(time), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(time)) => {
            moved(*time, i128::from(*by))
        }
        (Value::List(one), Value::List(other)) => concat(call, one, other),
        _ => Err(wrong_type(call)),
    }
}

/// Lists one after the other; declared sets and keyed lists take each element once.
fn concat<'a>(call: &Call<'_, 'a>, one: &List<'a>, other: &List<'a>) -> Result<Value<'a>, EvalError> {
    if other.is_empty() {
        return Ok(Value::List(one.clone()));
    }
    call.meter.make((one.len() + other.len()) * size_of::<Value<'_>>())?;
    let mut all: Vec<Value<'a>> = one.iter().collect();
    match (one.kind(), one.declared()) {
        (ListKind::Set, Some(declared)) => {
            call.meter.make(one.len().saturating_mul(other.len()))?;
            for element in other.iter() {
                if !all.contains(&element) {
                    all.push(element);
                }
            }
            Ok(Value::List(List::Declared(Arc::new(all), declared)))
        }
        (ListKind::Map(keys), Some(declared)) => {
            call.meter.make(one.len().saturating_mul(other.len()))?;
            merge(&mut all, other, keys);
            Ok(Value::List(List::Declared(Arc::new(all), declared)))
        }
        _ => {
            all.extend(other.iter());
            Ok(Value::list(all))
        }
    }
}

/// Elements of `other` take the place of those with the same keys.
fn merge<'a>(all: &mut Vec<Value<'a>>, other: &List<'a>, keys: &[Arc<str>]) {
    let key_of = |element: &Value<'a>| -> Vec<Option<Value<'a>>> {
        let Value::Map(map) = element else { return Vec::new() };
        keys.iter().map(|key| map.field(key).and_then(Result::ok)).collect()
    };
    for element in other.iter() {
        let key = key_of(&element);
        match all.iter().position(|known| key_of(known) == key) {
            Some(at) => all[at] = element,
            None => all.push(element),
        }
    }
}

fn subtract<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Int(one), Value::Int(other)] => {
            one.checked_sub(*other).map(Value::Int).ok_or_else(int_overflow)
        }
        [Value::Uint(one), Value::Uint(other)] => {
            one.checked_sub(*other).map(Value::Uint).ok_or_else(uint_overflow)
        }
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one - other)),
        [Value::Duration(one), Value::Duration(other)] => {
            one.checked_sub(*other).map(Value::Duration).ok_or_else(duration_overflow)
        }
        [Value::Timestamp(time), Value::Duration(by)] => moved(*time, -i128::from(*by)),
        [Value::Timestamp(one), Value::Timestamp(other)] => i64::try_from(one.as_nanos() - other.as_nanos())
            .map(Value::Duration)
            .map_err(|_| duration_overflow()),
        _ => Err(wrong_type(call)),
    }
}

fn multiply<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Int(one), Value::Int(other)] => {
            one.checked_mul(*other).map(Value::Int).ok_or_else(int_overflow)
        }
        [Value::Uint(one), Value::Uint(other)] => {
            one.checked_mul(*other).map(Value::Uint).ok_or_else(uint_overflow)
        }
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one * other)),
        _ => Err(wrong_type(call)),
    }
}

fn divide<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::new("division by zero"))
        }
        [Value::Int(one), Value::Int(other)] => {
            one.checked_div(*other).map(Value::Int).ok_or_else(int_overflow)
        }
        [Value::Uint(one), Value::Uint(other)] => Ok(Value::Uint(one / other)),
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one / other)),
        _ => Err(wrong_type(call)),
    }
}

fn modulo<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::new("modulus by zero"))
        }
        [Value::Int(one), Value::Int(other)] => {
            one.checked_rem(*other).map(Value::Int).ok_or_else(int_overflow)
        }
        [Value::Uint(one), Value::Uint(other)] => Ok(Value::Uint(one % other)),
        _ => Err(wrong_type(call)),
    }
}

fn negate<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Int(value)] => value.checked_neg().map(Value::Int).ok_or_else(int_overflow),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => Err(wrong_type(call)),
    }
}
