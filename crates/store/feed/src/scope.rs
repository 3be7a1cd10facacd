//! What a watcher is interested in, in terms that its events can be found by without asking each watcher.

use crate::entry::{Entry, Event};
use bytes::Bytes;

/// The part of a feed that a watcher sees. Finer selection is the watcher's own, see
/// [`crate::Event::selected`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every object.
    All,
    /// The objects of one namespace.
    Namespace(String),
    /// One object, by its key in the store.
    Key(Bytes),
    /// The objects whose value of an index (see [`crate::Codec::indexes`]) is this one, now or before the change.
    Index {
        /// The index, such as `spec.nodeName`.
        index: &'static str,
        /// The value, such as a node's name.
        value: String,
    },
}

/// The namespace of a key below a feed's prefix: its first part, if there is a second.
pub(crate) fn namespace<'a>(prefix: &[u8], key: &'a [u8]) -> Option<&'a str> {
    let rest = key.get(prefix.len()..)?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    std::str::from_utf8(&rest[..end]).ok()
}

impl Scope {
    /// True when the object is in the scope.
    pub(crate) fn covers<T: ?Sized + Send + Sync + 'static>(&self, prefix: &[u8], entry: &Entry<T>) -> bool {
        match self {
            Scope::All => true,
            Scope::Namespace(name) => namespace(prefix, entry.key()) == Some(name),
            Scope::Key(key) => entry.key() == key,
            Scope::Index { index, value } => entry.index_value(index) == Some(value),
        }
    }

    /// True when the object is in the scope, or was before the change.
    pub(crate) fn concerns<T: ?Sized + Send + Sync + 'static>(
        &self,
        prefix: &[u8],
        event: &Event<T>,
    ) -> bool {
        self.covers(prefix, &event.entry) || event.prev.as_ref().is_some_and(|prev| self.covers(prefix, prev))
    }
}
