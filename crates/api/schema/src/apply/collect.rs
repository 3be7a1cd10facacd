//! From a value to the set of its fields.
//!
//! Two different sets are meant by that. [`applied`] is what an apply owns: leaves, elements of lists, keys of maps and
//! whatever is empty, but not the structs on the way. [`whole`] is what appears when something is new: every place.

use super::doc::{Form, Val};
use super::keys;
use super::path::PathElement;
use super::place::{Kind, List, Map, Place, Relation};
use super::set::Set;
use super::validate::misfits;

/// Every place below a value. Sets `untyped` where an element of a list has no name, or a value has the wrong form.
pub(super) fn whole(value: &Val<'_>, place: Place<'_>, untyped: &mut bool) -> Set {
    let (atom, narrowed) = place.atom_for(Some(value));
    let mut out = Set::default();
    *untyped |= misfits(value, &atom, atom.kind(narrowed));
    match atom.kind(narrowed) {
        Kind::Map => {
            let Some(map) = atom.map.filter(|map| !map.atomic) else { return out };
            let mut hint = 0;
            for (key, value) in value.members() {
                let name = key.string();
                if let Some(below) = child(&map, &name, &mut hint) {
                    out.push(PathElement::Field(name.as_ref().into()), true, whole(&value, below, untyped));
                }
            }
        }
        Kind::List => {
            let Some(list) = atom.list.filter(|list| list.relation != Relation::Atomic) else { return out };
            for group in groups(&list, value, untyped) {
                // Of several elements with one name nothing can be said but that they are there.
                let below = match &group.values[..] {
                    [one] => whole(one, list.element, untyped),
                    _ => Set::default(),
                };
                out.push(group.element, true, below);
            }
        }
        Kind::Scalar => {}
    }
    out.sort();
    out
}

/// What an apply of this value owns.
pub(super) fn applied(value: &Val<'_>, place: Place<'_>) -> Set {
    below(value, place).1
}

/// Whether the value itself is a leaf, and what is owned below it.
fn below(value: &Val<'_>, place: Place<'_>) -> (bool, Set) {
    let (atom, narrowed) = place.atom_for(Some(value));
    let mut out = Set::default();
    match atom.kind(narrowed) {
        Kind::Scalar => return (true, out),
        Kind::Map => {
            let Some(map) = atom.map.filter(|map| !map.atomic) else { return (true, out) };
            let mut hint = 0;
            for (key, value) in value.members() {
                let name = key.string();
                let declared = map.field(name.as_bytes(), &mut hint);
                let Some(place) = declared.or(map.element) else { continue };
                let (leaf, set) = below(&value, place);
                let bare = value.form() == Form::Null || (value.form() == Form::Map && value.is_empty());
                let member = leaf || bare || declared.is_none();
                out.push(PathElement::Field(name.as_ref().into()), member, set);
            }
        }
        Kind::List => {
            let Some(list) = atom.list.filter(|list| list.relation != Relation::Atomic) else {
                return (true, out);
            };
            for group in groups(&list, value, &mut false) {
                let set = match &group.values[..] {
                    [one] => below(one, list.element).1,
                    _ => Set::default(),
                };
                out.push(group.element, true, set);
            }
        }
    }
    out.sort();
    (false, out)
}

/// What a key of an object holds.
pub(super) fn child<'s>(map: &Map<'s>, name: &str, hint: &mut usize) -> Option<Place<'s>> {
    map.field(name.as_bytes(), hint).or(map.element)
}

/// The elements of a list that share a name.
pub(super) struct Group<'d> {
    pub element: PathElement,
    pub values: Vec<Val<'d>>,
}

/// The elements of a list by their names, in name order; those that have none are left out and set `untyped`.
pub(super) fn groups<'d>(list: &List<'_>, value: &Val<'d>, untyped: &mut bool) -> Vec<Group<'d>> {
    let mut out: Vec<Group<'d>> = Vec::new();
    for item in value.elements() {
        match keys::of(list, &item) {
            Ok(element) => out.push(Group { element, values: vec![item] }),
            Err(_) => *untyped = true,
        }
    }
    out.sort_by(|a, b| a.element.cmp(&b.element));
    out.dedup_by(|later, kept| {
        let same = later.element == kept.element;
        if same {
            kept.values.append(&mut later.values);
        }
        same
    });
    out
}
