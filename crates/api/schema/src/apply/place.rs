//! [`Place`]: what may stand somewhere in an object, as server-side apply sees it.
//!
//! Built-in kinds are described by the static facts of [`meta::TypeInfo`], custom resources by a [`Type`] that was made
//! from their schema, and where nothing is known everything is granular maps and atomic lists ([`Place::Deduced`]).
//! A place answers with an [`Atom`]: the scalar, list and map that it admits, of which most admit one. The rules by which
//! facts and OpenAPI extensions become these are upstream's `schemaconv`.

use std::collections::BTreeMap;

use meta::{Field, Ty, TypeInfo};

use super::doc::{Doc, Form, Val};
use super::path::Scalar as Value;

/// Which scalars a place takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Strings.
    Text,
    /// Numbers, with or without a fraction.
    Number,
    /// Booleans.
    Bool,
    /// Any of them.
    Any,
}

/// What is known of a custom resource's type, compiled once from its structural schema.
#[derive(Clone, Debug, Default)]
pub struct Type {
    /// The scalars it takes, if any.
    pub scalar: Option<Scalar>,
    /// The lists it takes, if any.
    pub list: Option<Box<ListType>>,
    /// The objects it takes, if any.
    pub map: Option<Box<MapType>>,
}

/// A list type of a [`Type`].
#[derive(Clone, Debug)]
pub struct ListType {
    /// How elements are told apart.
    pub relation: Relation<Vec<String>>,
    /// What elements are.
    pub element: Element,
}

/// A map type of a [`Type`].
#[derive(Clone, Debug)]
pub struct MapType {
    /// The object is one unit.
    pub atomic: bool,
    /// Declared fields.
    pub fields: BTreeMap<String, FieldType>,
    /// What other keys hold; `None` where none are allowed.
    pub element: Option<Element>,
}

/// A declared field of a [`MapType`].
#[derive(Clone, Debug)]
pub struct FieldType {
    /// What it holds.
    pub element: Element,
    /// Its default as JSON text, which stands in for it where it is the key of a list map.
    pub default: Option<String>,
}

/// What elements of a [`Type`]'s lists and maps are.
#[derive(Clone, Debug)]
pub enum Element {
    /// A known type.
    Type(Type),
    /// A generated struct, as `metadata` is one.
    Struct(&'static TypeInfo),
    /// Whatever the value shows; objects are granular.
    Deduced,
    /// Whatever the value shows, as one unit.
    Untyped,
}

/// How the elements of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation<K> {
    /// Not at all: the list is one unit.
    Atomic,
    /// By their value.
    Set,
    /// By key fields.
    Map(K),
}

/// What may stand somewhere.
#[derive(Clone, Copy, Debug)]
pub enum Place<'s> {
    /// A generated struct.
    Struct(&'static TypeInfo),
    /// A field of a generated struct.
    Field(&'static Field),
    /// An element of a list or map of a generated struct.
    Nested(&'static Ty),
    /// `kind` or `apiVersion`.
    Name,
    /// A type of a custom resource.
    Type(&'s Type),
    /// Unknown: objects are granular, lists atomic.
    Deduced,
    /// Unknown and one unit.
    Untyped,
}

/// The forms that a place takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Atom<'s> {
    /// Scalars, if it takes any.
    pub scalar: Option<Scalar>,
    /// Lists, if it takes any.
    pub list: Option<List<'s>>,
    /// Objects, if it takes any.
    pub map: Option<Map<'s>>,
}

/// A list that a place takes.
#[derive(Clone, Copy, Debug)]
pub struct List<'s> {
    /// How elements are told apart.
    pub relation: Relation<Keys<'s>>,
    /// What elements are.
    pub element: Place<'s>,
}

/// The key fields of a list map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys<'s> {
    /// Of a generated struct.
    Known(&'static [&'static str]),
    /// Of a custom resource.
    Named(&'s [String]),
}

impl<'s> Keys<'s> {
    /// The names.
    pub fn names(self) -> impl Iterator<Item = &'s str> {
        let (known, named): (&'static [&'static str], &'s [String]) = match self {
            Keys::Known(names) => (names, &[]),
            Keys::Named(names) => (&[], names),
        };
        known.iter().copied().chain(named.iter().map(String::as_str))
    }
}

/// An object that a place takes.
#[derive(Clone, Copy, Debug)]
pub struct Map<'s> {
    /// The object is one unit.
    pub atomic: bool,
    /// Declared fields.
    pub fields: Fields<'s>,
    /// What other keys hold; `None` where none are allowed.
    pub element: Option<Place<'s>>,
}

/// Declared fields of an object.
#[derive(Clone, Copy, Debug)]
pub enum Fields<'s> {
    /// None: a plain map.
    None,
    /// Those of a generated struct.
    Struct(&'static TypeInfo),
    /// Those of a custom resource.
    Type(&'s BTreeMap<String, FieldType>),
}

impl<'s> Map<'s> {
    /// A declared field. `hint` is where to look first, and is moved on.
    pub fn field(&self, name: &[u8], hint: &mut usize) -> Option<Place<'s>> {
        match self.fields {
            Fields::None => None,
            Fields::Struct(info) => {
                if let Some(at) = info.find(name, *hint) {
                    *hint = at + 1;
                    return Some(Place::Field(&info.fields[at]));
                }
                (info.type_meta.is_some() && matches!(name, b"kind" | b"apiVersion")).then_some(Place::Name)
            }
            Fields::Type(fields) => {
                let name = std::str::from_utf8(name).ok()?;
                fields.get(name).map(|field| field.element.place())
            }
        }
    }

    /// The default of a declared field, for keys of list maps that were left out.
    pub fn default(&self, name: &str) -> Option<Value> {
        let text = match self.fields {
            Fields::None => return None,
            Fields::Struct(info) => {
                let field = info.field(name)?;
                // What Go always writes has the zero value as its default.
                match field.ty {
                    _ if !field.default.is_empty() || field.pointer || field.omitempty => field.default,
                    Ty::Str => "\"\"",
                    Ty::Int32 | Ty::Int64 => "0",
                    Ty::Bool => "false",
                    _ => field.default,
                }
            }
            Fields::Type(fields) => fields.get(name)?.default.as_deref()?,
        };
        let doc = Doc::parse(text.as_bytes()).ok()?;
        Some(doc.root().scalar())
    }
}

impl Element {
    fn place(&self) -> Place<'_> {
        match self {
            Element::Type(kind) => Place::Type(kind),
            Element::Struct(info) => Place::Struct(info),
            Element::Deduced => Place::Deduced,
            Element::Untyped => Place::Untyped,
        }
    }
}

impl<'s> Place<'s> {
    /// The forms that this place takes.
    pub fn atom(self) -> Atom<'s> {
        match self {
            Place::Struct(info) => structure(info, None),
            Place::Field(field) => of(field.ty, Some(field)),
            Place::Nested(ty) => of(*ty, None),
            Place::Name => scalar(Scalar::Text),
            Place::Type(kind) => Atom {
                scalar: kind.scalar,
                list: kind.list.as_ref().map(|list| List {
                    relation: match &list.relation {
                        Relation::Atomic => Relation::Atomic,
                        Relation::Set => Relation::Set,
                        Relation::Map(keys) => Relation::Map(Keys::Named(keys)),
                    },
                    element: list.element.place(),
                }),
                map: kind.map.as_ref().map(|map| Map {
                    atomic: map.atomic,
                    fields: Fields::Type(&map.fields),
                    element: map.element.as_ref().map(Element::place),
                }),
            },
            Place::Deduced => anything(false),
            Place::Untyped => anything(true),
        }
    }

    /// The forms that this place takes, narrowed to the one of `value` where that is among them.
    pub(super) fn atom_for(self, value: Option<&Val<'_>>) -> (Atom<'s>, Option<Kind>) {
        let atom = self.atom();
        let narrowed = match value.map(Val::form) {
            Some(Form::Bool | Form::Number | Form::Text) => atom.scalar.map(|_| Kind::Scalar),
            Some(Form::List) => atom.list.map(|_| Kind::List),
            Some(Form::Map) => atom.map.map(|_| Kind::Map),
            Some(Form::Null) | None => None,
        };
        (atom, narrowed)
    }
}

/// One of an atom's forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    List,
    Map,
}

impl Atom<'_> {
    /// The form to treat a value as: its own, or the first that the place takes.
    pub(super) fn kind(&self, narrowed: Option<Kind>) -> Kind {
        match narrowed {
            Some(kind) => kind,
            None if self.map.is_some() => Kind::Map,
            None if self.scalar.is_some() => Kind::Scalar,
            None => Kind::List,
        }
    }

    /// Whether the place takes one form only, so that two narrowings of it are the same.
    pub(super) fn is_simple(&self) -> bool {
        u8::from(self.scalar.is_some()) + u8::from(self.list.is_some()) + u8::from(self.map.is_some()) == 1
    }
}

fn scalar(kind: Scalar) -> Atom<'static> {
    Atom { scalar: Some(kind), ..Atom::default() }
}

fn anything(atomic: bool) -> Atom<'static> {
    Atom {
        scalar: Some(Scalar::Any),
        list: Some(List { relation: Relation::Atomic, element: Place::Untyped }),
        map: Some(Map {
            atomic,
            fields: Fields::None,
            element: Some(if atomic { Place::Untyped } else { Place::Deduced }),
        }),
    }
}

/// A struct; `declared` is what a field says about it against its type.
fn structure(info: &'static TypeInfo, declared: Option<bool>) -> Atom<'static> {
    // The schema types of custom resource definitions that are one of several forms.
    if info.name.starts_with("JSONSchemaPropsOr") {
        return anything(false);
    }
    let atomic = declared.unwrap_or(info.atomic);
    Atom { map: Some(Map { atomic, fields: Fields::Struct(info), element: None }), ..Atom::default() }
}

/// The forms of a type, with what its field declares about it.
fn of(ty: Ty, field: Option<&'static Field>) -> Atom<'static> {
    let declared = match field.map_or("", |f| f.map_type) {
        "atomic" => Some(true),
        "granular" => Some(false),
        _ => None,
    };
    let atomic = declared == Some(true);
    match ty {
        Ty::Str | Ty::Bytes | Ty::Duration => scalar(Scalar::Text),
        Ty::Bool => scalar(Scalar::Bool),
        Ty::Int32 | Ty::Int64 | Ty::Double => scalar(Scalar::Number),
        Ty::Quantity | Ty::IntOrString | Ty::Time | Ty::MicroTime => scalar(Scalar::Any),
        // Extensions are opaque; the JSON inside schemas is looked into.
        Ty::Raw => anything(!field.is_some_and(|f| f.go.ends_with("v1.JSON"))),
        Ty::Struct(info) => structure(info, declared),
        Ty::Map(element) => Atom {
            map: Some(Map { atomic, fields: Fields::None, element: Some(Place::Nested(element)) }),
            ..Atom::default()
        },
        Ty::List(element) => {
            let relation = field.map_or(Relation::Atomic, relation);
            Atom { list: Some(List { relation, element: Place::Nested(element) }), ..Atom::default() }
        }
    }
}

/// How a field declares its list: by `listType`, or failing that by the older patch strategy.
fn relation(field: &'static Field) -> Relation<Keys<'static>> {
    match field.list_type {
        "atomic" => Relation::Atomic,
        "set" => Relation::Set,
        "map" => Relation::Map(Keys::Known(field.list_map_keys)),
        _ if field.patch_strategy.starts_with("merge") => match field.patch_merge_key {
            "" => Relation::Set,
            _ => Relation::Map(Keys::Known(std::slice::from_ref(&field.patch_merge_key))),
        },
        _ => Relation::Atomic,
    }
}
