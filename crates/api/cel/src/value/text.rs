//! Strings that are borrowed from JSON or shared.

use std::ops::Deref;
use std::sync::Arc;

/// A string.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Part of an object.
    Borrowed(&'a str),
    /// Made by an expression.
    Shared(Arc<str>),
}

impl Text<'_> {
    /// The same text, kept by itself.
    pub fn shared(&self) -> Arc<str> {
        match self {
            Text::Borrowed(text) => Arc::from(*text),
            Text::Shared(text) => text.clone(),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text::Borrowed(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Shared(text.into())
    }
}

impl From<Arc<str>> for Text<'_> {
    fn from(text: Arc<str>) -> Self {
        Text::Shared(text)
    }
}
