//! Equality across types, and order.

use std::cmp::Ordering;

use super::{List, Map, Value};
use crate::schema::ListKind;

impl PartialEq for Value<'_> {
    /// CEL's equality: numbers by what they mean, values of different types are different.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::String(one), Value::String(other)) => **one == **other,
            (Value::Bytes(one), Value::Bytes(other)) => one == other,
            (Value::Timestamp(one), Value::Timestamp(other)) => one == other,
            (Value::Duration(one), Value::Duration(other)) => one == other,
            (Value::List(one), Value::List(other)) => lists(one, other),
            (Value::Map(one), Value::Map(other)) => maps(one, other),
            (Value::Object(one), Value::Object(other)) => {
                one.name == other.name && one.fields == other.fields
            }
            (Value::Optional(one), Value::Optional(other)) => one == other,
            (Value::Type(one), Value::Type(other)) => one.name() == other.name(),
            (Value::Opaque(one), Value::Opaque(other)) => one == other,
            _ => numbers(self, other) == Some(Ordering::Equal),
        }
    }
}

/// The order of two numbers of any types; `None` when one is none, or not a number.
pub(crate) fn numbers(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (whole(one), whole(other), one, other) {
        (Some(one), Some(other), ..) => Some(one.cmp(&other)),
        (_, _, Value::Double(one), Value::Double(other)) => one.partial_cmp(other),
        (Some(one), None, _, Value::Double(other)) => whole_and_double(one, *other),
        (None, Some(other), Value::Double(one), _) => whole_and_double(other, *one).map(Ordering::reverse),
        _ => None,
    }
}

/// Compares without rounding the whole number.
fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Beyond these, every 64-bit number is on one side.
    if double >= 1.0e20 {
        return Some(Ordering::Less);
    }
    if double <= -1.0e20 {
        return Some(Ordering::Greater);
    }
    let floor = double.floor();
    Some(whole.cmp(&(floor as i128)).then(if double > floor { Ordering::Less } else { Ordering::Equal }))
}

fn lists<'a>(one: &List<'a>, other: &List<'a>) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let kind = if *one.kind() == ListKind::Atomic { other.kind() } else { one.kind() };
    match kind {
        ListKind::Atomic => one.iter().zip(other.iter()).all(|(one, other)| one == other),
        // As long as the other, so that containing all of it means being equal.
        ListKind::Set | ListKind::Map(_) => {
            let others: Vec<Value<'_>> = other.iter().collect();
            one.iter().all(|one| others.contains(&one))
        }
    }
}

fn maps<'a>(one: &Map<'a>, other: &Map<'a>) -> bool {
    one.len() == other.len()
        && one.keys().iter().all(|key| {
            let (one, other) = (one.get(key), other.get(key));
            matches!((one, other), (Some(Ok(one)), Some(Ok(other))) if one == other)
        })
}

/// The order of two values of types that have one; `None` when they have none.
pub(crate) fn compare(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::String(one), Value::String(other)) => Some((**one).cmp(&**other)),
        (Value::Bytes(one), Value::Bytes(other)) => Some(one.cmp(other)),
        (Value::Timestamp(one), Value::Timestamp(other)) => Some(one.cmp(other)),
        (Value::Duration(one), Value::Duration(other)) => Some(one.cmp(other)),
        _ => numbers(one, other),
    }
}
