//! What an API server answers to a call.

use std::fmt;
use std::sync::Arc;

use futures::stream::BoxStream;
use meta::{Object, Status, Str};

/// The kinds of watch events. Errors end the stream as `Err(Status)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The object appeared, or began to match the selectors.
    Added,
    /// The object changed.
    Modified,
    /// The object is gone, or ceased to match the selectors; the event carries its last state.
    Deleted,
    /// Nothing changed up to the revision that the event's object carries.
    Bookmark,
}

/// One event of a watch. The object is shared with the server's cache and with every other watcher.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// What happened.
    pub event_type: EventType,
    /// The object's state after the event. A bookmark's carries metadata only.
    pub object: Arc<dyn Object>,
}

/// Events in revision order. `Err` is the last item: 410 when the revision is gone or the reader was too slow.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, Status>>;

/// The answer to a call that was performed.
pub enum Reply {
    /// The object read or written, or the kind that the subresource answers with.
    Object(Arc<dyn Object>),
    /// A collection at one revision.
    List {
        /// Members in key order.
        items: Vec<Arc<dyn Object>>,
        /// Revision of the whole collection.
        resource_version: u64,
        /// Token of the next page, empty at the end.
        continue_token: Str,
        /// How many more there are at least, when the server knows.
        remaining: Option<i64>,
    },
    /// A started watch.
    Watch(WatchStream),
    /// Success that has no object, such as the end of a deletecollection or of a delete.
    Done(Status),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Object(object) => f.debug_tuple("Object").field(object).finish(),
            Reply::List { items, resource_version, .. } => f
                .debug_struct("List")
                .field("items", &items.len())
                .field("resource_version", resource_version)
                .finish(),
            Reply::Watch(_) => f.write_str("Watch"),
            Reply::Done(status) => f.debug_tuple("Done").field(status).finish(),
        }
    }
}
