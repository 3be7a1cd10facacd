//! `< <= > >=`; numbers compare across their types.

use std::cmp::Ordering;

use super::{Call, Row, wrong_type};
use crate::ast::op;
use crate::eval::EvalError;
use crate::value::{Value, compare};

macro_rules! comparisons {
    ($name:expr, $id:literal) => {
        Row {
            name: $name,
            run,
            overloads: &[
                concat!($id, "_bool: (bool,bool) -> bool"),
                concat!($id, "_int64: (int,int) -> bool"),
                concat!($id, "_int64_double: (int,double) -> bool"),
                concat!($id, "_int64_uint64: (int,uint) -> bool"),
                concat!($id, "_uint64: (uint,uint) -> bool"),
                concat!($id, "_uint64_double: (uint,double) -> bool"),
                concat!($id, "_uint64_int64: (uint,int) -> bool"),
                concat!($id, "_double: (double,double) -> bool"),
                concat!($id, "_double_int64: (double,int) -> bool"),
                concat!($id, "_double_uint64: (double,uint) -> bool"),
                concat!($id, "_string: (string,string) -> bool"),
                concat!($id, "_bytes: (bytes,bytes) -> bool"),
                concat!($id, "_timestamp: (timestamp,timestamp) -> bool"),
                concat!($id, "_duration: (duration,duration) -> bool"),
            ],
        }
    };
}

pub(super) const FUNCTIONS: &[Row] = &[
    comparisons!(op::LESS, "less"),
    comparisons!(op::LESS_EQUALS, "less_equals"),
    comparisons!(op::GREATER, "greater"),
    comparisons!(op::GREATER_EQUALS, "greater_equals"),
];

fn run<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [one, other] = call.args else { return Err(wrong_type(call)) };
    let order = match (one, other) {
        // Only numbers compare with other types.
        (Value::Double(number), _) | (_, Value::Double(number)) if number.is_nan() => {
            return Err(EvalError::new("NaN values cannot be ordered"));
        }
        _ => compare(one, other).ok_or_else(|| wrong_type(call))?,
    };
    Ok(Value::Bool(match call.name {
        op::LESS => order == Ordering::Less,
        op::LESS_EQUALS => order != Ordering::Greater,
        op::GREATER => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}
