//! Where in a value a validator is. The text is only made when there is something to say; upstream's validator joins
//! names with dots, and begins with a dot where the root has no name.

use std::fmt;

/// A chain of borrowed steps.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a>(Option<(&'a Place<'a>, Step<'a>)>);

#[derive(Clone, Copy)]
enum Step<'a> {
    /// A field that the schema names.
    Field(&'a str),
    /// A field that it does not name.
    Other(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    /// The value itself.
    pub(crate) const ROOT: Place<'static> = Place(None);

    pub(crate) fn field(&'a self, name: &'a str) -> Self {
        Place(Some((self, Step::Field(name))))
    }

    pub(crate) fn other(&'a self, name: &'a str) -> Self {
        Place(Some((self, Step::Other(name))))
    }

    pub(crate) fn index(&'a self, index: usize) -> Self {
        Place(Some((self, Step::Index(index))))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((parent, step)) = &self.0 else { return Ok(()) };
        parent.fmt(f)?;
        match step {
            Step::Field(name) if parent.is_root() => f.write_str(name),
            Step::Field(name) | Step::Other(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}
