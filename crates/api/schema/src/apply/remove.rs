//! Taking fields out of an object, written straight as JSON.

use super::collect::child;
use super::doc::{Form, Val};
use super::keys;
use super::path::PathElement;
use super::place::{Kind, List, Map, Place, Relation};
use super::set::Set;

/// The value without the members of `gone` and everything below them. An object that loses all it had stays as an empty
/// one, a list goes with its field.
pub(super) fn remove(value: &Val<'_>, gone: &Set, place: Place<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.raw().len());
    write(value, gone, place, &mut out);
    out
}

fn write(value: &Val<'_>, gone: &Set, place: Place<'_>, out: &mut Vec<u8>) {
    let (atom, narrowed) = place.atom_for(Some(value));
    match (atom.kind(narrowed), atom.list, atom.map) {
        (Kind::Scalar, ..) => out.extend_from_slice(value.raw()),
        (Kind::List, Some(list), _) if value.form() == Form::List && list.relation != Relation::Atomic => {
            lists(&list, value, gone, out);
        }
        (Kind::Map, _, Some(map)) if value.form() == Form::Map && !map.atomic => maps(&map, value, gone, out),
        // Something below an atomic value was to go: then the whole of it goes.
        _ => out.extend_from_slice(b"null"),
    }
}

fn comma(out: &mut Vec<u8>, start: usize) {
    if out.len() > start + 1 {
        out.push(b',');
    }
}

fn lists(list: &List<'_>, value: &Val<'_>, gone: &Set, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(b'[');
    for item in value.elements() {
        let name = keys::of(list, &item).ok();
        if name.as_ref().is_some_and(|name| gone.has_member(name)) {
            continue;
        }
        comma(out, start);
        match name.as_ref().and_then(|name| gone.below(name)) {
            Some(below) => write(&item, below, list.element, out),
            None => out.extend_from_slice(item.raw()),
        }
    }
    if out.len() == start + 1 {
        out.truncate(start);
        out.extend_from_slice(b"null");
    } else {
        out.push(b']');
    }
}

fn maps(map: &Map<'_>, value: &Val<'_>, gone: &Set, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(b'{');
    let mut hint = 0;
    for (key, item) in value.members() {
        let name = key.string();
        let element = PathElement::Field(name.as_ref().into());
        if gone.has_member(&element) {
            continue;
        }
        let before = out.len();
        comma(out, start);
        out.extend_from_slice(key.raw());
        out.push(b':');
        match (gone.below(&element), child(map, &name, &mut hint)) {
            (Some(below), Some(place)) => {
                let at = out.len();
                write(&item, below, place, out);
                if item.form() == Form::List && &out[at..] == b"null" {
                    out.truncate(before);
                }
            }
            _ => out.extend_from_slice(item.raw()),
        }
    }
    out.push(b'}');
}
