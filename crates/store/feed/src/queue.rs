//! A watcher's queue: bounded, filled by the feed, emptied by the watcher, many items at a time.

use crate::entry::{Entry, Event};
use crate::error::FeedError;
use mvcc::Revision;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// What a watcher receives.
pub enum Item<T: ?Sized> {
    /// An object that was there when the watch began.
    Initial(Arc<Entry<T>>),
    /// A change.
    Event(Arc<Event<T>>),
    /// Everything up to this revision has been received.
    Bookmark {
        /// The revision.
        revision: Revision,
        /// True once: all objects that were there at the beginning have been received.
        initial_end: bool,
    },
}

impl<T: ?Sized> Clone for Item<T> {
    fn clone(&self) -> Item<T> {
        match self {
            Item::Initial(entry) => Item::Initial(entry.clone()),
            Item::Event(event) => Item::Event(event.clone()),
            Item::Bookmark { revision, initial_end } => {
                Item::Bookmark { revision: *revision, initial_end: *initial_end }
            }
        }
    }
}

impl<T: ?Sized> fmt::Debug for Item<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Initial(entry) => write!(f, "Initial {entry:?}"),
            Item::Event(event) => event.fmt(f),
            Item::Bookmark { revision, initial_end: false } => write!(f, "Bookmark @{revision}"),
            Item::Bookmark { revision, initial_end: true } => {
                write!(f, "Bookmark @{revision} (initial events end)")
            }
        }
    }
}

pub(crate) struct Queue<T: ?Sized> {
    state: Mutex<State<T>>,
    filled: Notify,
    capacity: usize,
    /// Events up to this revision are not wanted: a watch may start after a revision that is still to come.
    after: Revision,
    /// How many watchers got the latest events.
    listeners: AtomicUsize,
}

struct State<T: ?Sized> {
    items: Vec<Item<T>>,
    end: Option<FeedError>,
}

impl<T: ?Sized + Send + Sync + 'static> Queue<T> {
    /// A queue that begins with `items`, which do not count towards its capacity.
    pub(crate) fn new(items: Vec<Item<T>>, capacity: usize, after: Revision) -> Queue<T> {
        let capacity = capacity + items.len();
        let state = Mutex::new(State { items, end: None });
        Queue { state, filled: Notify::new(), capacity, after, listeners: AtomicUsize::new(1) }
    }

    /// Adds events, which come in order and of which so many watchers are told; false when the queue is at its end and
    /// wants no more.
    pub(crate) fn push(&self, events: &[Arc<Event<T>>], listeners: usize) -> bool {
        self.listeners.store(listeners, Ordering::Relaxed);
        let events = &events[events.partition_point(|event| event.revision() <= self.after)..];
        let open = {
            let mut state = self.state.lock();
            if state.end.is_some() {
                return false;
            }
            let fits = state.items.len() + events.len() <= self.capacity;
            if fits {
                state.items.extend(events.iter().map(|event| Item::Event(event.clone())));
            } else {
                state.end = Some(FeedError::Slow);
            }
            fits
        };
        if !events.is_empty() {
            self.filled.notify_one();
        }
        open
    }

    /// Adds a bookmark. A full queue needs none, nor one that has not come to its start.
    pub(crate) fn bookmark(&self, revision: Revision) {
        if revision < self.after {
            return;
        }
        let mut state = self.state.lock();
        if state.end.is_none() && state.items.len() < self.capacity {
            state.items.push(Item::Bookmark { revision, initial_end: false });
        }
    }

    /// Ends the watch after what is in the queue.
    pub(crate) fn end(&self, error: FeedError) {
        self.state.lock().end.get_or_insert(error);
        self.filled.notify_one();
    }

    /// Everything that is in the queue; the end once it is empty; `None` when there is nothing yet.
    pub(crate) fn take(&self) -> Option<Result<Vec<Item<T>>, FeedError>> {
        let mut state = self.state.lock();
        if !state.items.is_empty() {
            return Some(Ok(std::mem::take(&mut state.items)));
        }
        state.end.clone().map(Err)
    }

    /// How many watchers, this one included, were told of the latest events.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Completes when something has been added since the last [`Queue::take`].
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }
}
