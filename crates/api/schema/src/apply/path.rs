//! Path elements: how a field set names a field, a list element or a value.
//!
//! Their order and their text are those of upstream's `fieldpath`: names come before keys, keys before values, values
//! before indexes, and `.spec.ports[port=80,protocol="TCP"].name` is how a path reads in a conflict.

use std::cmp::Ordering;
use std::fmt;

use meta::Str;

/// A scalar inside a path element.
#[derive(Clone, Debug)]
pub enum Scalar {
    /// A number with a fraction, or one that came from a stored field set, where all numbers are such.
    Float(f64),
    /// An integer.
    Int(i64),
    /// A string.
    Text(Str),
    /// A boolean.
    Bool(bool),
    /// A list or map, as JSON text; only stored field sets of others can hold one.
    Json(Str),
    /// Null.
    Null,
}

impl Scalar {
    fn rank(&self) -> u8 {
        match self {
            Scalar::Float(_) | Scalar::Int(_) => 0,
            Scalar::Text(_) => 1,
            Scalar::Bool(_) => 2,
            Scalar::Json(_) => 3,
            Scalar::Null => 4,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Scalar::Int(a), Scalar::Int(b)) => a.cmp(b),
            (Scalar::Float(a), Scalar::Float(b)) => a.total_cmp(b),
            (Scalar::Float(a), Scalar::Int(b)) => a.total_cmp(&(*b as f64)),
            (Scalar::Int(a), Scalar::Float(b)) => (*a as f64).total_cmp(b),
            (Scalar::Text(a), Scalar::Text(b)) | (Scalar::Json(a), Scalar::Json(b)) => {
                a.as_str().cmp(b.as_str())
            }
            (Scalar::Bool(a), Scalar::Bool(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

impl fmt::Display for Scalar {
    /// As paths show it: strings quoted as Go quotes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Float(n) => write!(f, "{n}"),
            Scalar::Int(n) => write!(f, "{n}"),
            Scalar::Text(s) => f.write_str(&meta::go_quote(s)),
            Scalar::Bool(b) => write!(f, "{b}"),
            Scalar::Json(text) => f.write_str(text),
            Scalar::Null => f.write_str("null"),
        }
    }
}

/// The key fields of an element of a list map, sorted by name.
pub type Keys = Vec<(Str, Scalar)>;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of a struct, or a key of a map.
    Field(Str),
    /// The element of a list map that has these keys.
    Key(Keys),
    /// The element of a set that has this value.
    Value(Scalar),
    /// The element of a list at this place.
    Index(i64),
}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(keys) => {
                f.write_str("[")?;
                for (at, (name, value)) in keys.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
            PathElement::Value(value) => write!(f, "[={value}]"),
            PathElement::Index(at) => write!(f, "[{at}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_text_are_upstreams() {
        let field = |name: &str| PathElement::Field(name.into());
        let key = |port: Scalar| {
            PathElement::Key(vec![("port".into(), port), ("protocol".into(), Scalar::Text("TCP".into()))])
        };
        let mut elements = [
            PathElement::Index(1),
            PathElement::Value(Scalar::Text("a".into())),
            key(Scalar::Int(443)),
            key(Scalar::Float(80.0)),
            field("b"),
            field("a"),
            PathElement::Value(Scalar::Int(7)),
        ];
        elements.sort();
        let text: Vec<String> = elements.iter().map(ToString::to_string).collect();
        assert_eq!(
            text.join(" "),
            ".a .b [port=80,protocol=\"TCP\"] [port=443,protocol=\"TCP\"] [=7] [=\"a\"] [1]"
        );
        assert_eq!(key(Scalar::Int(80)), key(Scalar::Float(80.0)));
    }
}
