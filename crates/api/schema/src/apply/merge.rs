//! Merging an applied configuration into the live object, written straight as JSON: what the configuration does not
//! touch is copied as the bytes it is.

use std::collections::BTreeMap;

use super::collect::child;
use super::doc::{Form, Index, Val};
use super::keys;
use super::path::PathElement;
use super::place::{Atom, Kind, List, Map, Place, Relation};

/// The live object with the configuration merged into it. Where both have a value the configuration's wins; lists take
/// the configuration's order as far as it gives one.
pub(super) fn merge(live: &Val<'_>, config: &Val<'_>, place: Place<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(live.raw().len() + config.raw().len());
    if !write(Some(live), Some(config), place, &mut out) {
        out.extend_from_slice(b"null");
    }
    out
}

/// Writes the merged value; false when there is none.
fn write(live: Option<&Val<'_>>, config: Option<&Val<'_>>, place: Place<'_>, out: &mut Vec<u8>) -> bool {
    let (atom, kind) = match (live, config) {
        (None, None) => return false,
        // Nothing to merge with. An empty object or a list keeps its form, what is in it is taken as it is.
        (Some(only), None) | (None, Some(only)) => {
            out.extend_from_slice(only.raw());
            return true;
        }
        (Some(_), Some(config)) => {
            let (atom, narrowed) = place.atom_for(Some(config));
            let kind = atom.kind(narrowed);
            (atom, kind)
        }
    };
    as_kind(live, config, &atom, kind, out)
}

fn as_kind(
    live: Option<&Val<'_>>,
    config: Option<&Val<'_>>,
    atom: &Atom<'_>,
    kind: Kind,
    out: &mut Vec<u8>,
) -> bool {
    let holds = |form: Form| {
        [live, config].into_iter().flatten().any(|value| value.form() == form && !value.is_empty())
    };
    match (kind, atom.list, atom.map) {
        (Kind::List, Some(list), _) if list.relation != Relation::Atomic && holds(Form::List) => {
            lists(&list, live, config, out)
        }
        (Kind::Map, _, Some(map)) if !map.atomic && holds(Form::Map) => maps(&map, live, config, out),
        _ => match config.or(live) {
            Some(value) => {
                out.extend_from_slice(value.raw());
                true
            }
            None => false,
        },
    }
}

fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[') | None) {
        out.push(b',');
    }
}

fn maps(map: &Map<'_>, live: Option<&Val<'_>>, config: Option<&Val<'_>>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(b'{');
    let mut hint = 0;
    let mut member = |key: &Val<'_>, a: Option<&Val<'_>>, b: Option<&Val<'_>>, out: &mut Vec<u8>| {
        let Some(place) = child(map, &key.string(), &mut hint) else { return };
        let before = out.len();
        comma(out);
        out.extend_from_slice(key.raw());
        out.push(b':');
        if !write(a, b, place, out) {
            out.truncate(before);
        }
    };
    let wanted = config.map(|c| Index::new(*c));
    if let Some(live) = live {
        for (at, (key, value)) in live.members().enumerate() {
            let new = wanted.as_ref().and_then(|index| index.find(&key, at));
            member(&key, Some(&value), new.as_ref(), out);
        }
    }
    if let Some(config) = config {
        let existing = live.map(|l| Index::new(*l));
        for (at, (key, value)) in config.members().enumerate() {
            if existing.as_ref().and_then(|index| index.find(&key, at)).is_none() {
                member(&key, None, Some(&value), out);
            }
        }
    }
    close(out, start, b'}')
}

/// Ends an object or list; one that stayed empty was no value at all.
fn close(out: &mut Vec<u8>, start: usize, bracket: u8) -> bool {
    if out.len() == start + 1 {
        out.truncate(start);
        return false;
    }
    out.push(bracket);
    true
}

/// The elements of a list with their names, in list order; those without a name are left out.
fn named<'d>(list: &List<'_>, value: Option<&Val<'d>>) -> Vec<(PathElement, Val<'d>)> {
    let elements = value.into_iter().flat_map(Val::elements);
    elements.filter_map(|item| Some((keys::of(list, &item).ok()?, item))).collect()
}

/// Merges two lists whose elements have names. Elements of both stay where the live list has them until the
/// configuration's order says otherwise; elements of the live list alone keep their place among these.
fn lists(list: &List<'_>, live: Option<&Val<'_>>, config: Option<&Val<'_>>, out: &mut Vec<u8>) -> bool {
    let left = named(list, live);
    let right = named(list, config);
    // A name that the live list has several times merges with nothing.
    let mut live_by_name: BTreeMap<&PathElement, Option<&Val<'_>>> = BTreeMap::new();
    for (name, value) in &left {
        live_by_name.entry(name).and_modify(|found| *found = None).or_insert(Some(value));
    }
    let mut config_by_name: BTreeMap<&PathElement, bool> =
        right.iter().map(|(name, _)| (name, false)).collect();
    let shared: Vec<&PathElement> =
        right.iter().map(|(name, _)| name).filter(|name| live_by_name.contains_key(name)).collect();
    let mut shared = shared.into_iter().peekable();
    let start = out.len();
    out.push(b'[');
    let item = |a: Option<&Val<'_>>, b: Option<&Val<'_>>, out: &mut Vec<u8>| {
        let before = out.len();
        comma(out);
        if !write(a, b, list.element, out) {
            out.truncate(before);
        }
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((name, _)), Some((wanted, value))) = (left.get(l), right.get(r)) {
            if name == wanted {
                config_by_name.insert(wanted, true);
                item(live_by_name.get(name).copied().flatten(), Some(value), out);
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            // An element of both, but not the one that is due: it comes when the configuration says so.
            if config_by_name.contains_key(name) && shared.peek().is_some_and(|due| *due != name) {
                l += 1;
                continue;
            }
        }
        if let Some((name, value)) = left.get(l) {
            match config_by_name.get(name) {
                None => {
                    item(Some(value), None, out);
                    l += 1;
                    continue;
                }
                Some(true) => l += 1,
                Some(false) => {}
            }
        }
        if let Some((name, value)) = right.get(r) {
            config_by_name.insert(name, true);
            item(live_by_name.get(name).copied().flatten(), Some(value), out);
            r += 1;
            if shared.peek().is_some_and(|due| *due == name) {
                shared.next();
            }
        }
    }
    close(out, start, b']')
}
