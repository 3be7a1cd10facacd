//! WATCH: the current state first where the client asked for it, then every change that touches the selection.
//!
//! An object that begins to match appears as ADDED, one that ceases to match as DELETED, in both cases whatever really
//! happened to it. Bookmarks tell an idle client how far it has seen.

use std::sync::Arc;
use std::time::Duration;

use call::{EventType, ListOptions};
use feed::{Entry, EventKind, FeedError, Item, Scope, Start, WatchOptions, Watcher};
use meta::{Object, Status};
use tokio::time::Instant;

use crate::conversion::bring;
use crate::errors;
use crate::outcome::Watching;
use crate::read::{Version, from_feed, validate};
use crate::registry::{Registry, Request};
use crate::selection::Selection;
use crate::served::Served;
use crate::stored::Stored;

/// Time between bookmarks.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long before its end a watch sends a last bookmark.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Shortest lifetime of a watch that sets none; up to twice that is chosen at random.
const LIFETIME_MIN: Duration = Duration::from_secs(1800);
/// Events that wait for a slow client before it is cut off.
const QUEUED_MAX: usize = 16 << 10;

/// One event for one watcher.
#[derive(Clone)]
pub enum Change {
    /// An object changed, as the watcher's selection sees it.
    Object(EventType, Stored),
    /// Nothing more up to this revision; `true` marks the end of the initial events.
    Bookmark(u64, bool),
}

/// The events of a watch, in order. Ends when its time is over.
pub struct Changes {
    served: Served,
    selection: Selection,
    /// Watched by name below a collection that the feed cannot narrow.
    source: Result<Watcher<dyn Object>, Option<Status>>,
    ends: Instant,
    /// Turns true when the definition of a custom resource is replaced.
    over: Option<tokio::sync::watch::Receiver<bool>>,
}

impl Registry {
    /// WATCH.
    pub(crate) async fn watch(
        &self,
        request: &Request<'_>,
        options: &ListOptions,
    ) -> Result<Watching, Status> {
        validate(options, true)?;
        let served = request.served;
        let selection = Selection::parse(served, options)?;
        let version = Version::parse(&options.resource_version)?;
        let lifetime = match options.timeout_seconds {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds as u64),
            _ => self.env.random.jitter(LIFETIME_MIN, 1.0),
        };
        let start = match (version, options.send_initial_events) {
            (Version::At(revision), None | Some(false)) => Start::After(revision),
            (_, Some(false)) => Start::After(self.newest(served).await?.revision),
            // A watch that names no moment gets the bookmark after the state as one that asks for the state does.
            (version, _) => {
                Start::State { at: version.read_at(), end_bookmark: options.allow_watch_bookmarks }
            }
        };
        let scope = scope(served, request, &selection);
        let before_end = lifetime.saturating_sub(BOOKMARK_BEFORE_END).max(Duration::from_secs(1));
        let bookmarks = options.allow_watch_bookmarks.then(|| BOOKMARK_INTERVAL.min(before_end));
        let wanted = WatchOptions { scope, start, bookmarks, capacity: QUEUED_MAX };
        let feed = self.feeds.of(served)?;
        let ends = Instant::now() + lifetime;
        let opening = tokio::time::timeout_at(ends, feed.watch(wanted));
        let source = match opening.await {
            Ok(Ok(watcher)) => Ok(watcher),
            // Once a watch was let in, what is wrong with its revision is an event.
            Ok(Err(error @ FeedError::Gone { .. })) => Err(Some(errors::expired(error.to_string()))),
            Ok(Err(error @ FeedError::TooLarge { .. })) => Err(Some(from_feed(error))),
            Ok(Err(error)) => return Err(from_feed(error)),
            Err(_) => Err(None),
        };
        let served = served.clone();
        let over = served.custom().map(|custom| custom.definition.over());
        Ok(Watching { served: served.clone(), changes: Changes { served, selection, source, ends, over } })
    }
}

/// The narrowest part of the feed that holds everything selected.
fn scope(served: &Served, request: &Request<'_>, selection: &Selection) -> Scope {
    let target = request.target;
    let placed = !served.resource().namespaced || !target.namespace.is_empty();
    let name = if target.name.is_empty() { selection.name() } else { Some(target.name.clone()) };
    if let Some(name) = name.filter(|_| placed) {
        return Scope::Key(served.key(&target.namespace, &name));
    }
    if served.resource().plural == "pods"
        && let Some(node) = selection.exact("spec.nodeName")
        && target.namespace.is_empty()
    {
        return Scope::Index { index: "spec.nodeName", value: node.to_string() };
    }
    if served.resource().namespaced && !target.namespace.is_empty() {
        return Scope::Namespace(target.namespace.to_string());
    }
    Scope::All
}

impl Changes {
    /// The kind of the objects.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// How many watchers, this one included, were told of the latest events.
    pub fn listeners(&self) -> usize {
        self.source.as_ref().map_or(1, Watcher::listeners)
    }

    /// The next events; `None` at the end, an error as the last item before it. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Result<Vec<Change>, Status>> {
        loop {
            let watcher = match &mut self.source {
                Ok(watcher) => watcher,
                Err(status) => return status.take().map(Err),
            };
            let items = tokio::select! {
                biased;
                items = watcher.next() => items,
                () = tokio::time::sleep_until(self.ends) => {
                    self.source = Err(None);
                    return None;
                }
                () = replaced(&mut self.over) => {
                    self.source = Err(None);
                    return None;
                }
            };
            match items {
                Ok(items) => {
                    let changes = match translated(&self.served, &self.selection, &items).await {
                        Ok(changes) if changes.is_empty() => continue,
                        Ok(changes) => brought(&self.served, changes).await,
                        Err(status) => Err(status),
                    };
                    if changes.is_err() {
                        self.source = Err(None);
                    }
                    return Some(changes);
                }
                Err(error) => {
                    self.source = Err(None);
                    return Some(Err(from_feed(error)));
                }
            }
        }
    }
}

/// What a selection makes of an item, `selected` being what it says of the states before and after.
fn translate(served: &Served, item: &Item<dyn Object>, selected: (bool, bool)) -> Option<Change> {
    match item {
        Item::Initial(entry) => {
            selected.1.then(|| Change::Object(EventType::Added, Stored::entry(served, entry.clone())))
        }
        Item::Event(event) => event.seen(selected.0, selected.1).map(|(kind, entry)| {
            let kind = match kind {
                EventKind::Added => EventType::Added,
                EventKind::Modified => EventType::Modified,
                EventKind::Deleted => EventType::Deleted,
            };
            Change::Object(kind, Stored::entry(served, entry.clone()))
        }),
        Item::Bookmark { revision, initial_end } => {
            Some(Change::Bookmark((*revision).max(0) as u64, *initial_end))
        }
    }
}

/// The changes that some items are to a selection, in their stored versions.
async fn translated(
    served: &Served,
    selection: &Selection,
    items: &[Item<dyn Object>],
) -> Result<Vec<Change>, Status> {
    let matches = |entry: &Arc<Entry<dyn Object>>| selection.matches(served, &**entry.object());
    let stored = |item: &Item<dyn Object>| states(item).map(|state| state.is_some_and(matches));
    if !selection.waits_for_conversion() {
        let change = |item| translate(served, item, stored(item).into());
        return Ok(items.iter().filter_map(change).collect());
    }
    // Both states of each event are brought into the version whose fields were asked for.
    let all = items.iter().flat_map(states).flatten().filter(|entry| matches(entry));
    let all = all.map(|entry| Stored::entry(served, entry.clone())).collect();
    let mut brought = bring(served, all).await?.into_iter();
    let mut selects = |perhaps: bool| {
        perhaps && brought.next().is_some_and(|state| selection.matches_converted(served, &**state.object()))
    };
    let change = |item| {
        let [before, now] = stored(item);
        let selected = (selects(before), selects(now));
        translate(served, item, selected)
    };
    Ok(items.iter().filter_map(change).collect())
}

/// An item's object before and after.
fn states(item: &Item<dyn Object>) -> [Option<&Arc<Entry<dyn Object>>>; 2] {
    match item {
        Item::Initial(entry) => [None, Some(entry)],
        Item::Event(event) => [event.prev.as_ref(), Some(&event.entry)],
        Item::Bookmark { .. } => [None, None],
    }
}

/// Waits until the definition is replaced; for ever where there is none.
async fn replaced(over: &mut Option<tokio::sync::watch::Receiver<bool>>) {
    match over {
        Some(over) => drop(over.wait_for(|over| *over).await),
        None => std::future::pending().await,
    }
}

/// The changes with their objects in the version that is served.
async fn brought(served: &Served, changes: Vec<Change>) -> Result<Vec<Change>, Status> {
    if served.custom().is_none() {
        return Ok(changes);
    }
    let objects = changes.iter().filter_map(|change| match change {
        Change::Object(_, stored) => Some(stored.clone()),
        Change::Bookmark(..) => None,
    });
    let mut objects = bring(served, objects.collect()).await?.into_iter();
    let change = |change| match change {
        Change::Object(kind, stored) => Change::Object(kind, objects.next().unwrap_or(stored)),
        bookmark => bookmark,
    };
    Ok(changes.into_iter().map(change).collect())
}
