//! Lists, maps and objects.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Text, Value};
use crate::eval::EvalError;
use crate::schema::{DeclKind, DeclType, ListKind, escape};

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// From JSON, with its declared type if it has one.
    Json(&'a [Json], Option<&'a DeclType>),
    /// Made by an expression.
    Built(Arc<Vec<Value<'a>>>),
    /// Made from declared sets or keyed lists, which it still is one of.
    Declared(Arc<Vec<Value<'a>>>, &'a DeclType),
}

impl<'a> List<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            List::Json(list, _) => list.len(),
            List::Built(list) | List::Declared(list, _) => list.len(),
        }
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One element.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            List::Json(list, ty) => list.get(index).map(|json| Value::from_json(json, element_type(*ty))),
            List::Built(list) | List::Declared(list, _) => list.get(index).cloned(),
        }
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// How it compares and adds up.
    pub(crate) fn kind(&self) -> &ListKind {
        self.declared().map_or(&ListKind::Atomic, |declared| match &declared.kind {
            DeclKind::List(_, kind) => kind,
            _ => &ListKind::Atomic,
        })
    }

    pub(crate) fn declared(&self) -> Option<&'a DeclType> {
        match self {
            List::Json(_, declared) => *declared,
            List::Built(_) => None,
            List::Declared(_, declared) => Some(declared),
        }
    }
}

fn element_type(ty: Option<&DeclType>) -> Option<&DeclType> {
    match ty.map(|ty| &ty.kind) {
        Some(DeclKind::List(element, _)) => Some(element),
        _ => None,
    }
}

/// A map, or an object whose fields are looked up by name.
#[derive(Clone)]
pub enum Map<'a> {
    /// From JSON, with its declared type if it has one.
    Json(&'a serde_json::Map<String, Json>, Option<&'a DeclType>),
    /// Made by an expression.
    Built(Arc<BTreeMap<Key, Value<'a>>>),
    /// Fields that the host computes when they are asked for.
    Lazy(&'a dyn Fields<'a>),
}

/// Fields that are computed when an expression asks for them.
pub trait Fields<'a>: Send + Sync {
    /// The value of a field; `None` when there is no such field.
    fn get(&'a self, name: &str) -> Option<Result<Value<'a>, EvalError>>;
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Map::Json(json, _) => json.fmt(f),
            Map::Built(map) => map.fmt(f),
            Map::Lazy(_) => f.write_str("{..}"),
        }
    }
}

impl<'a> Map<'a> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(json, _) => json.len(),
            Map::Built(map) => map.len(),
            Map::Lazy(_) => 1,
        }
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn type_name(&self) -> &str {
        match self {
            Map::Json(_, Some(DeclType { kind: DeclKind::Object(_), .. })) => "object",
            _ => "map",
        }
    }

    /// The value at a string key, or the field of that name.
    pub fn field(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Map::Json(json, declared) => match declared.map(|declared| &declared.kind) {
                Some(DeclKind::Object(fields)) => {
                    let field = fields.get(name)?;
                    json.get(&*field.json).map(|value| Ok(Value::from_json(value, Some(&field.ty))))
                }
                Some(DeclKind::Map(value)) => {
                    json.get(name).map(|json| Ok(Value::from_json(json, Some(value))))
                }
                _ => json.get(name).map(|json| Ok(Value::from_json(json, None))),
            },
            Map::Built(map) => map.get(&Key::String(name.into())).cloned().map(Ok),
            Map::Lazy(fields) => fields.get(name),
        }
    }

    /// The value at a key.
    pub fn get(&self, key: &Value<'_>) -> Option<Result<Value<'a>, EvalError>> {
        match (self, key) {
            (_, Value::String(text)) => self.field(text),
            (Map::Built(map), key) => map.get(&Key::of(key)?).cloned().map(Ok),
            _ => None,
        }
    }

    /// The keys, in order.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Json(json, declared) => match declared.map(|declared| &declared.kind) {
                Some(DeclKind::Object(fields)) => json
                    .keys()
                    .filter_map(|key| escape(key).filter(|name| fields.contains_key(&**name)))
                    .map(Value::from)
                    .collect(),
                _ => json.keys().map(|key| Value::String(Text::Borrowed(key))).collect(),
            },
            Map::Built(map) => map.keys().map(Key::value).collect(),
            Map::Lazy(_) => Vec::new(),
        }
    }
}

/// A key of a map. Numbers are equal when they mean the same.
#[derive(Clone, Debug)]
pub enum Key {
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint`
    Uint(u64),
    /// `string`
    String(Arc<str>),
}

impl Key {
    /// The key that a value is; `None` when it can be none.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Key::Bool(*value)),
            Value::Int(value) => Some(Key::Int(*value)),
            Value::Uint(value) => Some(Key::Uint(*value)),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9.0e18 => {
                Some(Key::Int(*value as i64))
            }
            Value::String(text) => Some(Key::String(text.shared())),
            _ => None,
        }
    }

    /// The key as a value.
    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::String(text) => Value::String(Text::Shared(text.clone())),
        }
    }

    fn rank(&self) -> (u8, i128) {
        match self {
            Key::Bool(value) => (0, i128::from(*value)),
            Key::Int(value) => (1, i128::from(*value)),
            Key::Uint(value) => (1, i128::from(*value)),
            Key::String(_) => (2, 0),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::String(one), Key::String(other)) => one.cmp(other),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// An object that an expression made.
#[derive(Debug)]
pub struct Object<'a> {
    /// The name of its type.
    pub name: Arc<str>,
    /// Its fields.
    pub fields: BTreeMap<Arc<str>, Value<'a>>,
}
