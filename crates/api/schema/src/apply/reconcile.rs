//! Field sets that were written under another schema: where a type became atomic, whoever owned something inside now
//! owns the whole.

use super::path::PathElement;
use super::place::{Fields, Kind, Map, Place, Relation};
use super::set::{Node, Set};

/// The set as the schema of today has it.
pub(super) fn reconcile(set: &Set, place: Place<'_>) -> Set {
    let atom = place.atom();
    let nodes = set.nodes.iter().map(|node| {
        let below = match (atom.kind(None), &node.element) {
            (Kind::Map, PathElement::Field(name)) => atom.map.as_ref().and_then(|map| {
                if knows_nothing(map) { None } else { map.field(name.as_bytes(), &mut 0).or(map.element) }
            }),
            (Kind::List, _) => atom.list.as_ref().map(|list| list.element),
            _ => None,
        };
        match below {
            Some(place) if !node.children.is_empty() => one(node, place),
            _ => node.clone(),
        }
    });
    Set { nodes: nodes.collect() }
}

fn one(node: &Node, place: Place<'_>) -> Node {
    let atom = place.atom();
    let atomic = match atom.kind(None) {
        Kind::Map => atom.map.as_ref().is_some_and(|map| map.atomic && !knows_nothing(map)),
        Kind::List => atom.list.as_ref().is_some_and(|list| list.relation == Relation::Atomic),
        Kind::Scalar => false,
    };
    if atomic {
        return Node { element: node.element.clone(), member: true, children: Set::default() };
    }
    Node { element: node.element.clone(), member: node.member, children: reconcile(&node.children, place) }
}

/// A map without declared fields whose values may be anything.
fn knows_nothing(map: &Map<'_>) -> bool {
    matches!(map.fields, Fields::None) && matches!(map.element, Some(Place::Deduced | Place::Untyped))
}
