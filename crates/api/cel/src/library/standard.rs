//! Equality, membership, indexing, sizes and the plain string tests.

use super::{Call, Row, wrong_type};
use crate::ast::op;
use crate::eval::EvalError;
use crate::value::{List, Map, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    // These take part in type checking only; the evaluator has its own nodes for them.
    Row { name: op::CONDITIONAL, run: wrong, overloads: &["conditional: (bool,A,A) -> A"] },
    Row { name: op::AND, run: wrong, overloads: &["logical_and: (bool,bool) -> bool"] },
    Row { name: op::OR, run: wrong, overloads: &["logical_or: (bool,bool) -> bool"] },
    Row { name: op::NOT_STRICTLY_FALSE, run: wrong, overloads: &["not_strictly_false: (bool) -> bool"] },
    Row {
        name: op::MAP_INSERT,
        run: wrong,
        overloads: &[
            "@mapInsert_map_key_value: (map(A,B),A,B) -> map(A,B)",
            "@mapInsert_map_map: (map(A,B),map(A,B)) -> map(A,B)",
        ],
    },
    Row { name: op::NOT, run: not, overloads: &["logical_not: (bool) -> bool"] },
    Row { name: op::EQUALS, run: equals, overloads: &["equals: (A,A) -> bool"] },
    Row { name: op::NOT_EQUALS, run: equals, overloads: &["not_equals: (A,A) -> bool"] },
    Row {
        name: op::INDEX,
        run: index,
        overloads: &[
            "index_list: (list(A),int) -> A",
            "index_map: (map(A,B),A) -> B",
            "optional_list_index_int: (optional(list(A)),int) -> optional(A)",
            "optional_map_index_value: (optional(map(A,B)),A) -> optional(B)",
        ],
    },
    Row {
        name: op::OPT_INDEX,
        run: opt_index,
        overloads: &[
            "list_optindex_optional_int: (list(A),int) -> optional(A)",
            "optional_list_optindex_optional_int: (optional(list(A)),int) -> optional(A)",
            "map_optindex_optional_value: (map(A,B),A) -> optional(B)",
            "optional_map_optindex_optional_value: (optional(map(A,B)),A) -> optional(B)",
        ],
    },
    Row {
        name: op::IN,
        run: is_in,
        overloads: &["in_list: (A,list(A)) -> bool", "in_map: (A,map(A,B)) -> bool"],
    },
    Row {
        name: "size",
        run: size,
        overloads: &[
            "size_bytes: (bytes) -> int",
            "bytes_size: bytes.() -> int",
            "size_list: (list(A)) -> int",
            "list_size: list(A).() -> int",
            "size_map: (map(A,B)) -> int",
            "map_size: map(A,B).() -> int",
            "size_string: (string) -> int",
            "string_size: string.() -> int",
        ],
    },
    Row { name: "contains", run: string_test, overloads: &["contains_string: string.(string) -> bool"] },
    Row { name: "startsWith", run: string_test, overloads: &["starts_with_string: string.(string) -> bool"] },
    Row { name: "endsWith", run: string_test, overloads: &["ends_with_string: string.(string) -> bool"] },
];

fn wrong<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Err(wrong_type(call))
}

fn not<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(EvalError::new("no such overload")),
    }
}

fn equals<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [one, other] = call.args else { return Err(wrong_type(call)) };
    Ok(Value::Bool((one == other) == (call.name == op::EQUALS)))
}

fn is_in<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [needle, Value::List(list)] => Ok(Value::Bool(list.iter().any(|element| element == *needle))),
        [key, Value::Map(map)] => Ok(Value::Bool(map.get(key).is_some())),
        _ => Err(wrong_type(call)),
    }
}

fn size<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            Ok(Value::Int(value.size() as i64))
        }
        _ => Err(wrong_type(call)),
    }
}

fn string_test<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (text, part) = (call.str(0)?, call.str(1)?);
    Ok(Value::Bool(match call.name {
        "contains" => text.contains(part),
        "startsWith" => text.starts_with(part),
        _ => text.ends_with(part),
    }))
}

/// What is at an index; the error when nothing is.
fn lookup<'a>(container: &Value<'a>, index: &Value<'a>, call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match container {
        Value::List(list) => element(list, index),
        Value::Map(map) => entry(map, index),
        _ => Err(wrong_type(call)),
    }
}

fn element<'a>(list: &List<'a>, index: &Value<'a>) -> Result<Value<'a>, EvalError> {
    let at = match index {
        Value::Int(at) => Some(*at),
        Value::Uint(at) => i64::try_from(*at).ok(),
        Value::Double(at) if at.fract() == 0.0 && at.abs() < 9.0e15 => Some(*at as i64),
        Value::Double(_) => None,
        other => {
            return Err(EvalError::new(format!("unsupported index type '{}' in list", other.type_name())));
        }
    };
    let found = at.and_then(|at| usize::try_from(at).ok()).and_then(|at| list.get(at));
    found.ok_or_else(|| EvalError::out_of_bounds(at.unwrap_or(-1)))
}

fn entry<'a>(map: &Map<'a>, key: &Value<'a>) -> Result<Value<'a>, EvalError> {
    map.get(key).unwrap_or_else(|| Err(EvalError::no_such_key(key)))
}

fn index<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [container, at] = call.args else { return Err(wrong_type(call)) };
    match container {
        Value::Optional(None) => Ok(Value::NONE),
        Value::Optional(Some(inner)) => opt(lookup(inner, at, call)),
        container => lookup(container, at, call),
    }
}

fn opt_index<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [container, at] = call.args else { return Err(wrong_type(call)) };
    match container {
        Value::Optional(None) => Ok(Value::NONE),
        Value::Optional(Some(inner)) => opt(lookup(inner, at, call)),
        container => opt(lookup(container, at, call)),
    }
}

/// Nothing instead of the errors that say that nothing is there.
fn opt<'a>(found: Result<Value<'a>, EvalError>) -> Result<Value<'a>, EvalError> {
    match found {
        Ok(value) => Ok(Value::some(value)),
        Err(error) if error.is_absence() => Ok(Value::NONE),
        Err(error) => Err(error),
    }
}
