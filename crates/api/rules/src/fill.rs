//! Small helpers with which defaults are written: each fills a field only when it is empty.

use meta::{Map, Quantity, Str};

/// Sets an absent option.
pub fn set<T>(field: &mut Option<T>, value: T) {
    if field.is_none() {
        *field = Some(value);
    }
}

/// Sets an empty string.
pub fn text(field: &mut Str, value: &str) {
    if field.is_empty() {
        *field = value.into();
    }
}

/// Sets an absent optional string.
pub fn text_opt(field: &mut Option<Str>, value: &str) {
    if field.is_none() {
        *field = Some(value.into());
    }
}

/// Sets a number that is zero.
pub fn number(field: &mut i32, value: i32) {
    if *field == 0 {
        *field = value;
    }
}

/// Copies what `from` has and `to` has not.
pub fn missing(to: &mut Map<Quantity>, from: &Map<Quantity>) {
    for (name, value) in from.iter() {
        if !to.contains_key(name) {
            to.insert(name.clone(), *value);
        }
    }
}

/// Rounds resource amounts up to thousandths, the finest that Kubernetes stores.
pub fn round_up(list: &mut Map<Quantity>) {
    for (_, value) in list.iter_mut() {
        *value = value.in_millis();
    }
}
