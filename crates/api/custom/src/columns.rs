//! Rows of tables: the name, and the columns that a definition asks for.

use std::ops::Range;

use meta::{Object, Time};
use serde_json::{Number, Value, json};
use types::apiextensions::v1::CustomResourceColumnDefinition;

use crate::jsonpath::JsonPath;
use crate::whole;

/// The columns of a kind.
pub struct Columns {
    columns: Vec<Column>,
}

struct Column {
    definition: Value,
    type_: String,
    path: Option<JsonPath>,
}

/// How the time from one moment to another is written.
pub type Age = fn(Option<Time>, Time) -> String;

impl Columns {
    /// The columns of a version; without any, there is the age.
    pub(crate) fn read(definitions: &[CustomResourceColumnDefinition]) -> Self {
        let age = CustomResourceColumnDefinition {
            name: "Age".into(),
            type_: "date".into(),
            json_path: ".metadata.creationTimestamp".into(),
            ..Default::default()
        };
        let definitions = if definitions.is_empty() { std::slice::from_ref(&age) } else { definitions };
        let own = std::ptr::eq(definitions.as_ptr(), &age);
        let columns = definitions.iter().map(|c| {
            let description = match c.description.as_str() {
                "" if own => String::new(),
                "" => format!("Custom resource definition column (in JSONPath format): {}", c.json_path),
                text => text.to_owned(),
            };
            Column {
                definition: json!({
                    "name": c.name.as_str(), "type": c.type_.as_str(), "format": c.format.as_str(),
                    "description": description, "priority": c.priority,
                }),
                type_: c.type_.to_string(),
                path: JsonPath::parse(&c.json_path),
            }
        });
        Columns { columns: columns.collect() }
    }

    /// The heads of the columns. What is said of name and creation time is said of every kind's.
    pub fn definitions(&self, about_name: &str, about_creation: &str) -> Vec<Value> {
        let name = json!({
            "name": "Name", "type": "string", "format": "name", "description": about_name, "priority": 0,
        });
        let columns = self.columns.iter().map(|column| {
            let mut definition = column.definition.clone();
            if definition["description"] == "" {
                definition["description"] = about_creation.into();
            }
            definition
        });
        std::iter::once(name).chain(columns).collect()
    }

    /// The cells of an object.
    pub fn cells(&self, object: &dyn Object, now: Time, age: Age) -> Vec<Value> {
        let value = whole(object);
        let name = Value::from(object.meta().name.as_str());
        let cells = self.columns.iter().map(|column| {
            let found = column.path.as_ref().and_then(|path| path.find(&value).into_iter().next());
            found.map_or(Value::Null, |found| cell(&column.type_, found, now, age))
        });
        std::iter::once(name).chain(cells).collect()
    }
}

fn cell(type_: &str, value: &Value, now: Time, age: Age) -> Value {
    match (type_, value) {
        // As Go prints nothing.
        ("string", Value::Null) => Value::from("<no value>"),
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => Value::from(text.as_str()),
        ("string", Value::Number(number)) => Value::from(match whole_number(number) {
            Some(whole) => whole.to_string(),
            None => number.as_f64().map(as_go_prints).unwrap_or_else(|| number.to_string()),
        }),
        ("string", other) => Value::from(escaped(&as_stored(other).to_string())),
        ("integer", Value::Number(n)) => {
            n.as_i64().or_else(|| n.as_f64().map(whole_part)).map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) => as_stored(value),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if text.is_empty() || text == "null" => Value::from(age(None, now)),
        ("date", Value::String(text)) => match Time::parse(text) {
            Ok(time) => Value::from(age(Some(time), now)),
            Err(_) => Value::from("<invalid>"),
        },
        _ => Value::Null,
    }
}

/// The floats that are integers of 64 bits once their fraction is gone.
const INTEGERS: Range<f64> = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;

/// A number without a fraction, which the store keeps as an integer however the client wrote it.
fn whole_number(number: &Number) -> Option<i64> {
    let whole = |n: &f64| n.fract() == 0.0 && INTEGERS.contains(n);
    number.as_i64().or_else(|| number.as_f64().filter(whole).map(|n| n as i64))
}

/// The value with its whole numbers as integers.
fn as_stored(value: &Value) -> Value {
    match value {
        Value::Number(number) => whole_number(number).map_or_else(|| value.clone(), Value::from),
        Value::Array(items) => items.iter().map(as_stored).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), as_stored(value))).collect())
        }
        other => other.clone(),
    }
}

/// A float as Go's `%v` has it: the shortest digits, with an exponent of two digits at least below -4 and from 6 on
/// (`strconv.FormatFloat` with format `g`).
fn as_go_prints(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..6).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.abs())
        }
        _ => number.to_string(),
    }
}

/// JSON as Go's `encoding/json` writes it, which escapes what HTML and JavaScript would take for their own.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// The whole part of a number, as Go converts it: what does not fit is the least.
fn whole_part(number: f64) -> i64 {
    if INTEGERS.contains(&number) { number as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_read_as_go_prints_values() {
        let age: Age = |then, _| then.map_or("never", |_| "5d").to_owned();
        for (type_, value, wanted) in [
            ("string", json!("x"), json!("x")),
            ("string", json!(null), json!("<no value>")),
            ("string", json!({ "a": [1] }), json!("{\"a\":[1]}")),
            ("integer", json!(1.9), json!(1)),
            ("integer", json!(1e21), json!(i64::MIN)),
            ("integer", json!("1"), json!(null)),
            ("integer", json!(null), json!(null)),
            ("date", json!("2020-01-01T00:00:00Z"), json!("5d")),
            ("date", json!("soon"), json!("<invalid>")),
            ("date", json!(""), json!("never")),
            ("date", json!("null"), json!("never")),
            ("string", json!([{ "a": "<&>\u{2028}" }]), json!("[{\"a\":\"\\u003c\\u0026\\u003e\\u2028\"}]")),
            ("string", json!("<"), json!("<")),
            ("string", json!([2.0, 1.5]), json!("[2,1.5]")),
            ("string", json!(2.0), json!("2")),
            ("string", json!(12345678.0), json!("12345678")),
            ("string", json!(123456789.25), json!("1.2345678925e+08")),
            ("string", json!(123456.25), json!("123456.25")),
            ("string", json!(0.00001), json!("1e-05")),
            ("string", json!(0.0001), json!("0.0001")),
            ("string", json!(1e21), json!("1e+21")),
            ("number", json!(2.0), json!(2)),
            ("number", json!(2.5), json!(2.5)),
        ] {
            assert_eq!(cell(type_, &value, Time::from_unix(0), age), wanted, "{type_} {value}");
        }
    }
}
