//! Whether a configuration fits its kind: declared fields only, the right scalars, one element for each name.
//!
//! The messages show values as Go's `%v` and `%#v` print them, since that is what clients of upstream see.

use std::collections::BTreeSet;

use super::collect::child;
use super::doc::{Form, Val};
use super::keys;
use super::path::PathElement;
use super::place::{Kind, List, Map, Place, Relation, Scalar};

/// Everything that is wrong with the configuration, in upstream's words; `None` when nothing is.
pub(super) fn problems(value: &Val<'_>, place: Place<'_>) -> Option<String> {
    let mut found = Vec::new();
    check(value, place, "", &mut found);
    match &found[..] {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn note(found: &mut Vec<String>, at: &str, problem: &str) {
    found.push(if at.is_empty() { problem.to_owned() } else { format!("{at}: {problem}") });
}

fn check(value: &Val<'_>, place: Place<'_>, at: &str, found: &mut Vec<String>) {
    let (atom, narrowed) = place.atom_for(Some(value));
    let form = value.form();
    match (atom.kind(narrowed), atom.scalar, atom.list, atom.map) {
        _ if form == Form::Null => {}
        (Kind::Scalar, Some(scalar), ..) => {
            if let Some(problem) = scalar_problem(scalar, value) {
                note(found, at, &problem);
            }
        }
        (Kind::List, _, Some(_), _) if form != Form::List => {
            note(found, at, &format!("expected list, got {}", boxed(value)));
        }
        (Kind::List, _, Some(list), _) => check_list(&list, value, at, found),
        (Kind::Map, _, _, Some(_)) if form != Form::Map => {
            note(found, at, &format!("expected map, got {}", boxed(value)));
        }
        (Kind::Map, _, _, Some(map)) => check_map(&map, value, at, found),
        _ => {}
    }
}

fn scalar_problem(wanted: Scalar, value: &Val<'_>) -> Option<String> {
    let form = value.form();
    let scalar = matches!(form, Form::Bool | Form::Number | Form::Text);
    match wanted {
        Scalar::Number if form != Form::Number => {
            Some(format!("expected numeric (int or float), got {}", go_type(value)))
        }
        Scalar::Text if form != Form::Text => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)))
        }
        Scalar::Bool if form != Form::Bool => Some(format!("expected boolean, got {}", boxed(value))),
        Scalar::Any if !scalar => Some(format!("expected any scalar, got {}", boxed(value))),
        _ => None,
    }
}

fn check_list(list: &List<'_>, value: &Val<'_>, at: &str, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in value.elements().enumerate() {
        let name = if list.relation == Relation::Atomic {
            PathElement::Index(index as i64)
        } else {
            match keys::of(list, &item) {
                Ok(name) => {
                    if !seen.insert(name.clone()) {
                        note(found, at, &format!("duplicate entries for key {name}"));
                    }
                    name
                }
                Err(problem) => {
                    note(found, at, &format!("element {index}: {problem}"));
                    return;
                }
            }
        };
        check(&item, list.element, &format!("{at}{name}"), found);
    }
}

fn check_map(map: &Map<'_>, value: &Val<'_>, at: &str, found: &mut Vec<String>) {
    let mut hint = 0;
    for (key, item) in value.members() {
        let name = key.string();
        let here = format!("{at}.{name}");
        match child(map, &name, &mut hint) {
            Some(place) => check(&item, place, &here, found),
            None => {
                note(found, &here, "field not declared in schema");
                return;
            }
        }
    }
}

fn go_type(value: &Val<'_>) -> &'static str {
    match value.form() {
        Form::Null => "<nil>",
        Form::Bool => "bool",
        Form::Number if value.raw().iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => "float64",
        Form::Number => "int64",
        Form::Text => "string",
        Form::List => "[]interface {}",
        Form::Map => "map[string]interface {}",
    }
}

/// Go's `%v` of the pointer to the boxed value.
fn boxed(value: &Val<'_>) -> String {
    format!("&{{{}}}", go_plain(value))
}

/// Go's `%v`.
fn go_plain(value: &Val<'_>) -> String {
    match value.form() {
        Form::Null => "<nil>".to_owned(),
        Form::Text => value.string().into_owned(),
        Form::List => {
            let items: Vec<String> = value.elements().map(|item| go_plain(&item)).collect();
            format!("[{}]", items.join(" "))
        }
        Form::Map => {
            let mut items: Vec<String> =
                value.members().map(|(key, item)| format!("{}:{}", key.string(), go_plain(&item))).collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        Form::Bool | Form::Number => String::from_utf8_lossy(value.raw()).into_owned(),
    }
}

/// Go's `%#v`.
fn go_syntax(value: &Val<'_>) -> String {
    match value.form() {
        Form::Null => "interface {}(nil)".to_owned(),
        Form::Text => meta::go_quote(&value.string()),
        Form::List => {
            let items: Vec<String> = value.elements().map(|item| go_syntax(&item)).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Form::Map => {
            let mut items: Vec<String> = value
                .members()
                .map(|(key, item)| format!("{}:{}", meta::go_quote(&key.string()), go_syntax(&item)))
                .collect();
            items.sort();
            format!("map[string]interface {{}}{{{}}}", items.join(", "))
        }
        Form::Bool | Form::Number => String::from_utf8_lossy(value.raw()).into_owned(),
    }
}
