//! What differs between two states of an object: fields that went, changed and came.

use super::collect::{Group, child, groups, whole};
use super::doc::{Form, Index, Val};
use super::path::PathElement;
use super::place::{Atom, Kind, List, Map, Place, Relation};
use super::set::Set;
use super::validate::misfits;

/// The difference of two states. No field is in more than one of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the old state.
    pub removed: Set,
    /// In both, with different values.
    pub modified: Set,
    /// Only in the new state.
    pub added: Set,
    /// One of the states has elements of lists without what names them, or values of the wrong form: nobody can own them.
    pub untyped: bool,
}

/// Which of the sets a place itself is a member of.
#[derive(Clone, Copy, Default)]
struct Marks {
    removed: bool,
    modified: bool,
    added: bool,
}

impl Comparison {
    /// Compares two states of what stands at `place`.
    pub fn of(old: &Val<'_>, new: &Val<'_>, place: Place<'_>) -> Self {
        let mut out = Comparison::default();
        walk(Some(old), Some(new), place, &mut out);
        out.sort();
        out
    }

    /// Nothing differs.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// Passes each of the sets through a filter.
    pub fn map(self, filter: impl Fn(Set) -> Set) -> Self {
        Comparison {
            removed: filter(self.removed),
            modified: filter(self.modified),
            added: filter(self.added),
            untyped: self.untyped,
        }
    }

    fn sort(&mut self) {
        self.removed.sort();
        self.modified.sort();
        self.added.sort();
    }

    /// Adds what was found at and below one element.
    fn attach(&mut self, element: PathElement, marks: Marks, mut below: Comparison) {
        below.sort();
        self.untyped |= below.untyped;
        self.removed.push(element.clone(), marks.removed, below.removed);
        self.modified.push(element.clone(), marks.modified, below.modified);
        self.added.push(element, marks.added, below.added);
    }
}

/// Compares what stands at a place; one of the sides may be absent. Findings below go to `out`.
fn walk(old: Option<&Val<'_>>, new: Option<&Val<'_>>, place: Place<'_>, out: &mut Comparison) -> Marks {
    match (old, new) {
        (None, None) => Marks::default(),
        (None, Some(new)) => {
            out.added.nodes.append(&mut whole(new, place, &mut out.untyped).nodes);
            Marks { added: true, ..Marks::default() }
        }
        (Some(old), None) => {
            out.removed.nodes.append(&mut whole(old, place, &mut out.untyped).nodes);
            Marks { removed: true, ..Marks::default() }
        }
        (Some(old), Some(new)) if old.raw() == new.raw() => Marks::default(),
        (Some(old), Some(new)) => both(old, new, place, out),
    }
}

fn both(old: &Val<'_>, new: &Val<'_>, place: Place<'_>, out: &mut Comparison) -> Marks {
    let (atom, was) = place.atom_for(Some(old));
    let (_, is) = place.atom_for(Some(new));
    let mut marks = Marks::default();
    out.untyped |= misfits(new, &atom, atom.kind(is));
    if was != is && !atom.is_simple() {
        // The value changed its form: what the old form held goes, what the new one holds comes.
        marks = as_kind(old, new, &atom, atom.kind(was), out);
    }
    let second = as_kind(old, new, &atom, atom.kind(is), out);
    marks.modified |= second.modified;
    marks
}

fn as_kind(old: &Val<'_>, new: &Val<'_>, atom: &Atom<'_>, kind: Kind, out: &mut Comparison) -> Marks {
    match kind {
        Kind::Scalar => leaf(old, new),
        Kind::List => match atom.list {
            Some(list) if list.relation != Relation::Atomic && !nothing_in(old, new, Form::List) => {
                lists(&list, old, new, out);
                Marks::default()
            }
            _ => leaf(old, new),
        },
        Kind::Map => match atom.map {
            Some(map) if !map.atomic && !nothing_in(old, new, Form::Map) => {
                maps(&map, old, new, out);
                Marks::default()
            }
            _ => leaf(old, new),
        },
    }
}

/// Both sides are empty, null or of another form: then they count as leaves, which keeps empty and null apart.
fn nothing_in(old: &Val<'_>, new: &Val<'_>, form: Form) -> bool {
    let nothing = |value: &Val<'_>| value.form() != form || value.is_empty();
    nothing(old) && nothing(new)
}

fn leaf(old: &Val<'_>, new: &Val<'_>) -> Marks {
    Marks { modified: !old.same(new), ..Marks::default() }
}

fn maps(map: &Map<'_>, old: &Val<'_>, new: &Val<'_>, out: &mut Comparison) {
    let (was, is) = (Index::new(*old), Index::new(*new));
    let mut hint = 0;
    for (at, (key, before)) in old.members().enumerate() {
        let after = is.find(&key, at);
        if after.is_some_and(|after| after.raw() == before.raw()) {
            continue;
        }
        one(map, &key, Some(&before), after.as_ref(), &mut hint, out);
    }
    for (at, (key, after)) in new.members().enumerate() {
        if was.find(&key, at).is_none() {
            one(map, &key, None, Some(&after), &mut hint, out);
        }
    }
}

fn one(
    map: &Map<'_>,
    key: &Val<'_>,
    old: Option<&Val<'_>>,
    new: Option<&Val<'_>>,
    hint: &mut usize,
    out: &mut Comparison,
) {
    let name = key.string();
    let Some(place) = child(map, &name, hint) else { return };
    let mut below = Comparison::default();
    let marks = walk(old, new, place, &mut below);
    out.attach(PathElement::Field(name.as_ref().into()), marks, below);
}

fn lists(list: &List<'_>, old: &Val<'_>, new: &Val<'_>, out: &mut Comparison) {
    let mut was = groups(list, old, &mut out.untyped).into_iter().peekable();
    let mut is = groups(list, new, &mut out.untyped).into_iter().peekable();
    loop {
        let order = match (was.peek(), is.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.element.cmp(&b.element),
        };
        let before = if order.is_le() { was.next() } else { None };
        let after = if order.is_ge() { is.next() } else { None };
        items(list, before, after, out);
    }
}

/// Compares the elements of one name. Names that several elements share are compared as units.
fn items(list: &List<'_>, old: Option<Group<'_>>, new: Option<Group<'_>>, out: &mut Comparison) {
    let Some(element) = old.as_ref().or(new.as_ref()).map(|group| group.element.clone()) else { return };
    let old = old.map(|group| group.values).unwrap_or_default();
    let new = new.map(|group| group.values).unwrap_or_default();
    let mut below = Comparison::default();
    let marks = match (old.len(), new.len()) {
        (0 | 1, 0 | 1) => walk(old.first(), new.first(), list.element, &mut below),
        (2.., 2..) => {
            let same = old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| a.same(b));
            Marks { modified: !same, ..Marks::default() }
        }
        (2.., _) => {
            let came = walk(None, new.first(), list.element, &mut below);
            Marks { removed: true, ..came }
        }
        (_, _) => {
            let went = walk(old.first(), None, list.element, &mut below);
            Marks { added: true, ..went }
        }
    };
    out.attach(element, marks, below);
}
