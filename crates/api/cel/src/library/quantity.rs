//! Amounts: `quantity('1Gi').isLessThan(quantity('2Gi'))`.

use std::cmp::Ordering;

use meta::Quantity;

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Opaque, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    Row {
        name: "quantity",
        run: quantity,
        overloads: &["string_to_quantity: (string) -> kubernetes.Quantity"],
    },
    Row { name: "isQuantity", run: is_quantity, overloads: &["is_quantity_string: (string) -> bool"] },
    Row { name: "sign", run: unary, overloads: &["quantity_sign: kubernetes.Quantity.() -> int"] },
    Row {
        name: "isInteger",
        run: unary,
        overloads: &["quantity_is_integer: kubernetes.Quantity.() -> bool"],
    },
    Row { name: "asInteger", run: unary, overloads: &["quantity_get_int: kubernetes.Quantity.() -> int"] },
    Row {
        name: "asApproximateFloat",
        run: unary,
        overloads: &["quantity_get_float: kubernetes.Quantity.() -> double"],
    },
    Row {
        name: "isGreaterThan",
        run: compare,
        overloads: &["quantity_is_greater_than: kubernetes.Quantity.(kubernetes.Quantity) -> bool"],
    },
    Row {
        name: "isLessThan",
        run: compare,
        overloads: &["quantity_is_less_than: kubernetes.Quantity.(kubernetes.Quantity) -> bool"],
    },
    Row {
        name: "compareTo",
        run: compare,
        overloads: &["quantity_compare_to: kubernetes.Quantity.(kubernetes.Quantity) -> int"],
    },
    Row {
        name: "add",
        run: combine,
        overloads: &[
            "quantity_add: kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity",
            "quantity_add_int: kubernetes.Quantity.(int) -> kubernetes.Quantity",
        ],
    },
    Row {
        name: "sub",
        run: combine,
        overloads: &[
            "quantity_sub: kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity",
            "quantity_sub_int: kubernetes.Quantity.(int) -> kubernetes.Quantity",
        ],
    },
];

fn quantity<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Quantity::parse(call.str(0)?)
        .map(|quantity| Value::Opaque(Opaque::Quantity(quantity)))
        .map_err(|error| EvalError::new(error.to_string()))
}

fn is_quantity<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Bool(Quantity::parse(call.str(0)?).is_ok()))
}

/// The amount as a whole number, when it is one and fits.
fn whole(quantity: Quantity) -> Option<i64> {
    if !quantity.is_integer() {
        return None;
    }
    i64::try_from(quantity.nanos() / 1_000_000_000).ok()
}

fn unary<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Value::Opaque(Opaque::Quantity(quantity))) = call.args.first() else {
        return Err(wrong_type(call));
    };
    match call.name {
        "sign" => Ok(Value::Int(quantity.nanos().signum() as i64)),
        "isInteger" => Ok(Value::Bool(whole(*quantity).is_some())),
        "asInteger" => {
            whole(*quantity).map(Value::Int).ok_or_else(|| EvalError::new("cannot convert value to integer"))
        }
        _ => Ok(Value::Double(quantity.as_f64())),
    }
}

fn compare<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [Value::Opaque(Opaque::Quantity(one)), Value::Opaque(Opaque::Quantity(other))] = call.args else {
        return Err(wrong_type(call));
    };
    let order = one.cmp(other);
    Ok(match call.name {
        "isGreaterThan" => Value::Bool(order == Ordering::Greater),
        "isLessThan" => Value::Bool(order == Ordering::Less),
        _ => Value::Int(order as i64),
    })
}

fn combine<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [Value::Opaque(Opaque::Quantity(one)), other] = call.args else { return Err(wrong_type(call)) };
    let other = match other {
        Value::Opaque(Opaque::Quantity(other)) => *other,
        Value::Int(other) => Quantity::parse(&other.to_string()).unwrap_or_default(),
        _ => return Err(wrong_type(call)),
    };
    let result = if call.name == "add" { *one + other } else { *one - other };
    Ok(Value::Opaque(Opaque::Quantity(result)))
}
