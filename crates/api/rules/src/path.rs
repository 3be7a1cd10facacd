//! Where in an object something is: `spec.containers[0].ports[1].name`.
//!
//! A path is a chain of borrowed steps on the stack, so walking a valid object costs no allocation;
//! only an error turns its path into text.

use std::fmt;

/// A place inside an object, printed the way Kubernetes prints it.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object as a whole, which upstream writes as a field without name.
    pub const WHOLE: Path<'static> = Path::root("[]");

    /// A path of one field, such as `spec`.
    pub const fn root(field: &'a str) -> Self {
        Path { parent: None, step: Step::Field(field) }
    }

    /// The field below this place: `self.field`.
    pub fn child<'b>(&'b self, field: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Field(field) }
    }

    /// An element of the list at this place: `self[index]`.
    pub fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// A value of the map at this place: `self[key]`.
    pub fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(i) => write!(f, "[{i}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn prints_like_kubernetes() {
        let spec = Path::root("spec");
        assert_eq!(spec.child("containers").index(0).child("name").to_string(), "spec.containers[0].name");
        assert_eq!(spec.child("capacity").key("storage").to_string(), "spec.capacity[storage]");
        assert_eq!(Path::root("data").key("a/b").to_string(), "data[a/b]");
    }
}
