//! What is wrong with a value, in the words of upstream's OpenAPI validator.
//!
//! [`of`] looks at a value alone; [`of_change`] forgives what was wrong before and is unchanged (KEP-4008). The walk
//! counts successful checks, since the alternative of `anyOf` and `oneOf` that got furthest is the one whose findings
//! are told.

mod formats;
mod numbers;
mod problem;

use std::borrow::Cow;

use meta::{FieldError, FieldPath};
use serde_json::{Map, Value};

use super::place::Place;
use super::{Additional, Keyed, Schema};
use problem::Findings;

pub use formats::is_known_of as is_format_of;
pub(crate) use numbers::text as number_text;

/// What is wrong with a value that stands at `at`.
pub fn of(at: &FieldPath, schema: &Schema, value: &Value) -> Vec<FieldError> {
    walk(schema, value, None, &Place::ROOT).into_errors(at)
}

/// What is wrong with a changed value, apart from what was the same before.
pub fn of_change(at: &FieldPath, schema: &Schema, value: &Value, old: &Value) -> Vec<FieldError> {
    node(schema, value, Some(old), &Place::ROOT).into_errors(at)
}

/// Checks a value; what is unchanged is forgiven.
fn node(schema: &Schema, value: &Value, old: Option<&Value>, at: &Place<'_>) -> Findings {
    let mut found = walk(schema, value, old, at);
    if !found.is_valid() && old == Some(value) {
        found.forgive();
    }
    found
}

fn walk(schema: &Schema, value: &Value, old: Option<&Value>, at: &Place<'_>) -> Findings {
    let mut found = Findings::default();
    let rules = &schema.rules;
    if value.is_null() {
        found.merge(type_of(schema, value, at));
        enumeration(schema, value, at, &mut found);
        return found;
    }
    if schema.has_type() || !rules.format.is_empty() {
        found.merge(type_of(schema, value, at));
        found.count();
    }
    combined(schema, value, old, at, &mut found);
    found.count();
    match value {
        Value::String(text) => {
            string(schema, text, at, &mut found);
            found.count();
            if !rules.format.is_empty() && formats::is_known(&rules.format) {
                if !formats::holds(&rules.format, text) {
                    found.wrong_type(at, &rules.format, text.as_str());
                }
                found.count();
            }
        }
        Value::Number(number) => {
            found.merge(numbers::check(schema, number, at));
            found.count();
        }
        Value::Array(list) => {
            array(schema, list, old, at, &mut found);
            found.count();
        }
        _ => {}
    }
    enumeration(schema, value, at, &mut found);
    found.count();
    if let Value::Object(map) = value {
        object(schema, map, old, at, &mut found);
        found.count();
    }
    found.count();
    found
}

impl Schema {
    /// The same where integers or texts may be anything: as such the defaults of a schema are checked upstream.
    pub fn without_mixed_types(&self) -> Cow<'_, Schema> {
        if !self.has_mixed_types() {
            return Cow::Borrowed(self);
        }
        let mut schema = self.clone();
        schema.unmix();
        Cow::Owned(schema)
    }

    fn has_mixed_types(&self) -> bool {
        self.int_or_string
            || self.items.as_ref().is_some_and(|items| items.has_mixed_types())
            || self.properties.values().any(Schema::has_mixed_types)
            || self.additional_schema().is_some_and(Schema::has_mixed_types)
    }

    fn unmix(&mut self) {
        self.int_or_string = false;
        if let Some(items) = &mut self.items {
            items.unmix();
        }
        self.properties.values_mut().for_each(Schema::unmix);
        if let Some(Additional::Schema(inner)) = &mut self.additional {
            inner.unmix();
        }
    }

    fn has_type(&self) -> bool {
        self.int_or_string || !self.type_.is_empty()
    }

    fn takes(&self, type_: &str) -> bool {
        if self.int_or_string { type_ == "integer" || type_ == "string" } else { self.type_ == type_ }
    }

    /// The types as messages name them.
    fn types(&self) -> &str {
        if self.int_or_string { "integer,string" } else { &self.type_ }
    }
}

/// The JSON type of a value, and the format that upstream sees in it.
fn kind_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Number(n) if n.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn type_of(schema: &Schema, value: &Value, at: &Place<'_>) -> Findings {
    let mut found = Findings::default();
    let (type_, format) = kind_of(value);
    let wanted_format = schema.rules.format.as_str();
    if value.is_null() {
        if schema.has_type() && !schema.nullable {
            found.wrong_type(at, schema.types(), "null");
            return found;
        }
        found.count();
        return found;
    }
    let whole =
        type_ == "number" && schema.takes("integer") && value.as_f64().is_some_and(numbers::is_integer);
    let widened = type_ == "integer" && schema.takes("number");
    let textual = matches!(value, Value::String(_) | Value::Array(_));
    let fits = schema.takes(type_) || whole || widened;
    let formatted = !wanted_format.is_empty();
    if formatted && !(textual || fits || format == wanted_format) {
        found.wrong_type(at, wanted_format, format);
        return found;
    }
    // Texts with a format are looked at by the format alone, unless it is one of numbers.
    let numeric = schema.takes("number") || schema.takes("integer");
    let by_format = formatted && textual && !numeric;
    if !(fits || by_format) {
        found.wrong_type(at, schema.types(), type_);
        return found;
    }
    found.count();
    found
}

fn enumeration(schema: &Schema, value: &Value, at: &Place<'_>, found: &mut Findings) {
    let values = &schema.rules.values;
    if values.is_empty() {
        return;
    }
    // Upstream converts the value to the type of the known one before it compares, as Go does: fractions go, and a whole
    // number becomes the character with that code.
    let same = |known: &Value| match (known, value) {
        (Value::Number(a), Value::Number(b)) => {
            let truncated = || a.as_i64().is_some_and(|a| Some(a) == b.as_f64().and_then(numbers::truncated));
            a == b || a.as_f64() == b.as_f64() || truncated()
        }
        (Value::String(a), Value::Number(b)) => b.as_i64().is_some_and(|code| {
            let c = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            a.chars().eq([c])
        }),
        (a, b) => !a.is_null() && a == b,
    };
    if !values.iter().any(same) {
        found.not_among(at, value, values);
    }
}

fn string(schema: &Schema, text: &str, at: &Place<'_>, found: &mut Findings) {
    let rules = &schema.rules;
    let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(max) = rules.max_length.filter(|max| length() > *max) {
        return found.too_long(at, max, text);
    }
    if let Some(min) = rules.min_length.filter(|min| length() < *min) {
        return found.too_short(at, min, text);
    }
    if let Some(pattern) = &rules.pattern {
        match &pattern.regex {
            Ok(regex) if regex.is_match(text) => {}
            Ok(_) => found.no_match(at, &pattern.text, text),
            Err(why) => {
                let shown = format!("{}, but pattern is invalid: {why}", pattern.text);
                found.no_match(at, &shown, text);
            }
        }
    }
}

fn array(schema: &Schema, list: &[Value], old: Option<&Value>, at: &Place<'_>, found: &mut Findings) {
    let rules = &schema.rules;
    if let Some(items) = &schema.items {
        let keyed = old.filter(|_| schema.list_type.as_deref() == Some("map"));
        let before = keyed.map(|old| Keyed::new(&schema.list_map_keys, old));
        for (index, inner) in list.iter().enumerate() {
            let place = at.index(index);
            let result = match before.as_ref().and_then(|before| before.same(inner)) {
                Some(old) => node(items, inner, Some(old), &place),
                None => walk(items, inner, None, &place),
            };
            found.merge(result);
        }
    }
    let size = i64::try_from(list.len()).unwrap_or(i64::MAX);
    if let Some(min) = rules.min_items.filter(|min| size < *min) {
        found.too_few_items(at, min, size);
    }
    if let Some(max) = rules.max_items.filter(|max| size > *max) {
        found.too_many_items(at, max, size);
    }
    // No quadratic work for clients: the comparison is by text.
    let mut seen = std::collections::HashSet::new();
    if rules.unique_items && !list.iter().all(|v| seen.insert(super::shown(v))) {
        found.repeated(at);
    }
    found.count();
}

fn object(
    schema: &Schema,
    map: &Map<String, Value>,
    old: Option<&Value>,
    at: &Place<'_>,
    found: &mut Findings,
) {
    let rules = &schema.rules;
    let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
    if let Some(min) = rules.min_properties.filter(|min| size < *min) {
        found.too_few_fields(at, min, size);
    }
    if let Some(max) = rules.max_properties.filter(|max| size > *max) {
        found.too_many_fields(at, max, size);
    }
    let old = old.filter(|_| schema.map_type.as_deref() != Some("atomic")).and_then(Value::as_object);
    let inside = |name: &str, schema: &Schema, value: &Value, place: Place<'_>| {
        let own = at.is_root() && matches!(name, "kind" | "apiVersion");
        match old.and_then(|old| old.get(name)).filter(|_| !own) {
            Some(old) => node(schema, value, Some(old), &place),
            None => walk(schema, value, None, &place),
        }
    };
    match &schema.additional {
        Some(Additional::Allowed(false)) => {
            for name in map.keys().filter(|name| !schema.properties.contains_key(name.as_str())) {
                found.not_allowed(at, name);
            }
        }
        Some(Additional::Schema(more)) => {
            for (name, value) in map.iter().filter(|(n, _)| !schema.properties.contains_key(n.as_str())) {
                found.merge(inside(name, more, value, at.other(name)));
            }
        }
        _ => {}
    }
    for (name, schema) in &schema.properties {
        if let Some(value) = map.get(name.as_str()) {
            found.merge(inside(name, schema, value, at.field(name)));
        }
    }
    for name in rules.required.iter().filter(|name| !map.contains_key(name.as_str())) {
        found.required(at, name);
    }
}

/// `anyOf`, `oneOf`, `allOf` and `not`.
fn combined(schema: &Schema, value: &Value, old: Option<&Value>, at: &Place<'_>, found: &mut Findings) {
    let rules = &schema.rules;
    if !rules.any_of.is_empty() {
        let mut best: Option<Findings> = None;
        let mut success = None;
        for schema in &rules.any_of {
            let result = walk(schema, value, old, at);
            if result.is_valid() {
                success = Some(result);
                break;
            }
            if best.as_ref().is_none_or(|best| result.matches > best.matches) {
                best = Some(result);
            }
        }
        match (success, best) {
            (Some(success), _) => found.merge(success),
            (None, best) => {
                found.other(format!("\"{at}\" must validate at least one schema (anyOf)"));
                found.merge_some(best);
            }
        }
    }
    if !rules.one_of.is_empty() {
        let mut best: Option<Findings> = None;
        let mut success = None;
        let mut valid = 0;
        for schema in &rules.one_of {
            let result = walk(schema, value, old, at);
            if result.is_valid() {
                valid += 1;
                best = None;
                success.get_or_insert(result);
            } else if valid == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
                best = Some(result);
            }
        }
        if valid == 1 {
            found.merge_some(success);
        } else {
            let how = match valid {
                0 => "Found none valid".to_owned(),
                n => format!("Found {n} valid alternatives"),
            };
            found.other(format!("\"{at}\" must validate one and only one schema (oneOf). {how}"));
            found.merge_some(best);
        }
    }
    if !rules.all_of.is_empty() {
        let mut valid = 0;
        for schema in &rules.all_of {
            let result = walk(schema, value, old, at);
            valid += usize::from(result.is_valid());
            found.merge(result);
        }
        if valid != rules.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            found.other(format!("\"{at}\" must validate all the schemas (allOf){none}"));
        }
    }
    if let Some(not) = &rules.not
        && walk(not, value, old, at).is_valid()
    {
        found.other(format!("\"{at}\" must not validate the schema (not)"));
    }
    found.count();
}
