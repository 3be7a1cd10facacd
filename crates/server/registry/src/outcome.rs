//! What a performed request leads to, before anybody chooses how to write it down.

use std::sync::Arc;

use meta::{Object, Status};

use crate::served::Served;
use crate::stored::Stored;
use crate::watch::Changes;

/// A collection at one revision.
pub struct Listing {
    /// The kind of its members.
    pub served: Served,
    /// Members in key order.
    pub items: Vec<Stored>,
    /// Revision of the collection.
    pub revision: u64,
    /// Token of the next page, empty at the end.
    pub continue_token: String,
    /// Members after this page, when that is known.
    pub remaining: Option<i64>,
}

/// A started watch.
pub struct Watching {
    /// The kind of the objects.
    pub served: Served,
    /// Its events.
    pub changes: Changes,
}

/// The result.
pub enum Outcome {
    /// A stored object, read or written.
    Stored(Stored),
    /// A stored object that is new.
    Created(Stored),
    /// An object that is not stored, or not as it is answered: reviews, scales, dry runs. With its HTTP status.
    Made(Arc<dyn Object>, u16),
    /// A collection.
    List(Listing),
    /// A watch.
    Watch(Box<Watching>),
    /// A plain success, with its HTTP status.
    Done(Status, u16),
}
