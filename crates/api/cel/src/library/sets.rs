//! Lists as sets.

use super::{Call, Row};
use crate::eval::EvalError;
use crate::value::{List, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    Row { name: "sets.contains", run, overloads: &["list_sets_contains_list: (list(A),list(A)) -> bool"] },
    Row {
        name: "sets.equivalent",
        run,
        overloads: &["list_sets_equivalent_list: (list(A),list(A)) -> bool"],
    },
    Row {
        name: "sets.intersects",
        run,
        overloads: &["list_sets_intersects_list: (list(A),list(A)) -> bool"],
    },
];

fn run<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (one, other) = (call.list(0)?, call.list(1)?);
    call.meter.make(one.len().saturating_mul(other.len()))?;
    Ok(Value::Bool(match call.name {
        "sets.contains" => contains(one, other),
        "sets.equivalent" => contains(one, other) && contains(other, one),
        _ => other.iter().any(|element| has(one, &element)),
    }))
}

fn has<'a>(list: &List<'a>, wanted: &Value<'a>) -> bool {
    list.iter().any(|element| element == *wanted)
}

fn contains<'a>(list: &List<'a>, wanted: &List<'a>) -> bool {
    wanted.iter().all(|element| has(list, &element))
}
