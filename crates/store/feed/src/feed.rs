//! The feed as others use it: opened on a store, read, watched.

use crate::codec::Codec;
use crate::core::{Beginning, Core};
use crate::entry::Event;
use crate::error::FeedError;
use crate::metrics::Measured;
use crate::queue::{Item, Queue};
use crate::scope::Scope;
use crate::snapshot::{Page, Snapshot};
use crate::watcher::Watcher;
use env::{Env, Task};
use mvcc::{KeyRange, Operation, RangeOptions, Revision, Store, StoreError, Watch};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a read waits for a revision that has not arrived, as upstream does.
const WAIT: Duration = Duration::from_secs(3);

/// How long a feed waits before it tries again to reach its store.
const RETRY: Duration = Duration::from_millis(200);

/// How to open a feed.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// The prefix of its keys, with a slash at the end: `/registry/pods/`.
    pub prefix: String,
    /// Group and plural of its resource, by which it is measured.
    pub resource: (String, String),
    /// Recent events kept for watches that continue; older ones are taken from the store's history.
    pub recent_events: usize,
}

impl FeedOptions {
    /// A feed of a prefix with the usual sizes, which holds the objects of a resource.
    pub fn new(prefix: impl Into<String>, group: &str, plural: &str) -> FeedOptions {
        let resource = (group.to_owned(), plural.to_owned());
        FeedOptions { prefix: prefix.into(), resource, recent_events: 1024 }
    }
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// Whatever is there (`resourceVersion=0`).
    Any,
    /// Not older than this revision (`resourceVersionMatch=NotOlderThan`).
    AtLeast(Revision),
    /// With every write that was acknowledged before (no `resourceVersion`).
    Latest,
}

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this revision, which may also be one that is still to come.
    After(Revision),
    /// With the objects that are there, no older than said, then what happens to them.
    State {
        /// How fresh the initial objects have to be.
        at: ReadAt,
        /// Whether a bookmark says when all of them have been sent (`sendInitialEvents=true`).
        end_bookmark: bool,
    },
}

/// How to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// What to watch.
    pub scope: Scope,
    /// From where on.
    pub start: Start,
    /// How often to say how far the watch is; `None`: never.
    pub bookmarks: Option<Duration>,
    /// Events that may wait to be taken before the watch is cut off.
    pub capacity: usize,
}

impl WatchOptions {
    /// A watch without bookmarks and with the usual capacity.
    pub fn new(scope: Scope, start: Start) -> WatchOptions {
        WatchOptions { scope, start, bookmarks: None, capacity: 4096 }
    }
}

/// A watch cache of one prefix of a store. Closed when dropped, which ends its watches.
pub struct Feed<T: ?Sized + Send + Sync + 'static> {
    core: Arc<Core<T>>,
    store: Arc<dyn Store>,
    env: Env,
    _follower: Task,
}

impl<T: ?Sized + Send + Sync + 'static> Feed<T> {
    /// Loads what is in the store and follows it from there, in a task on the current tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        codec: Arc<dyn Codec<T>>,
        env: &Env,
        options: FeedOptions,
    ) -> Result<Feed<T>, StoreError> {
        let core = Arc::new(Core::new(&options, codec));
        let watch = load(&core, &*store).await?;
        let follower = env::spawn("feed", follow(core.clone(), store.clone(), env.clone(), watch));
        Ok(Feed { core, store, env: env.clone(), _follower: follower })
    }

    /// The prefix of the keys.
    pub fn prefix(&self) -> &str {
        &self.core.prefix
    }

    /// What is measured of the feed, for those who answer from it.
    pub fn measured(&self) -> &Measured {
        &self.core.measured
    }

    /// The number of watchers at the moment.
    pub fn watchers(&self) -> usize {
        self.core.watchers()
    }

    /// All objects as of one revision.
    ///
    /// # Errors
    /// [`FeedError::TooLarge`] when the revision does not arrive in three seconds.
    pub async fn snapshot(&self, at: ReadAt) -> Result<Snapshot<T>, FeedError> {
        self.wait(at).await?;
        Ok(self.core.snapshot())
    }

    /// All objects as they are known at the moment, without waiting.
    pub fn snapshot_now(&self) -> Snapshot<T> {
        self.core.snapshot()
    }

    /// Returns once everything up to what `at` asks for has been applied.
    ///
    /// # Errors
    /// [`FeedError::TooLarge`] when that does not come to pass in three seconds.
    pub async fn wait(&self, at: ReadAt) -> Result<(), FeedError> {
        let requested = match at {
            ReadAt::Any => return Ok(()),
            ReadAt::AtLeast(revision) => revision,
            ReadAt::Latest => self.store.revision().await?,
        };
        if self.core.revision() >= requested || self.core.refresh() >= requested {
            self.core.measured.waited(0.0);
            return Ok(());
        }
        let mut reached = self.core.reached();
        let begun = self.env.clock.monotonic();
        let outcome = tokio::select! {
            arrived = reached.wait_for(|revision| *revision >= requested) => {
                arrived.map(drop).map_err(|_| FeedError::Interrupted)
            }
            () = self.env.sleep(WAIT) => {
                Err(FeedError::TooLarge { requested, current: self.core.revision() })
            }
        };
        let waited = self.env.clock.monotonic().saturating_sub(begun);
        self.core.measured.waited(waited.as_secs_f64());
        outcome
    }

    /// A part of the list as it was at exactly `revision`: how a list continues (`continue`,
    /// `resourceVersionMatch=Exact`). `limit` 0: all.
    ///
    /// # Errors
    /// [`FeedError::Gone`] when the revision has been compacted; [`FeedError::TooLarge`] when it has not arrived.
    pub async fn list_at(
        &self,
        revision: Revision,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Page<T>, FeedError> {
        self.wait(ReadAt::AtLeast(revision)).await?;
        if let Some(snapshot) = self.core.snapshot_at(revision) {
            return Ok(snapshot.page(range, limit));
        }
        let options = RangeOptions { limit, at: Some(revision), count: true };
        let begun = Instant::now();
        let found = self.store.range(range, options).await;
        self.core.measured.requests().done(Operation::List, begun, found.is_err());
        let found = found.map_err(|error| gone(error, revision))?;
        let current = self.core.snapshot();
        let entry = |kv: &Arc<mvcc::KeyValue>| {
            // Most objects are still what they were, with their encodings.
            let same = current.get(&kv.key).filter(|entry| entry.revision() == kv.mod_revision);
            same.cloned().or_else(|| self.core.entry(kv))
        };
        let entries = found.kvs.iter().filter_map(entry).collect();
        Ok(Page { revision, entries, remaining: found.remaining, from_history: true })
    }

    /// Starts a watch.
    ///
    /// # Errors
    /// [`FeedError::Gone`] when the events since the start have been forgotten; [`FeedError::TooLarge`] as with
    /// [`Feed::snapshot`], for a start with the present state only; [`FeedError::NoIndex`].
    pub async fn watch(&self, options: WatchOptions) -> Result<Watcher<T>, FeedError> {
        if let Scope::Index { index, .. } = &options.scope
            && !self.core.codec.indexes().contains(index)
        {
            return Err(FeedError::NoIndex((*index).to_owned()));
        }
        let start = match options.start {
            Start::After(revision) => {
                let queue = self.continue_after(revision, &options).await?;
                (None, queue)
            }
            Start::State { at, end_bookmark } => {
                self.wait(at).await?;
                let (snapshot, queue) = self.core.follow_state(&options.scope, options.capacity);
                (Some((snapshot, end_bookmark)), queue)
            }
        };
        Ok(Watcher::new(self.core.clone(), self.env.clone(), start.1, start.0, options))
    }

    /// Registers a watcher after a revision; what the feed has forgotten comes from the store's history, up to where
    /// the feed's own memory begins and not further, so that nothing comes twice.
    async fn continue_after(
        &self,
        revision: Revision,
        options: &WatchOptions,
    ) -> Result<Arc<Queue<T>>, FeedError> {
        let mut past = Past { after: revision, items: Vec::new(), read: Vec::new(), read_through: revision };
        let mut history: Option<Box<dyn Watch>> = None;
        loop {
            let recent_since =
                match self.core.follow(&options.scope, past.after, past.items, options.capacity) {
                    Beginning::Following(queue) => return Ok(queue),
                    Beginning::Earlier { recent_since, items } => {
                        past.items = items;
                        recent_since
                    }
                };
            let mut watch = match history.take() {
                Some(watch) => watch,
                None => {
                    let range = KeyRange::prefix(self.core.prefix.to_string());
                    let watch = self.store.watch(range, Some(revision + 1)).await;
                    watch.map_err(|error| gone(error, revision))?
                }
            };
            while past.read_through < recent_since {
                watch.progress().request();
                let mut batch = watch.next().await.map_err(|error| gone(error, revision))?;
                past.read_through = batch.revision;
                past.read.append(&mut batch.events);
            }
            let count = past.read.partition_point(|change| change.revision() <= recent_since);
            let changes: Vec<_> = past.read.drain(..count).collect();
            past.items.extend(self.past(&changes, &options.scope));
            past.after = recent_since;
            history = Some(watch);
        }
    }

    /// Events of the store's history as a watcher gets them.
    fn past(&self, changes: &[mvcc::Event], scope: &Scope) -> Vec<Item<T>> {
        let event = |change: &mvcc::Event| {
            let prev = change.prev.as_ref().and_then(|prev| self.core.entry(prev));
            let event = match (change.kind, prev) {
                (mvcc::EventKind::Put, prev) => {
                    let kind = match prev {
                        Some(_) => crate::EventKind::Modified,
                        None => crate::EventKind::Added,
                    };
                    Event::new(kind, self.core.entry(&change.kv)?, prev)
                }
                (mvcc::EventKind::Delete, prev) => {
                    let prev = prev?;
                    let last = Arc::new(prev.restamped(change.revision()));
                    Event::new(crate::EventKind::Deleted, last, Some(prev))
                }
            };
            scope.concerns(self.core.prefix.as_bytes(), &event).then(|| Item::Event(Arc::new(event)))
        };
        changes.iter().filter_map(event).collect()
    }
}

impl<T: ?Sized + Send + Sync + 'static> Drop for Feed<T> {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl<T: ?Sized + Send + Sync + 'static> std::fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed of {:?}", self.core.snapshot())
    }
}

/// A watch's way through the store's history.
struct Past<T: ?Sized> {
    /// Everything up to this revision is in `items`.
    after: Revision,
    items: Vec<Item<T>>,
    /// Read from the store and not yet in `items`.
    read: Vec<mvcc::Event>,
    read_through: Revision,
}

fn gone(error: StoreError, requested: Revision) -> FeedError {
    match error {
        StoreError::Compacted { compact_revision } => FeedError::Gone { requested, oldest: compact_revision },
        StoreError::FutureRevision { revision } => FeedError::TooLarge { requested, current: revision },
        other => FeedError::Store(other),
    }
}

/// Reads everything, and starts a watch behind it.
async fn load<T: ?Sized + Send + Sync + 'static>(
    core: &Core<T>,
    store: &dyn Store,
) -> Result<Box<dyn Watch>, StoreError> {
    let range = KeyRange::prefix(core.prefix.to_string());
    let begun = Instant::now();
    let found = store.range(&range, RangeOptions::default()).await;
    core.measured.requests().done(Operation::List, begun, found.is_err());
    let found = found?;
    let watch = store.watch(range, Some(found.revision + 1)).await?;
    core.load(&found.kvs, found.revision, watch.progress());
    Ok(watch)
}

/// Keeps the feed up to date until it is dropped.
async fn follow<T: ?Sized + Send + Sync + 'static>(
    core: Arc<Core<T>>,
    store: Arc<dyn Store>,
    env: Env,
    mut watch: Box<dyn Watch>,
) {
    loop {
        match watch.next().await {
            Ok(batch) => {
                if batch.events.is_empty() {
                    core.measured.bookmark();
                }
                core.apply(&batch.events, batch.revision);
            }
            Err(error) => {
                tracing::warn!(prefix = %core.prefix, %error, "lost the watch on the store; starting over");
                if !matches!(error, StoreError::Compacted { .. }) {
                    env.sleep(RETRY).await;
                }
                watch = loop {
                    match load(&core, &*store).await {
                        Ok(watch) => break watch,
                        Err(_) => env.sleep(RETRY).await,
                    }
                };
            }
        }
    }
}
