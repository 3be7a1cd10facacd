//! [`Set`]: the fields that a manager owns, as a trie of path elements.
//!
//! A node may be a member itself (the manager owns the field), have children (it owns something below), or both. Nodes
//! are sorted, and none is kept that is neither. The operations are those of upstream's `fieldpath.Set`; note that
//! [`Set::difference`] takes members out one by one, while [`Set::without`] takes whole subtrees.

use std::cmp::Ordering;

use super::path::PathElement;
use super::place::Place;

/// A set of field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(super) nodes: Vec<Node>,
}

/// One path element of a [`Set`], and what lies below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub element: PathElement,
    pub member: bool,
    pub children: Set,
}

/// What a walk over two sets finds at a place.
enum Pair<'a> {
    Left(&'a Node),
    Right(&'a Node),
    Both(&'a Node, &'a Node),
}

/// Walks two sorted lists of nodes side by side.
fn zip<'a>(left: &'a Set, right: &'a Set, mut visit: impl FnMut(Pair<'a>)) {
    let (mut a, mut b) = (left.nodes.iter().peekable(), right.nodes.iter().peekable());
    loop {
        let pair = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(l), None) => Pair::Left(l),
            (None, Some(r)) => Pair::Right(r),
            (Some(l), Some(r)) => match l.element.cmp(&r.element) {
                Ordering::Less => Pair::Left(l),
                Ordering::Greater => Pair::Right(r),
                Ordering::Equal => Pair::Both(l, r),
            },
        };
        if matches!(pair, Pair::Left(_) | Pair::Both(..)) {
            a.next();
        }
        if matches!(pair, Pair::Right(_) | Pair::Both(..)) {
            b.next();
        }
        visit(pair);
    }
}

impl Set {
    /// Owns nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a node at the end; [`Set::sort`] puts it in its place. A node that says nothing is dropped.
    pub(super) fn push(&mut self, element: PathElement, member: bool, children: Set) {
        if member || !children.is_empty() {
            self.nodes.push(Node { element, member, children });
        }
    }

    /// Sorts what [`Set::push`] added, and joins nodes of the same name.
    pub(super) fn sort(&mut self) {
        if self.nodes.is_sorted_by(|a, b| a.element < b.element) {
            return;
        }
        self.nodes.sort_by(|a, b| a.element.cmp(&b.element));
        self.nodes.dedup_by(|later, kept| {
            let same = later.element == kept.element;
            if same {
                kept.member |= later.member;
                kept.children = kept.children.union(&later.children);
            }
            same
        });
    }

    fn find(&self, element: &PathElement) -> Option<&Node> {
        self.nodes.binary_search_by(|node| node.element.cmp(element)).ok().map(|at| &self.nodes[at])
    }

    /// What is owned below an element.
    pub(super) fn below(&self, element: &PathElement) -> Option<&Set> {
        self.find(element).map(|node| &node.children).filter(|set| !set.is_empty())
    }

    /// Whether the element itself is a member.
    pub(super) fn has_member(&self, element: &PathElement) -> bool {
        self.find(element).is_some_and(|node| node.member)
    }

    /// Whether a path of names is a member.
    pub fn has(&self, path: &[&str]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut here = self;
        for name in parents {
            match here.find(&PathElement::Field((*name).into())) {
                Some(node) => here = &node.children,
                None => return false,
            }
        }
        here.has_member(&PathElement::Field((*last).into()))
    }

    /// Whether a path is a member.
    pub fn has_path(&self, path: &[PathElement]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut here = self;
        for element in parents {
            match here.find(element) {
                Some(node) => here = &node.children,
                None => return false,
            }
        }
        here.has_member(last)
    }

    /// The set of one path of names.
    pub fn of(path: &[&str]) -> Set {
        let mut set = Set::default();
        for (depth, name) in path.iter().rev().enumerate() {
            let mut outer = Set::default();
            outer.push(PathElement::Field((*name).into()), depth == 0, set);
            set = outer;
        }
        set
    }

    /// Everything of both.
    pub fn union(&self, other: &Set) -> Set {
        let mut out = Set { nodes: Vec::with_capacity(self.nodes.len().max(other.nodes.len())) };
        zip(self, other, |pair| {
            out.nodes.push(match pair {
                Pair::Left(node) | Pair::Right(node) => node.clone(),
                Pair::Both(a, b) => Node {
                    element: a.element.clone(),
                    member: a.member || b.member,
                    children: a.children.union(&b.children),
                },
            });
        });
        out
    }

    /// What is in both.
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set::default();
        zip(self, other, |pair| {
            if let Pair::Both(a, b) = pair {
                let children = a.children.intersection(&b.children);
                let member = a.member && b.member;
                if member || !children.is_empty() {
                    out.push(a.element.clone(), member, children);
                }
            }
        });
        out
    }

    /// The members that are not members of `other`.
    pub fn difference(&self, other: &Set) -> Set {
        let mut out = Set::default();
        zip(self, other, |pair| match pair {
            Pair::Left(node) => out.nodes.push(node.clone()),
            Pair::Right(_) => {}
            Pair::Both(a, b) => {
                let children = a.children.difference(&b.children);
                out.push(a.element.clone(), a.member && !b.member, children);
            }
        });
        out
    }

    /// What is left when every member of `other` goes together with everything below it.
    pub fn without(&self, other: &Set) -> Set {
        let mut out = Set::default();
        zip(self, other, |pair| match pair {
            Pair::Left(node) => out.nodes.push(node.clone()),
            Pair::Right(_) => {}
            Pair::Both(_, b) if b.member => {}
            Pair::Both(a, b) => {
                let children = a.children.without(&b.children);
                out.push(a.element.clone(), a.member, children);
            }
        });
        out
    }

    /// Whether any member of this set is a member of the other.
    pub fn meets(&self, other: &Set) -> bool {
        let mut met = false;
        zip(self, other, |pair| {
            if let Pair::Both(a, b) = pair {
                met = met || (a.member && b.member) || a.children.meets(&b.children);
            }
        });
        met
    }

    /// Removes a subtree by the names that lead to it.
    pub fn remove_subtree(&mut self, path: &[&str]) {
        let Some((name, rest)) = path.split_first() else { return };
        let Some(at) = self.nodes.iter().position(|n| is_field(&n.element, name)) else { return };
        if rest.is_empty() {
            self.nodes.remove(at);
            return;
        }
        let node = &mut self.nodes[at];
        node.children.remove_subtree(rest);
        if !node.member && node.children.is_empty() {
            self.nodes.remove(at);
        }
    }

    /// Removes a member, but nothing below it.
    pub fn remove_member(&mut self, path: &[&str]) {
        let Some((name, rest)) = path.split_first() else { return };
        let Some(at) = self.nodes.iter().position(|n| is_field(&n.element, name)) else { return };
        let node = &mut self.nodes[at];
        if rest.is_empty() {
            node.member = false;
        } else {
            node.children.remove_member(rest);
        }
        if !node.member && node.children.is_empty() {
            self.nodes.remove(at);
        }
    }

    /// The set with every declared field on the way to a member made a member too.
    pub(super) fn with_named_fields(&self, place: Option<Place<'_>>) -> Set {
        let atom = place.map(|p| p.atom());
        let nodes = self.nodes.iter().map(|node| {
            let mut member = node.member;
            let below = match (&node.element, &atom) {
                (PathElement::Field(name), Some(atom)) => atom.map.as_ref().and_then(|map| {
                    let declared = map.field(name.as_bytes(), &mut 0);
                    member |= declared.is_some() && !node.children.is_empty();
                    declared.or(map.element)
                }),
                (PathElement::Key(_), Some(atom)) => atom.list.as_ref().map(|list| list.element),
                _ => None,
            };
            Node { element: node.element.clone(), member, children: node.children.with_named_fields(below) }
        });
        Set { nodes: nodes.collect() }
    }

    /// Calls `visit` with the path of every member: those of a level before those below it, as upstream walks.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&[&'a PathElement])) {
        let mut path = Vec::new();
        self.each_below(&mut path, visit);
    }

    fn each_below<'a>(&'a self, path: &mut Vec<&'a PathElement>, visit: &mut dyn FnMut(&[&'a PathElement])) {
        for node in self.nodes.iter().filter(|node| node.member) {
            path.push(&node.element);
            visit(path);
            path.pop();
        }
        for node in &self.nodes {
            path.push(&node.element);
            node.children.each_below(path, visit);
            path.pop();
        }
    }
}

fn is_field(element: &PathElement, name: &str) -> bool {
    matches!(element, PathElement::Field(field) if field == name)
}
