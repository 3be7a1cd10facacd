//! [`FieldPath`]: where in an object a value is, printed as `spec.containers[0].env[name]`.

use std::fmt;
use std::sync::Arc;

use crate::Str;

/// A path to a field. Extending it shares the parent, so handing paths down a validator is cheap.
#[derive(Clone, Default)]
pub struct FieldPath(Option<Arc<Node>>);

struct Node {
    parent: FieldPath,
    segment: Segment,
}

enum Segment {
    Name(Str),
    Index(usize),
    Key(Str),
}

impl FieldPath {
    /// A path of one field, such as `spec`. The empty name gives the empty path.
    pub fn new(name: impl Into<Str>) -> Self {
        let name = name.into();
        if name.is_empty() { Self(None) } else { Self(None).push(Segment::Name(name)) }
    }

    /// The path of the object itself, which has no name of its own.
    pub fn root() -> Self {
        Self(None)
    }

    fn push(&self, segment: Segment) -> Self {
        Self(Some(Arc::new(Node { parent: self.clone(), segment })))
    }

    /// A field of the value.
    pub fn child(&self, name: impl Into<Str>) -> Self {
        self.push(Segment::Name(name.into()))
    }

    /// Several fields, one below the other.
    pub fn children(&self, names: &[&str]) -> Self {
        names.iter().fold(self.clone(), |path, name| path.child(*name))
    }

    /// An element of the list.
    pub fn index(&self, index: usize) -> Self {
        self.push(Segment::Index(index))
    }

    /// An entry of the map.
    pub fn key(&self, key: impl Into<Str>) -> Self {
        self.push(Segment::Key(key.into()))
    }

    /// No segment at all; prints as `<nil>`.
    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = Vec::new();
        let mut at = self;
        while let Some(node) = &at.0 {
            nodes.push(&node.segment);
            at = &node.parent;
        }
        if nodes.is_empty() {
            return f.write_str("<nil>");
        }
        for (i, segment) in nodes.iter().rev().enumerate() {
            match segment {
                Segment::Name(name) => write!(f, "{}{name}", if i == 0 { "" } else { "." })?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "[{key}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
