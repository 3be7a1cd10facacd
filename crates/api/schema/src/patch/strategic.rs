//! Strategic merge patch: a merge patch that knows which lists are sets and which are maps by key.
//!
//! Directives inside the patch: `$patch: replace|delete` in a map or list element, `$retainKeys` in a map,
//! `$deleteFromPrimitiveList/<field>` and `$setElementOrder/<field>` beside a list. The order of a merged list is:
//! elements of the patch in the order that the patch (or the order directive) gives, the server's own elements in
//! theirs, interleaved where both were known to the server.
//!
//! The specification is the Kubernetes community document "strategic merge patch" and the observed behaviour of
//! `apimachinery/pkg/util/strategicpatch`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::shape::{Shape, Strategy};
use super::{PatchError, parse};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// Merges `patch` into `target`, an object of the type `shape`.
///
/// # Errors
/// [`PatchError::Malformed`] when the document is not a JSON object or a directive has not its form,
/// [`PatchError::Unprocessable`] for lists of lists, [`PatchError::Directive`] when directives or lists do not have the form
/// that the type asks for.
pub fn apply<S: Shape>(target: &mut Value, patch: &[u8], shape: S) -> Result<(), PatchError> {
    let patch = match parse(patch, "")? {
        Value::Object(patch) => patch,
        Value::Null => Object::new(),
        other => {
            return Err(PatchError::Malformed(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                meta::go_kind(&other)
            )));
        }
    };
    let current = match std::mem::take(target) {
        Value::Object(current) => current,
        _ => Object::new(),
    };
    *target = Value::Object(merge_maps(current, patch, Some(shape))?);
    Ok(())
}

fn refuse(why: impl Into<String>) -> PatchError {
    PatchError::Directive(why.into())
}

/// A directive that is not of the form that it must have.
fn malformed(of: &str) -> PatchError {
    PatchError::Malformed(format!("invalid patch format of {of}"))
}

/// A directive that names nothing of what can be done, with the map that holds it.
fn unknown_patch(directive: &Value, map: Value) -> PatchError {
    let shown = match directive {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => meta::go_plain(directive),
        Value::Null => "%!s(<nil>)".to_owned(),
        scalar => format!("%!s({}={scalar})", go_type(scalar)),
    };
    refuse(format!("unknown patch type: {shown} in map: {}", meta::go_plain(&map)))
}

/// The type that a value has in Go.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn wrong_type(wanted: &str, found: &Value) -> PatchError {
    refuse(format!("expected a {wanted}, but received a {}", go_type(found)))
}

/// The field that a directive beside it is about.
fn named_by<'a>(directive: &'a str, of: &str) -> Result<&'a str, PatchError> {
    let field = directive.split_once('/').map_or("", |(_, field)| field);
    if field.is_empty() { Err(malformed(of)) } else { Ok(field) }
}

fn merge_maps<S: Shape>(
    mut current: Object,
    mut patch: Object,
    shape: Option<S>,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => {
                patch.insert(DIRECTIVE.to_owned(), directive.clone());
                Err(unknown_patch(&directive, Value::Object(patch)))
            }
        };
    }
    retain_keys(&mut current, &mut patch)?;
    merge_ordered_lists(&mut current, &mut patch, shape)?;
    for (key, value) in patch {
        if key.starts_with(DELETE_FROM) {
            let list = named_by(&key, "primitive list")?.to_owned();
            delete_from_list(&mut current, list, value, shape)?;
        } else {
            merge_field(&mut current, key, value, shape)?;
        }
    }
    Ok(current)
}

fn merge_field<S: Shape>(
    current: &mut Object,
    key: String,
    value: Value,
    shape: Option<S>,
) -> Result<(), PatchError> {
    if value.is_null() {
        current.remove(&key);
        return Ok(());
    }
    let strategy = shape.map(|shape| shape.strategy(&key)).unwrap_or_default();
    let inner = shape.and_then(|shape| shape.field(&key));
    let merged = match (current.remove(&key), value) {
        (Some(Value::Object(_)), patch @ Value::Object(_)) if strategy == Strategy::Replace => patch,
        (Some(Value::Object(old)), Value::Object(patch)) => Value::Object(merge_maps(old, patch, inner)?),
        (Some(Value::Array(old)), Value::Array(patch)) if strategy == Strategy::Merge => {
            let merge_key = shape.map_or("", |shape| shape.merge_key(&key));
            Value::Array(merge_lists(old, patch, merge_key, inner)?)
        }
        (Some(Value::Array(_)), patch @ Value::Array(_)) => patch,
        // Nothing to merge with: the patch is taken as it is, without what only means something to a merge.
        (_, mut patch) => {
            drop_nulls(&mut patch);
            match without_directives(patch) {
                Some(patch) => patch,
                None => return Ok(()),
            }
        }
    };
    current.insert(key, merged);
    Ok(())
}

/// `$retainKeys` lists every field that may stay; fields of the patch that it does not name are an error.
fn retain_keys(current: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let retained = retained.as_array().ok_or_else(|| malformed("retainKeys"))?;
    let keeps = |key: &str| retained.iter().any(|name| name.as_str() == Some(key));
    for (key, value) in patch.iter() {
        let plain = !value.is_null() && !key.starts_with(DELETE_FROM) && !key.starts_with(ELEMENT_ORDER);
        if plain && !keeps(key) {
            return Err(malformed("retainKeys"));
        }
    }
    current.retain(|key, _| keeps(key));
    Ok(())
}

/// Lists that have an order directive beside them are merged here and taken out of the patch.
fn merge_ordered_lists<S: Shape>(
    current: &mut Object,
    patch: &mut Object,
    shape: Option<S>,
) -> Result<(), PatchError> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let order = match patch.remove(&directive).unwrap_or_default() {
            Value::Array(order) => order,
            other => return Err(wrong_type("[]interface {}", &other)),
        };
        let key = named_by(&directive, "setElementOrder list")?.to_owned();
        let as_list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(wrong_type("[]interface {}", &other)),
        };
        let server = as_list(current.remove(&key))?;
        let patched = as_list(patch.remove(&key))?;
        if let Some(kind) =
            shape.and_then(Shape::kind).filter(|_| shape.and_then(|s| s.field(&key)).is_none())
        {
            return Err(refuse(format!(
                "unable to find api field in struct {kind} for the json field {key:?}"
            )));
        }
        let merge_key = shape.map_or("", |shape| shape.merge_key(&key));
        check_order(patched.as_deref().unwrap_or_default(), &order, merge_key)?;
        let merged = match (server.clone(), patched) {
            (Some(server), None) => server,
            (None, Some(patched)) => patched.into_iter().filter_map(without_directives).collect(),
            (Some(server), Some(patched)) => {
                let inner = shape.and_then(|shape| shape.field(&key));
                if shape.is_none_or(|shape| shape.strategy(&key) == Strategy::Merge) {
                    merge_lists(server, patched, merge_key, inner)?
                } else {
                    patched
                }
            }
            (None, None) => continue,
        };
        let ordered = arrange(merged, &order, &server.unwrap_or_default(), merge_key);
        current.insert(key, Value::Array(ordered));
    }
    Ok(())
}

/// The elements of the patch must appear in the order directive, in the same relative order. Elements that are deleted
/// need not, other directives must have an element of the order left behind them.
fn check_order(patched: &[Value], order: &[Value], merge_key: &str) -> Result<(), PatchError> {
    if order.is_empty() || patched.is_empty() {
        return Ok(());
    }
    let deletes = |element: &&Value| {
        !merge_key.is_empty() && element.get(DIRECTIVE).and_then(Value::as_str) == Some("delete")
    };
    let mut elements = patched.iter().filter(|element| !deletes(element)).peekable();
    let mut places = order.iter();
    while let Some(element) = elements.peek() {
        if places.as_slice().is_empty() {
            return Err(refuse(format!(
                "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
                meta::go_plain(&Value::Array(patched.to_vec())),
                meta::go_plain(&Value::Array(order.to_vec())),
            )));
        }
        if element.get(DIRECTIVE).is_some() {
            elements.next();
            continue;
        }
        let Some(placed) = places.next() else { break };
        if same_named(element, placed, merge_key)? {
            elements.next();
        }
    }
    Ok(())
}

/// Whether two elements are the same one; in lists with a merge key both must have it.
fn same_named(left: &Value, right: &Value, merge_key: &str) -> Result<bool, PatchError> {
    if merge_key.is_empty() {
        return Ok(left == right);
    }
    for element in [left, right] {
        if !element.is_object() {
            return Err(wrong_type("map[string]interface {}", element));
        }
    }
    for element in [left, right] {
        element.get(merge_key).ok_or_else(|| no_merge_key(element, merge_key))?;
    }
    Ok(left[merge_key] == right[merge_key])
}

/// What a list beside the patched one takes out of it. Where there is no such list, or something else is in either place,
/// upstream passes over the directive, or merges what is of one type.
fn delete_from_list<S: Shape>(
    current: &mut Object,
    list: String,
    deleted: Value,
    shape: Option<S>,
) -> Result<(), PatchError> {
    match (current.get_mut(&list), deleted) {
        (_, Value::Null) => {
            current.remove(&list);
        }
        (Some(Value::Array(values)), Value::Array(deleted)) => {
            one_type(values, &deleted)?;
            let deleted = Places::of(&deleted, "");
            values.retain(|value| deleted.find(value).is_none());
        }
        (Some(found), other) if go_type(found) == go_type(&other) => {
            merge_field(current, list, other, shape)?;
        }
        _ => {}
    }
    Ok(())
}

/// Lists are merged when all elements of both have one type, and it is no list.
fn one_type(server: &[Value], patch: &[Value]) -> Result<(), PatchError> {
    let mut elements = server.iter().chain(patch);
    let Some(first) = elements.next() else { return Ok(()) };
    if first.is_array() {
        return Err(PatchError::Unprocessable("lists of lists are not supported".into()));
    }
    if elements.all(|element| go_type(element) == go_type(first)) {
        return Ok(());
    }
    let both = Value::Array(vec![Value::Array(server.to_vec()), Value::Array(patch.to_vec())]);
    Err(refuse(format!("list element types are not identical: {}", meta::go_plain(&both))))
}

fn merge_lists<S: Shape>(
    server: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
    inner: Option<S>,
) -> Result<Vec<Value>, PatchError> {
    if server.is_empty() && patch.is_empty() {
        return Ok(server);
    }
    one_type(&server, &patch)?;
    if !server.iter().chain(&patch).any(Value::is_object) {
        let mut merged = server.clone();
        let mut known = Places::of(&server, "");
        for value in &patch {
            if known.find(value).is_none() {
                known.add(value, merged.len());
                merged.push(value.clone());
            }
        }
        return Ok(arrange(merged, &patch, &server, ""));
    }
    if merge_key.is_empty() {
        return Err(refuse("cannot merge lists without merge key for struct"));
    }
    let (kept, patch) = take_directives(server.clone(), patch, merge_key)?;
    let merged = merge_elements(kept, &patch, merge_key, inner)?;
    Ok(arrange(merged, &patch, &server, merge_key))
}

/// Performs `$patch` elements of a list: `delete` removes matches, `replace` empties the server's list.
fn take_directives(
    mut server: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut deleted = Places::of(&[], merge_key);
    let mut replaced = false;
    for element in patch {
        match element.get(DIRECTIVE) {
            None => plain.push(element),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    element.get(merge_key).ok_or_else(|| no_merge_key(&element, merge_key))?;
                    deleted.add(&element, 0);
                }
                Some("replace") => replaced = true,
                Some("merge") => return Err(refuse("merging lists cannot yet be specified in the patch")),
                _ => return Err(unknown_patch(directive, element.clone())),
            },
        }
    }
    server.retain(|old| deleted.find(old).is_none());
    Ok(if replaced { (plain, Vec::new()) } else { (server, plain) })
}

fn merge_elements<S: Shape>(
    mut merged: Vec<Value>,
    patch: &[Value],
    merge_key: &str,
    inner: Option<S>,
) -> Result<Vec<Value>, PatchError> {
    let mut known = Places::of(&merged, merge_key);
    for element in patch {
        element.get(merge_key).ok_or_else(|| no_merge_key(element, merge_key))?;
        let found = known.find(element);
        match (found, element) {
            (Some(at), Value::Object(change)) => {
                let Value::Object(old) = std::mem::take(&mut merged[at]) else { continue };
                merged[at] = Value::Object(merge_maps(old, change.clone(), inner)?);
            }
            _ => {
                known.add(element, merged.len());
                merged.push(element.clone());
            }
        }
    }
    Ok(merged)
}

fn no_merge_key(element: &Value, merge_key: &str) -> PatchError {
    refuse(format!("map: {} does not contain declared merge key: {merge_key}", meta::go_plain(element)))
}

/// Orders a merged list: elements that `order` names in that order, the others in the server's order; of two heads
/// the server's own goes first only where the server had both and had it in front.
fn arrange(merged: Vec<Value>, order: &[Value], server: &[Value], merge_key: &str) -> Vec<Value> {
    let (order, server) = (Places::of(order, merge_key), Places::of(server, merge_key));
    let (mut named, mut own) = (Vec::new(), Vec::new());
    for element in merged {
        let in_server = server.find(&element);
        match order.find(&element) {
            Some(at) => named.push((at, in_server, element)),
            None => own.push((in_server, element)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    own.sort_by_key(|(at, _)| at.unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(named.len() + own.len());
    let mut named = named.into_iter().peekable();
    for (left, element) in own {
        while let Some((_, right, _)) = named.peek() {
            match (left, right) {
                (Some(left), Some(right)) if left < *right => break,
                _ => arranged.extend(named.next().map(|(.., element)| element)),
            }
        }
        arranged.push(element);
    }
    arranged.extend(named.map(|(.., element)| element));
    arranged
}

/// Where each element of a list is, by its name; of several with one name, the first. Lists of a patch can be long, so
/// nothing walks them for every element.
struct Places<'k> {
    merge_key: &'k str,
    by_name: HashMap<String, usize>,
}

impl<'k> Places<'k> {
    fn of(list: &[Value], merge_key: &'k str) -> Self {
        let mut places = Places { merge_key, by_name: HashMap::with_capacity(list.len()) };
        for (at, element) in list.iter().enumerate() {
            places.add(element, at);
        }
        places
    }

    /// A scalar names itself, an object is named by its merge key.
    fn name(&self, element: &Value) -> Option<String> {
        match self.merge_key {
            "" => Some(element.to_string()),
            key => element.get(key).map(Value::to_string),
        }
    }

    fn add(&mut self, element: &Value, at: usize) {
        if let Some(name) = self.name(element) {
            self.by_name.entry(name).or_insert(at);
        }
    }

    fn find(&self, element: &Value) -> Option<usize> {
        self.by_name.get(&self.name(element)?).copied()
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A value that enters the object without a merge. What says `$patch` is left out, whatever it says; other directives
/// stay, as fields that nobody knows.
fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => return None,
        Value::Object(map) => Value::Object(
            map.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?))).collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().filter_map(without_directives).collect()),
        scalar => scalar,
    })
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
