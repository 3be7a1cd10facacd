//! Lists: Kubernetes' own functions and the lists extension, version 3.

use std::cmp::Ordering;

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{List, Value, compare};

/// Overloads for lists of each type that has an order.
macro_rules! comparable {
    ($id:literal, $before:literal, $after:literal) => {
        &[
            concat!("list_int_", $id, ": ", $before, "list(int)", $after, "int"),
            concat!("list_uint_", $id, ": ", $before, "list(uint)", $after, "uint"),
            concat!("list_double_", $id, ": ", $before, "list(double)", $after, "double"),
            concat!("list_bool_", $id, ": ", $before, "list(bool)", $after, "bool"),
            concat!("list_duration_", $id, ": ", $before, "list(duration)", $after, "duration"),
            concat!("list_timestamp_", $id, ": ", $before, "list(timestamp)", $after, "timestamp"),
            concat!("list_string_", $id, ": ", $before, "list(string)", $after, "string"),
            concat!("list_bytes_", $id, ": ", $before, "list(bytes)", $after, "bytes"),
        ]
    };
}

pub(super) const FUNCTIONS: &[Row] = &[
    Row {
        name: "isSorted",
        run: is_sorted,
        overloads: &[
            "list_int_is_sorted_bool: list(int).() -> bool",
            "list_uint_is_sorted_bool: list(uint).() -> bool",
            "list_double_is_sorted_bool: list(double).() -> bool",
            "list_bool_is_sorted_bool: list(bool).() -> bool",
            "list_duration_is_sorted_bool: list(duration).() -> bool",
            "list_timestamp_is_sorted_bool: list(timestamp).() -> bool",
            "list_string_is_sorted_bool: list(string).() -> bool",
            "list_bytes_is_sorted_bool: list(bytes).() -> bool",
        ],
    },
    // The sum of nothing is the zero of the list's type.
    Row {
        name: "sum",
        run: |call| sum(call, Value::Int(0)),
        overloads: &["list_int_sum_int: list(int).() -> int"],
    },
    Row {
        name: "sum",
        run: |call| sum(call, Value::Uint(0)),
        overloads: &["list_uint_sum_uint: list(uint).() -> uint"],
    },
    Row {
        name: "sum",
        run: |call| sum(call, Value::Double(0.0)),
        overloads: &["list_double_sum_double: list(double).() -> double"],
    },
    Row {
        name: "sum",
        run: |call| sum(call, Value::Duration(Default::default())),
        overloads: &["list_duration_sum_duration: list(duration).() -> duration"],
    },
    Row { name: "max", run: extreme, overloads: comparable!("max", "", ".() -> ") },
    Row { name: "min", run: extreme, overloads: comparable!("min", "", ".() -> ") },
    Row { name: "indexOf", run: index_of, overloads: &["list_a_index_of_int: list(A).(A) -> int"] },
    Row { name: "lastIndexOf", run: index_of, overloads: &["list_a_last_index_of_int: list(A).(A) -> int"] },
    Row { name: "slice", run: slice, overloads: &["list_slice: list(A).(int,int) -> list(A)"] },
    Row {
        name: "flatten",
        run: flatten,
        overloads: &[
            "list_flatten: list(list(A)).() -> list(A)",
            "list_flatten_int: list(dyn).(int) -> list(dyn)",
        ],
    },
    Row {
        name: "sort",
        run: sort,
        overloads: &[
            "list_int_sort: list(int).() -> list(int)",
            "list_uint_sort: list(uint).() -> list(uint)",
            "list_double_sort: list(double).() -> list(double)",
            "list_bool_sort: list(bool).() -> list(bool)",
            "list_google.protobuf.Duration_sort: list(duration).() -> list(duration)",
            "list_google.protobuf.Timestamp_sort: list(timestamp).() -> list(timestamp)",
            "list_string_sort: list(string).() -> list(string)",
            "list_bytes_sort: list(bytes).() -> list(bytes)",
        ],
    },
    Row {
        name: "@sortByAssociatedKeys",
        run: sort_by,
        overloads: &[
            "list_int_sortByAssociatedKeys: list(A).(list(int)) -> list(A)",
            "list_uint_sortByAssociatedKeys: list(A).(list(uint)) -> list(A)",
            "list_double_sortByAssociatedKeys: list(A).(list(double)) -> list(A)",
            "list_bool_sortByAssociatedKeys: list(A).(list(bool)) -> list(A)",
            "list_google.protobuf.Duration_sortByAssociatedKeys: list(A).(list(duration)) -> list(A)",
            "list_google.protobuf.Timestamp_sortByAssociatedKeys: list(A).(list(timestamp)) -> list(A)",
            "list_string_sortByAssociatedKeys: list(A).(list(string)) -> list(A)",
            "list_bytes_sortByAssociatedKeys: list(A).(list(bytes)) -> list(A)",
        ],
    },
    Row { name: "lists.range", run: range, overloads: &["lists_range: (int) -> list(int)"] },
    Row { name: "reverse", run: reverse, overloads: &["list_reverse: list(A).() -> list(A)"] },
    Row { name: "distinct", run: distinct, overloads: &["list_distinct: list(A).() -> list(A)"] },
    Row { name: "first", run: end, overloads: &["list_first: list(A).() -> optional(A)"] },
    Row { name: "last", run: end, overloads: &["list_last: list(A).() -> optional(A)"] },
];

fn order(call: &Call<'_, '_>, one: &Value<'_>, other: &Value<'_>) -> Result<Ordering, EvalError> {
    compare(one, other).ok_or_else(|| wrong_type(call))
}

/// Counts a list that is about to be made.
fn make(call: &Call<'_, '_>, elements: usize) -> Result<(), EvalError> {
    call.meter.make(elements.saturating_mul(size_of::<Value<'_>>()))
}

fn is_sorted<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let list = call.list(0)?;
    let mut before: Option<Value<'a>> = None;
    for element in list.iter() {
        if let Some(before) = &before
            && order(call, before, &element)? == Ordering::Greater
        {
            return Ok(Value::Bool(false));
        }
        before = Some(element);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(call: &Call<'_, 'a>, zero: Value<'a>) -> Result<Value<'a>, EvalError> {
    let mut total: Option<Value<'a>> = None;
    for element in call.list(0)?.iter() {
        let next = match (total, element) {
            (None, element @ (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))) => {
                element
            }
            (Some(Value::Int(one)), Value::Int(other)) => {
                Value::Int(one.checked_add(other).ok_or_else(|| EvalError::new("integer overflow"))?)
            }
            (Some(Value::Uint(one)), Value::Uint(other)) => Value::Uint(
                one.checked_add(other).ok_or_else(|| EvalError::new("unsigned integer overflow"))?,
            ),
            (Some(Value::Double(one)), Value::Double(other)) => Value::Double(one + other),
            (Some(Value::Duration(one)), Value::Duration(other)) => {
                Value::Duration(one.checked_add(other).ok_or_else(|| EvalError::new("duration overflow"))?)
            }
            _ => return Err(wrong_type(call)),
        };
        total = Some(next);
    }
    Ok(total.unwrap_or(zero))
}

fn extreme<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let wanted = if call.name == "min" { Ordering::Less } else { Ordering::Greater };
    let mut best: Option<Value<'a>> = None;
    for element in call.list(0)?.iter() {
        let better = match &best {
            Some(best) => order(call, &element, best)? == wanted,
            None => true,
        };
        if better {
            best = Some(element);
        }
    }
    best.ok_or_else(|| EvalError::new(format!("{} called on empty list", call.name)))
}

fn index_of<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let list = call.list(0)?;
    let Some(wanted) = call.args.get(1) else { return Err(wrong_type(call)) };
    let is_it = |at: &usize| list.get(*at).is_some_and(|element| element == *wanted);
    let found =
        if call.name == "indexOf" { (0..list.len()).find(is_it) } else { (0..list.len()).rev().find(is_it) };
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn slice<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (list, start, end) = (call.list(0)?, call.int(1)?, call.int(2)?);
    if start < 0 || end < 0 {
        return Err(EvalError::new(format!("cannot slice({start}, {end}), negative indexes not supported")));
    }
    if start > end {
        let why =
            format!("cannot slice({start}, {end}), start index must be less than or equal to end index");
        return Err(EvalError::new(why));
    }
    if end > list.len() as i64 {
        return Err(EvalError::new(format!("cannot slice({start}, {end}), list is length {}", list.len())));
    }
    make(call, (end - start) as usize)?;
    Ok(Value::list((start as usize..end as usize).filter_map(|at| list.get(at)).collect()))
}

fn flatten<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let depth = if call.args.len() > 1 { call.int(1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(call, call.list(0)?, depth, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(
    call: &Call<'_, 'a>,
    list: &List<'a>,
    depth: i64,
    out: &mut Vec<Value<'a>>,
) -> Result<(), EvalError> {
    for element in list.iter() {
        match element {
            Value::List(inner) if depth > 0 => flatten_into(call, &inner, depth - 1, out)?,
            element => {
                make(call, 1)?;
                out.push(element);
            }
        }
    }
    Ok(())
}

/// Sorts by keys; equal keys keep their order.
fn sorted<'a>(call: &Call<'_, 'a>, elements: &List<'a>, keys: &List<'a>) -> Result<Value<'a>, EvalError> {
    if elements.len() != keys.len() {
        return Err(EvalError::new(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list",
        ));
    }
    make(call, elements.len() * 2)?;
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.iter().zip(elements.iter()).collect();
    if let Some((first, _)) = pairs.first() {
        for (key, _) in &pairs {
            if key.type_name() != first.type_name() {
                return Err(EvalError::new("list elements must have the same type"));
            }
            if compare(first, key).is_none() {
                return Err(EvalError::new("list elements must be comparable"));
            }
        }
    }
    pairs.sort_by(|(one, _), (other, _)| compare(one, other).unwrap_or(Ordering::Equal));
    Ok(Value::list(pairs.into_iter().map(|(_, element)| element).collect()))
}

fn sort<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let list = call.list(0)?;
    sorted(call, list, list)
}

fn sort_by<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    sorted(call, call.list(0)?, call.list(1)?)
}

fn range<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let count = usize::try_from(call.int(0)?).unwrap_or(0);
    // What is too long to be made is charged all the same: it may be too much for the budget, too.
    if let Err(stopped) = make(call, count) {
        call.meter.charge(count as u64)?;
        return Err(stopped);
    }
    Ok(Value::list((0..count as i64).map(Value::Int).collect()))
}

fn reverse<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let list = call.list(0)?;
    make(call, list.len())?;
    let mut all: Vec<Value<'a>> = list.iter().collect();
    all.reverse();
    Ok(Value::list(all))
}

fn distinct<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let mut out: Vec<Value<'a>> = Vec::new();
    for element in call.list(0)?.iter() {
        // Comparing with all before is quadratic, so it counts.
        make(call, out.len().max(1))?;
        if !out.contains(&element) {
            out.push(element);
        }
    }
    Ok(Value::list(out))
}

fn end<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let list = call.list(0)?;
    let at = if call.name == "first" { 0 } else { list.len().saturating_sub(1) };
    Ok(list.get(at).map_or(Value::NONE, Value::some))
}
