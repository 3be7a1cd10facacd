//! How an element of a list map or a set is named in a path.

use super::doc::{Form, Val};
use super::path::PathElement;
use super::place::{List, Relation};

/// Why an element has no name in a path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The list is one unit.
    #[error("invalid indexing of non-associative list")]
    Atomic,
    /// A null in a list map.
    #[error("associative list with keys may not have a null element")]
    NullElement,
    /// Something else than an object in a list map.
    #[error("associative list with keys may not have non-map elements")]
    NotAMap,
    /// None of the keys is there, and none has a default.
    #[error(
        "associative list with keys has an element that omits all key fields {0} (and doesn't have default values for any key fields)"
    )]
    NoKey(String),
    /// An object in a set.
    #[error("associative list without keys has an element that's a map type")]
    MapInSet,
    /// A list in a set.
    #[error("not supported: associative list with lists as elements")]
    ListInSet,
    /// A null in a set.
    #[error("associative list without keys has an element that's an explicit null")]
    NullInSet,
}

/// The path element of a list's element.
pub(super) fn of(list: &List<'_>, element: &Val<'_>) -> Result<PathElement, KeyError> {
    match list.relation {
        Relation::Atomic => Err(KeyError::Atomic),
        Relation::Set => match element.form() {
            Form::Map => Err(KeyError::MapInSet),
            Form::List => Err(KeyError::ListInSet),
            Form::Null => Err(KeyError::NullInSet),
            _ => Ok(PathElement::Value(element.scalar())),
        },
        Relation::Map(keys) => {
            match element.form() {
                Form::Map => {}
                Form::Null => return Err(KeyError::NullElement),
                _ => return Err(KeyError::NotAMap),
            }
            let mut found = Vec::with_capacity(2);
            let mut map = None;
            for name in keys.names() {
                let value = element.get(name).map(|value| value.scalar()).or_else(|| {
                    let map = map.get_or_insert_with(|| list.element.atom().map);
                    map.as_ref().and_then(|map| map.default(name))
                });
                if let Some(value) = value {
                    found.push((name.into(), value));
                }
            }
            if found.is_empty() {
                let names: Vec<String> = keys.names().map(meta::go_quote).collect();
                return Err(KeyError::NoKey(format!("[{}]", names.join(" "))));
            }
            found.sort();
            Ok(PathElement::Key(found))
        }
    }
}
