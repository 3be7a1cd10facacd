//! Values that may be absent.

use super::{Call, Row, wrong_type};
use crate::ast::op;
use crate::eval::EvalError;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Row] = &[
    Row { name: "optional.of", run: of, overloads: &["optional_of: (A) -> optional(A)"] },
    Row {
        name: "optional.ofNonZeroValue",
        run: of,
        overloads: &["optional_ofNonZeroValue: (A) -> optional(A)"],
    },
    Row { name: "optional.none", run: none, overloads: &["optional_none: () -> optional(A)"] },
    Row { name: "value", run: value, overloads: &["optional_value: optional(A).() -> A"] },
    Row { name: "hasValue", run: has_value, overloads: &["optional_hasValue: optional(A).() -> bool"] },
    // The evaluator has its own nodes for these: what follows is looked at only when it is needed.
    Row {
        name: "or",
        run: wrong,
        overloads: &["optional_or_optional: optional(A).(optional(A)) -> optional(A)"],
    },
    Row { name: "orValue", run: wrong, overloads: &["optional_orValue_value: optional(A).(A) -> A"] },
    Row {
        name: op::OPT_SELECT,
        run: wrong,
        overloads: &["select_optional_field: (dyn,string) -> optional(A)"],
    },
    Row {
        name: "optional.unwrap",
        run: unwrap,
        overloads: &["optional_unwrap: (list(optional(A))) -> list(A)"],
    },
    Row {
        name: "unwrapOpt",
        run: unwrap,
        overloads: &["optional_unwrapOpt: list(optional(A)).() -> list(A)"],
    },
];

fn wrong<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Err(wrong_type(call))
}

fn of<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [value] = call.args else { return Err(wrong_type(call)) };
    let absent = call.name == "optional.ofNonZeroValue" && value.is_zero();
    Ok(if absent { Value::NONE } else { Value::some(value.clone()) })
}

fn none<'a>(_: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::NONE)
}

fn value<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        [Value::Optional(None)] => Err(EvalError::new("optional.none() dereference")),
        _ => Err(wrong_type(call)),
    }
}

fn has_value<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => Err(wrong_type(call)),
    }
}

fn unwrap<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let mut out = Vec::new();
    for element in call.list(0)?.iter() {
        match element {
            Value::Optional(Some(inner)) => out.push((*inner).clone()),
            Value::Optional(None) => {}
            _ => return Err(wrong_type(call)),
        }
    }
    Ok(Value::list(out))
}
