//! WATCH: the current state first where the client asked for it, then every change that touches the selection.
//!
//! An object that begins to match appears as ADDED, one that ceases to match as DELETED, in both cases whatever really
//! happened to it. Bookmarks tell an idle client how far it has seen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use call::{EventType, ListOptions};
use meta::Status;
use mvcc::{Event, EventKind, KeyRange, KeyValue, RangeOptions, StoreError};

use crate::errors;
use crate::outcome::Watching;
use crate::read::{Version, validate};
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
    ready: VecDeque<Change>,
    failed: Option<Status>,
    source: Option<Box<dyn mvcc::Watch>>,
    bookmarks: bool,
    /// Revision up to which everything was delivered.
    seen: u64,
    next_bookmark: tokio::time::Instant,
    ends: tokio::time::Instant,
}

impl Registry {
    /// WATCH.
    pub(crate) async fn watch(&self, request: &Request<'_>, options: &ListOptions) -> Result<Watching, Status> {
        validate(options, true)?;
        let served = request.served;
        let selection = Selection::parse(&served, options)?;
        let version = Version::parse(&options.resource_version)?;
        let namespace = &request.target.namespace;
        let range = match (request.target.name.as_str(), selection.name()) {
            ("", Some(name)) if !served.resource.namespaced || !namespace.is_empty() => {
                KeyRange::single(served.key(namespace, &name))
            }
            ("", _) => KeyRange::prefix(served.prefix(namespace)),
            (name, _) => KeyRange::single(served.key(namespace, name)),
        };
        let now = tokio::time::Instant::now();
        let lifetime = match options.timeout_seconds {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds as u64),
            _ => self.env.random.jitter(LIFETIME_MIN, 1.0),
        };
        let mut changes = Changes {
            served,
            selection,
            ready: VecDeque::new(),
            failed: None,
            source: None,
            bookmarks: options.allow_watch_bookmarks,
            seen: 0,
            next_bookmark: now + BOOKMARK_INTERVAL.min(lifetime.saturating_sub(BOOKMARK_BEFORE_END)),
            ends: now + lifetime,
        };
        let initial = match (version, options.send_initial_events) {
            (_, Some(send)) => send,
            (Version::At(_), None) => false,
            (..) => true,
        };
        let from = if initial {
            let found = self.store.range(&range, RangeOptions::default()).await.map_err(errors::from_store)?;
            if let Version::At(wanted) = version
                && wanted > found.revision.max(0) as u64
            {
                return Err(errors::too_large_version(wanted, found.revision.max(0) as u64));
            }
            for kv in found.kvs {
                let stored = Stored::new(served, kv);
                if changes.selects(&stored)? {
                    changes.ready.push_back(Change::Object(EventType::Added, stored));
                }
            }
            changes.seen = found.revision.max(0) as u64;
            if options.send_initial_events == Some(true) && options.allow_watch_bookmarks {
                changes.ready.push_back(Change::Bookmark(changes.seen, true));
            }
            Some(found.revision + 1)
        } else {
            match version {
                Version::At(n) => {
                    changes.seen = n;
                    Some(n as i64 + 1)
                }
                _ => None,
            }
        };
        match self.store.watch(range, from).await {
            Ok(source) => changes.source = Some(source),
            // Once a watch was let in, its errors are events.
            Err(error) => changes.failed = Some(too_old(error, changes.seen)),
        }
        Ok(Watching { served, changes })
    }
}

fn too_old(error: StoreError, wanted: u64) -> Status {
    match error {
        StoreError::Compacted { compact_revision } => {
            errors::expired(format!("too old resource version: {wanted} ({compact_revision})"))
        }
        other => errors::from_store(other),
    }
}

impl Changes {
    fn selects(&self, stored: &Stored) -> Result<bool, Status> {
        if self.selection.is_everything() {
            return Ok(true);
        }
        let object = stored.object().map_err(errors::internal)?;
        Ok(self.selection.matches(&self.served, &**object))
    }

    /// What the client sees of an event.
    fn translate(&self, event: &Event) -> Result<Option<Change>, Status> {
        let before = match &event.prev {
            Some(prev) => Some(Stored::new(self.served, prev.clone())),
            None => None,
        };
        let was = before.as_ref().map(|b| self.selects(b)).transpose()?.unwrap_or(false);
        if event.kind == EventKind::Delete {
            let gone = before.filter(|_| was).map(|b| deleted(&b, &event.kv));
            return Ok(gone.map(|stored| Change::Object(EventType::Deleted, stored)));
        }
        let after = Stored::new(self.served, event.kv.clone());
        let is = self.selects(&after)?;
        Ok(match (was, is) {
            (false, false) => None,
            (false, true) => Some(Change::Object(EventType::Added, after)),
            (true, true) => Some(Change::Object(EventType::Modified, after)),
            // The last state that matched, at the revision at which it ceased to.
            (true, false) => before.map(|b| Change::Object(EventType::Deleted, deleted(&b, &event.kv))),
        })
    }

    /// The next events; `None` at the end, an error as the last item before it. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Result<Vec<Change>, Status>> {
        loop {
            if !self.ready.is_empty() {
                return Some(Ok(self.ready.drain(..).collect()));
            }
            if let Some(status) = self.failed.take() {
                self.source = None;
                return Some(Err(status));
            }
            let source = self.source.as_mut()?;
            let wake = if self.bookmarks { self.next_bookmark.min(self.ends) } else { self.ends };
            let batch = tokio::select! {
                biased;
                batch = source.next() => batch,
                () = tokio::time::sleep_until(wake) => {
                    if tokio::time::Instant::now() >= self.ends {
                        self.source = None;
                        return None;
                    }
                    source.progress().request();
                    let left = self.ends.saturating_duration_since(tokio::time::Instant::now());
                    self.next_bookmark = if left <= BOOKMARK_BEFORE_END + Duration::from_millis(50) {
                        self.ends + Duration::from_secs(1)
                    } else {
                        let before_end = self.ends - BOOKMARK_BEFORE_END;
                        (tokio::time::Instant::now() + BOOKMARK_INTERVAL).min(before_end)
                    };
                    continue;
                }
            };
            match batch {
                Ok(batch) => {
                    self.seen = self.seen.max(batch.revision.max(0) as u64);
                    for event in &batch.events {
                        match self.translate(event) {
                            Ok(Some(change)) => self.ready.push_back(change),
                            Ok(None) => {}
                            Err(status) => self.failed = Some(status),
                        }
                    }
                    if batch.events.is_empty() && self.bookmarks {
                        self.ready.push_back(Change::Bookmark(self.seen, false));
                    }
                }
                Err(error) => self.failed = Some(too_old(error, self.seen)),
            }
        }
    }

    /// The kind of the objects.
    pub fn served(&self) -> Served {
        self.served
    }
}

/// The state before a deletion, at the deletion's revision.
fn deleted(before: &Stored, event: &Arc<KeyValue>) -> Stored {
    before.at_revision(event.mod_revision)
}
