//! Batch mode: events wait in a bounded buffer and are delivered together, not faster than the throttle allows.
//!
//! What a slow or dead backend can hold is bounded twice, by number (`-batch-buffer-size`) and by bytes; what comes on top
//! is lost, counted and told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use env::{Bucket, Env, Task};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::metrics;
use crate::sink::Way;

/// Bytes of events that may wait for one backend or be under way to it.
const BYTES_MAX: usize = 64 << 20;
/// Events that may wait at most, whatever the options say.
const EVENTS_MAX: usize = 1 << 24;
/// Longest pause of the throttle.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// How events are gathered.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Events that may wait.
    pub buffer_size: usize,
    /// Events in one batch.
    pub max_size: usize,
    /// How long a batch waits to be full.
    pub max_wait: Duration,
    /// How many batches go out in a time; `None` for as many as there are.
    pub throttle: Option<Throttle>,
}

/// So many batches a second on average, so many at once after a pause.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// Batches a second.
    pub qps: f64,
    /// Batches at once.
    pub burst: usize,
}

enum Waiting {
    Event(Bytes),
    Flush(oneshot::Sender<()>),
}

/// The buffer. Dropping it ends delivery.
pub(crate) struct Batch {
    name: &'static str,
    queue: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
    _task: Task,
}

impl Batch {
    /// Starts delivery, with so many batches under way `at_once`.
    pub fn start(
        way: Arc<Way>,
        options: &BatchOptions,
        bytes_max: Option<usize>,
        at_once: usize,
        env: &Env,
    ) -> Batch {
        let (queue, waiting) = mpsc::channel(options.buffer_size.clamp(1, EVENTS_MAX));
        let bytes = Arc::new(AtomicUsize::new(0));
        let name = way.name();
        let throttle = options.throttle.filter(|throttle| throttle.qps > 0.0);
        let bucket = throttle.map(|Throttle { qps, burst }| {
            Bucket::full(qps, u32::try_from(burst.max(1)).unwrap_or(u32::MAX), env.clock.monotonic())
        });
        let delivery = Delivery {
            way,
            options: options.clone(),
            bytes_max,
            env: env.clone(),
            bytes: bytes.clone(),
            slots: Arc::new(Semaphore::new(at_once)),
            at_once: at_once as u32,
            bucket,
        };
        Batch { name, queue, bytes, _task: env::spawn("audit-batch", delivery.run(waiting)) }
    }

    /// Puts an event into the buffer, or loses it.
    pub fn push(&self, event: Bytes) {
        let length = event.len();
        if self.bytes.fetch_add(length, Ordering::Relaxed) + length > BYTES_MAX
            || self.queue.try_send(Waiting::Event(event)).is_err()
        {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            metrics::lost(self.name, 1, "audit buffer queue blocked");
        }
    }

    /// Waits until what is in the buffer is delivered or given up.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Waiting::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

struct Delivery {
    way: Arc<Way>,
    options: BatchOptions,
    bytes_max: Option<usize>,
    env: Env,
    bytes: Arc<AtomicUsize>,
    slots: Arc<Semaphore>,
    at_once: u32,
    bucket: Option<Bucket>,
}

impl Delivery {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        loop {
            let (events, flush, open) = self.gather(&mut waiting).await;
            for events in parts(events, self.bytes_max.unwrap_or(usize::MAX)) {
                self.throttle().await;
                self.deliver(events).await;
            }
            if let Some(flushed) = flush {
                let _all = self.slots.acquire_many(self.at_once).await;
                let _ = flushed.send(());
            }
            if !open {
                return;
            }
        }
    }

    /// A batch: full, or as much as came in time. Also who waits for it, and whether more may come.
    async fn gather(
        &self,
        waiting: &mut mpsc::Receiver<Waiting>,
    ) -> (Vec<Bytes>, Option<oneshot::Sender<()>>, bool) {
        let mut events = Vec::new();
        match waiting.recv().await {
            Some(Waiting::Event(event)) => events.push(event),
            Some(Waiting::Flush(flushed)) => return (events, Some(flushed), true),
            None => return (events, None, false),
        }
        let mut late = self.env.sleep(self.options.max_wait);
        while events.len() < self.options.max_size.max(1) {
            tokio::select! {
                biased;
                next = waiting.recv() => match next {
                    Some(Waiting::Event(event)) => events.push(event),
                    Some(Waiting::Flush(flushed)) => return (events, Some(flushed), true),
                    None => return (events, None, false),
                },
                () = &mut late => break,
            }
        }
        (events, None, true)
    }

    async fn throttle(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            let pause = bucket.reserve(self.env.clock.monotonic());
            self.env.sleep(pause.min(PAUSE_MAX)).await;
        }
    }

    async fn deliver(&self, events: Vec<Bytes>) {
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
        let (way, bytes) = (self.way.clone(), self.bytes.clone());
        env::spawn_detached("audit-deliver", async move {
            if let Err(error) = way.deliver(&events).await {
                metrics::lost(way.name(), events.len(), &error);
            }
            bytes.fetch_sub(events.iter().map(Bytes::len).sum(), Ordering::Relaxed);
            drop(slot);
        });
    }
}

/// A batch in parts that are not larger than so many bytes.
fn parts(events: Vec<Bytes>, bytes_max: usize) -> Vec<Vec<Bytes>> {
    let mut parts: Vec<Vec<Bytes>> = Vec::new();
    let mut size = usize::MAX;
    for event in events {
        size = size.saturating_add(event.len());
        match parts.last_mut().filter(|_| size <= bytes_max) {
            Some(part) => part.push(event),
            None => {
                size = event.len();
                parts.push(vec![event]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_split_by_bytes() {
        let sizes = |lengths: &[usize], max| {
            let events = lengths.iter().map(|length| vec![b'x'; *length].into()).collect();
            let parts = parts(events, max);
            parts.iter().map(|part| part.iter().map(Bytes::len).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(sizes(&[], 10), Vec::<Vec<usize>>::new());
        assert_eq!(sizes(&[4, 4, 4], 10), [vec![4, 4], vec![4]]);
        assert_eq!(sizes(&[20, 1, 9, 1], 10), [vec![20], vec![1, 9], vec![1]]);
        assert_eq!(sizes(&[4, 4, 4], usize::MAX), [vec![4, 4, 4]]);
    }
}
