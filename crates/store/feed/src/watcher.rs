//! One watch on a feed: first the objects that are there, if asked for, then their changes, now and then a bookmark.

use crate::core::Core;
use crate::error::FeedError;
use crate::feed::WatchOptions;
use crate::queue::{Item, Queue};
use crate::scope::Scope;
use crate::snapshot::Snapshot;
use bytes::Bytes;
use env::{Env, Sleep};
use mvcc::KeyRange;
use std::sync::Arc;
use std::time::Duration;

/// Initial objects given out at a time.
const INITIAL_PER_CALL: usize = 512;

/// A running watch; dropping it ends it.
pub struct Watcher<T: ?Sized + Send + Sync + 'static> {
    core: Arc<Core<T>>,
    env: Env,
    queue: Arc<Queue<T>>,
    scope: Scope,
    initial: Option<Initial<T>>,
    bookmarks: Option<(Duration, Sleep)>,
}

/// The objects that were there at the beginning, as far as they have not been given out.
struct Initial<T: ?Sized> {
    snapshot: Snapshot<T>,
    /// The key after which to go on.
    after: Option<Bytes>,
    end_bookmark: bool,
}

impl<T: ?Sized + Send + Sync + 'static> Watcher<T> {
    pub(crate) fn new(
        core: Arc<Core<T>>,
        env: Env,
        queue: Arc<Queue<T>>,
        state: Option<(Snapshot<T>, bool)>,
        options: WatchOptions,
    ) -> Watcher<T> {
        let initial = state.map(|(snapshot, end_bookmark)| Initial { snapshot, after: None, end_bookmark });
        let bookmarks = options.bookmarks.map(|every| (every, env.sleep(every)));
        Watcher { core, env, queue, scope: options.scope, initial, bookmarks }
    }

    /// What has come, at least one item. May be dropped and called again without losing anything.
    ///
    /// # Errors
    /// [`FeedError::Slow`] or [`FeedError::Interrupted`], after which nothing comes any more.
    pub async fn next(&mut self) -> Result<Vec<Item<T>>, FeedError> {
        loop {
            if let Some(items) = self.take_initial() {
                return Ok(items);
            }
            if let Some(taken) = self.queue.take() {
                return taken;
            }
            match &mut self.bookmarks {
                None => self.queue.filled().await,
                Some((every, timer)) => tokio::select! {
                    () = self.queue.filled() => {}
                    () = &mut *timer => {
                        *timer = self.env.sleep(*every);
                        self.core.bookmark(&self.queue);
                    }
                },
            }
        }
    }

    /// What has come already, without waiting; `None` when there is nothing.
    ///
    /// # Errors
    /// As [`Watcher::next`].
    pub fn try_next(&mut self) -> Option<Result<Vec<Item<T>>, FeedError>> {
        self.take_initial().map(Ok).or_else(|| self.queue.take())
    }

    /// How many watchers, this one included, were told of the latest events.
    pub fn listeners(&self) -> usize {
        self.queue.listeners()
    }

    fn take_initial(&mut self) -> Option<Vec<Item<T>>> {
        let initial = self.initial.as_mut()?;
        let prefix = self.core.prefix.clone();
        let mut range = match &self.scope {
            Scope::All | Scope::Index { .. } => KeyRange::prefix(prefix.to_string()),
            Scope::Namespace(name) => initial.snapshot.namespace_range(name),
            Scope::Key(key) => KeyRange::single(key.clone()),
        };
        if let Some(after) = &initial.after {
            range = range.after(after);
        }
        let covered =
            initial.snapshot.range(&range).filter(|entry| self.scope.covers(prefix.as_bytes(), entry));
        let mut items: Vec<Item<T>> = covered.take(INITIAL_PER_CALL).cloned().map(Item::Initial).collect();
        self.core.measured.began(items.len());
        if items.len() == INITIAL_PER_CALL
            && let Some(Item::Initial(last)) = items.last()
        {
            initial.after = Some(last.key().clone());
            return Some(items);
        }
        if initial.end_bookmark {
            items.push(Item::Bookmark { revision: initial.snapshot.revision, initial_end: true });
        }
        self.initial = None;
        (!items.is_empty()).then_some(items)
    }
}

impl<T: ?Sized + Send + Sync + 'static> Drop for Watcher<T> {
    fn drop(&mut self) {
        self.core.leave(&self.scope, &self.queue);
    }
}

impl<T: ?Sized + Send + Sync + 'static> std::fmt::Debug for Watcher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher of {} ({:?})", self.core.prefix, self.scope)
    }
}
