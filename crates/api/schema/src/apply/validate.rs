//! Whether a configuration fits its kind: declared fields only, the right scalars, one element for each name.
//!
//! The messages show values as Go's `%v` and `%#v` print them, since that is what clients of upstream see.

use std::collections::BTreeSet;
use std::fmt;

use super::collect::child;
use super::doc::{Form, Val};
use super::keys;
use super::path::PathElement;
use super::place::{Atom, Kind, List, Map, Place, Relation, Scalar};

/// Bytes of text that problems may make together: names and values in them are the client's.
const TEXT_MAX: usize = 1 << 20;

/// Everything that is wrong with the configuration, in upstream's words; `None` when nothing is.
pub(super) fn problems(value: &Val<'_>, place: Place<'_>) -> Option<String> {
    let mut found = Found::default();
    check(value, place, &At::Root, &mut found);
    match &found.problems[..] {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("errors:\n  {}", many.join("\n  "))),
    }
}

/// Problems so far.
#[derive(Default)]
struct Found {
    problems: Vec<String>,
    bytes: usize,
}

impl Found {
    /// Further problems are left out.
    fn is_full(&self) -> bool {
        self.bytes > TEXT_MAX
    }

    fn note(&mut self, at: &At<'_>, problem: impl fmt::Display) {
        if self.is_full() {
            return;
        }
        let text = match at {
            At::Root => problem.to_string(),
            at => format!("{at}: {problem}"),
        };
        self.bytes += text.len();
        self.problems.push(text);
    }
}

/// Where a value is, as a chain of borrowed steps: the text is only made when there is something to say.
enum At<'a> {
    Root,
    Field(&'a At<'a>, &'a str),
    Element(&'a At<'a>, &'a PathElement),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root => Ok(()),
            At::Field(parent, name) => write!(f, "{parent}.{name}"),
            At::Element(parent, element) => write!(f, "{parent}{element}"),
        }
    }
}

fn check(value: &Val<'_>, place: Place<'_>, at: &At<'_>, found: &mut Found) {
    let (atom, narrowed) = place.atom_for(Some(value));
    let form = value.form();
    match (atom.kind(narrowed), atom.scalar, atom.list, atom.map) {
        _ if form == Form::Null => {}
        (Kind::Scalar, Some(scalar), ..) => {
            if let Some(problem) = scalar_problem(scalar, value) {
                found.note(at, problem);
            }
        }
        (Kind::List, _, Some(_), _) if form != Form::List => {
            found.note(at, format_args!("expected list, got {}", boxed(value)));
        }
        (Kind::List, _, Some(list), _) => check_list(&list, value, at, found),
        (Kind::Map, _, _, Some(_)) if form != Form::Map => {
            found.note(at, format_args!("expected map, got {}", boxed(value)));
        }
        (Kind::Map, _, _, Some(map)) => check_map(&map, value, at, found),
        _ => {}
    }
}

/// Whether a value has a form that its place, read as `kind`, has no room for.
pub(super) fn misfits(value: &Val<'_>, atom: &Atom<'_>, kind: Kind) -> bool {
    let form = value.form();
    match kind {
        _ if form == Form::Null => false,
        Kind::Scalar => atom.scalar.is_some_and(|scalar| scalar_problem(scalar, value).is_some()),
        Kind::List => atom.list.is_some() && form != Form::List,
        Kind::Map => atom.map.is_some() && form != Form::Map,
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

fn check_list(list: &List<'_>, value: &Val<'_>, at: &At<'_>, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (index, item) in value.elements().enumerate() {
        if found.is_full() {
            return;
        }
        let name = if list.relation == Relation::Atomic {
            PathElement::Index(index as i64)
        } else {
            match keys::of(list, &item) {
                Ok(name) => {
                    if !seen.insert(name.clone()) {
                        found.note(at, format_args!("duplicate entries for key {name}"));
                    }
                    name
                }
                Err(problem) => {
                    found.note(at, format_args!("element {index}: {problem}"));
                    return;
                }
            }
        };
        check(&item, list.element, &At::Element(at, &name), found);
    }
}

fn check_map(map: &Map<'_>, value: &Val<'_>, at: &At<'_>, found: &mut Found) {
    let mut hint = 0;
    for (key, item) in value.members() {
        let name = key.string();
        if found.is_full() {
            return;
        }
        let here = At::Field(at, &name);
        match child(map, &name, &mut hint) {
            Some(place) => check(&item, place, &here, found),
            None => {
                found.note(&here, "field not declared in schema");
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
