//! Watches: a cursor over the events of the index, and a signal that wakes it.
//!
//! A watch has no buffer of its own. It reads from the shard's event log at its own pace, so a slow one costs
//! nothing, and meets [`StoreError::Compacted`] if its next event has been forgotten meanwhile.

use crate::error::StoreError;
use crate::range::KeyRange;
use crate::shard::Shard;
use crate::shards::Shards;
use crate::store::Watch;
use crate::types::{Event, Revision, WatchBatch};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Asks a watch how far it is, from outside of it. Cheap to clone; other stores than ours provide their own
/// [`Progress::new`].
#[derive(Clone)]
pub struct Progress {
    request: Arc<dyn Fn() + Send + Sync>,
    fresh_through: Arc<dyn Fn(Revision) -> Option<Revision> + Send + Sync>,
}

impl Progress {
    /// A handle made of its two functions; see the methods of their names.
    pub fn new(
        request: impl Fn() + Send + Sync + 'static,
        fresh_through: impl Fn(Revision) -> Option<Revision> + Send + Sync + 'static,
    ) -> Progress {
        Progress { request: Arc::new(request), fresh_through: Arc::new(fresh_through) }
    }

    /// Makes the watch return soon with a revision that is at least the store's present one, even if no event
    /// lies before it.
    pub fn request(&self) {
        (self.request)();
    }

    /// If somebody who has seen all events of the range up to `applied` has thereby seen all there are at the
    /// moment: the store's revision. `None`: there are later ones, or only waiting can tell.
    pub fn fresh_through(&self, applied: Revision) -> Option<Revision> {
        (self.fresh_through)(applied)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// Wakes one watch.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    notify: Notify,
    progress_requested: AtomicBool,
}

impl Signal {
    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }
}

/// A watch on [`crate::Embedded`].
pub(crate) struct EmbeddedWatch {
    shards: Arc<Shards>,
    range: KeyRange,
    /// The only shard of the range; `None`: there may be several, and new ones may appear.
    home: Option<Arc<Shard>>,
    signal: Arc<Signal>,
    /// The first revision that has not been delivered.
    next: Revision,
}

impl EmbeddedWatch {
    pub(crate) fn start(
        shards: &Arc<Shards>,
        range: KeyRange,
        from: Option<Revision>,
    ) -> Result<EmbeddedWatch, StoreError> {
        let home = shards.home(&range);
        let signal = Arc::new(Signal::default());
        match &home {
            Some(shard) => shard.subscribe(&signal),
            None => shards.subscribe(&signal),
        }
        let next = from.unwrap_or_else(|| shards.visible() + 1);
        let compact_revision = shards.compact_revision();
        if next <= compact_revision {
            return Err(StoreError::Compacted { compact_revision });
        }
        // What was published before the subscription is found by the first poll.
        Ok(EmbeddedWatch { shards: shards.clone(), range, home, signal, next })
    }

    fn poll(&mut self) -> Result<WatchBatch, StoreError> {
        let visible = self.shards.visible();
        let mut events = Vec::new();
        if self.next > visible {
            return Ok(WatchBatch { events, revision: visible });
        }
        let through = match &self.home {
            Some(shard) => shard.events(&self.range, self.next, visible, &mut events)?,
            None => self.poll_many(visible, &mut events)?,
        };
        self.next = through + 1;
        Ok(WatchBatch { events, revision: through })
    }

    fn poll_many(&self, visible: Revision, events: &mut Vec<Event>) -> Result<Revision, StoreError> {
        let mut through = visible;
        for shard in self.shards.covering(&self.range) {
            through = through.min(shard.events(&self.range, self.next, visible, events)?);
        }
        // One shard had more than a watch takes at once: what others have beyond it comes next time.
        events.retain(|event| event.revision() <= through);
        events.sort_by_key(Event::revision);
        Ok(through)
    }
}

#[async_trait]
impl Watch for EmbeddedWatch {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            // Taken before the revision is read, so that the answer is not older than the request.
            let asked = self.signal.progress_requested.swap(false, Ordering::AcqRel);
            let batch = self.poll()?;
            if asked || !batch.events.is_empty() {
                return Ok(batch);
            }
            if self.shards.closed.load(Ordering::Acquire) {
                return Err(StoreError::Unavailable("the store was closed".to_owned()));
            }
            if self.next <= self.shards.visible() {
                continue;
            }
            self.signal.notify.notified().await;
        }
    }

    fn progress(&self) -> Progress {
        let signal = self.signal.clone();
        let (shards, home) = (self.shards.clone(), self.home.clone());
        Progress::new(
            move || {
                signal.progress_requested.store(true, Ordering::Release);
                signal.wake();
            },
            move |applied| {
                let visible = shards.visible();
                let last = home.as_ref()?.last_revision();
                (last <= applied).then_some(visible)
            },
        )
    }
}
