//! A work queue with client-go's semantics.
//!
//! An item is in the queue at most once; one that is added while it is being processed comes back when that is done, so
//! no two workers ever hold the same item and no change is missed. Failed items come back after a pause that doubles
//! from 5 ms to 1000 s, and all failures together are let through at 10 a second after a burst of 100.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use env::Env;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics::QueueMetrics;

const RETRY_BASE: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(1000);
const BUCKET_PER_SECOND: f64 = 10.0;
const BUCKET_BURST: f64 = 100.0;

/// The queue of one controller. Times are monotonic.
pub struct Queue<T> {
    env: Env,
    state: Mutex<State<T>>,
    wake: Notify,
    metrics: QueueMetrics,
}

struct State<T> {
    ready: VecDeque<T>,
    dirty: HashSet<T>,
    processing: HashMap<T, Duration>,
    added: HashMap<T, Duration>,
    waiting: BinaryHeap<Reverse<(Duration, u64)>>,
    /// The item of each timer, and the timer that counts for each item: the earliest asked for.
    timers: HashMap<u64, T>,
    due: HashMap<T, (Duration, u64)>,
    timers_made: u64,
    failures: HashMap<T, u32>,
    tokens: f64,
    tokens_at: Duration,
    closed: bool,
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// An empty queue that reports metrics under `name`.
    pub fn new(name: &str, env: Env) -> Self {
        Queue {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: HashSet::new(),
                processing: HashMap::new(),
                added: HashMap::new(),
                waiting: BinaryHeap::new(),
                timers: HashMap::new(),
                due: HashMap::new(),
                timers_made: 0,
                failures: HashMap::new(),
                tokens: BUCKET_BURST,
                tokens_at: env.clock.monotonic(),
                closed: false,
            }),
            wake: Notify::new(),
            metrics: QueueMetrics::new(name),
            env,
        }
    }

    /// Asks for `item` to be processed soon.
    pub fn add(&self, item: T) {
        let now = self.env.clock.monotonic();
        let mut state = self.state.lock();
        self.add_locked(&mut state, item, now);
    }

    fn add_locked(&self, state: &mut State<T>, item: T, now: Duration) {
        if state.closed || !state.dirty.insert(item.clone()) {
            return;
        }
        self.metrics.adds.inc();
        state.added.entry(item.clone()).or_insert(now);
        if !state.processing.contains_key(&item) {
            state.ready.push_back(item);
            self.metrics.depth.set(state.ready.len() as f64);
            self.wake.notify_one();
        }
    }

    /// Asks for `item` to be processed after `pause`. Of several pauses asked for, the one that ends first counts.
    pub fn add_after(&self, item: T, pause: Duration) {
        if pause.is_zero() {
            return self.add(item);
        }
        let now = self.env.clock.monotonic();
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        let at = now + pause;
        if let Some((known, timer)) = state.due.get(&item).copied() {
            if known <= at {
                return;
            }
            state.timers.remove(&timer);
        }
        state.timers_made += 1;
        let timer = state.timers_made;
        state.waiting.push(Reverse((at, timer)));
        state.timers.insert(timer, item.clone());
        state.due.insert(item, (at, timer));
        // Sleeping workers must learn of an earlier deadline.
        self.wake.notify_one();
    }

    /// Asks for `item` again after a failure, with a pause that grows with the failures since the last [`Queue::forget`].
    pub fn retry(&self, item: T) {
        self.metrics.retries.inc();
        let now = self.env.clock.monotonic();
        let pause = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(item.clone()).or_insert(0);
            let own =
                RETRY_BASE.saturating_mul(1u32.checked_shl(*failures).unwrap_or(u32::MAX)).min(RETRY_MAX);
            *failures = failures.saturating_add(1).min(31);
            own.max(state.reserve(now))
        };
        self.add_after(item, pause);
    }

    /// Ends the growth of pauses for `item`, after success.
    pub fn forget(&self, item: &T) {
        self.state.lock().failures.remove(item);
    }

    /// How often `item` failed since the last success.
    pub fn failures(&self, item: &T) -> u32 {
        self.state.lock().failures.get(item).copied().unwrap_or(0)
    }

    /// How many items are ready to be processed.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Whether nothing is ready, in progress or due later.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.ready.is_empty() && state.processing.is_empty() && state.due.is_empty()
    }

    /// Whether nothing is ready to be processed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: adds are ignored and waiting workers get `None`.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Takes the next item, when there is one; call [`Queue::done`] when it is processed. `None` once closed.
    pub async fn next(&self) -> Option<T> {
        loop {
            let wake = self.wake.notified();
            let now = self.env.clock.monotonic();
            let pause = {
                let mut state = self.state.lock();
                self.move_due(&mut state, now);
                if let Some(item) = state.ready.pop_front() {
                    state.dirty.remove(&item);
                    if let Some(added) = state.added.remove(&item) {
                        self.metrics.queued.observe_duration(now.saturating_sub(added));
                    }
                    state.processing.insert(item.clone(), now);
                    self.metrics.depth.set(state.ready.len() as f64);
                    self.measure_progress(&state, now);
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(item);
                }
                if state.closed {
                    self.wake.notify_one();
                    return None;
                }
                state.waiting.peek().map(|Reverse((at, _))| at.saturating_sub(now))
            };
            match pause {
                Some(pause) => {
                    tokio::select! {
                        () = wake => {}
                        () = self.env.sleep(pause) => {}
                    }
                }
                None => wake.await,
            }
        }
    }

    /// Ends the processing of `item`; it comes back at once if it was added meanwhile.
    pub fn done(&self, item: &T) {
        let now = self.env.clock.monotonic();
        let mut state = self.state.lock();
        if let Some(started) = state.processing.remove(item) {
            self.metrics.worked.observe_duration(now.saturating_sub(started));
        }
        if state.dirty.contains(item) {
            state.ready.push_back(item.clone());
            self.wake.notify_one();
        }
        self.metrics.depth.set(state.ready.len() as f64);
        self.measure_progress(&state, now);
    }

    fn move_due(&self, state: &mut State<T>, now: Duration) {
        while let Some(Reverse((at, timer))) = state.waiting.peek().copied() {
            if at > now && state.timers.contains_key(&timer) {
                break;
            }
            state.waiting.pop();
            if let Some(item) = state.timers.remove(&timer) {
                state.due.remove(&item);
                self.add_locked(state, item, now);
            }
        }
    }

    fn measure_progress(&self, state: &State<T>, now: Duration) {
        let ages = state.processing.values().map(|started| now.saturating_sub(*started).as_secs_f64());
        let (total, longest) =
            ages.fold((0.0, 0.0_f64), |(total, longest), age| (total + age, longest.max(age)));
        self.metrics.unfinished.set(total);
        self.metrics.longest.set(longest);
    }
}

impl<T> State<T> {
    /// Takes a token from the bucket and says how long to wait until it is there.
    fn reserve(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.tokens_at).as_secs_f64();
        self.tokens = (self.tokens + passed * BUCKET_PER_SECOND).min(BUCKET_BURST) - 1.0;
        self.tokens_at = now;
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.tokens / BUCKET_PER_SECOND)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_item_is_held_by_one_worker_and_comes_back_when_changed() {
        let (env, _clock) = Env::simulated(1);
        let queue = Queue::new("test-dedup", env);
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert!(queue.next().now_or_never().is_none(), "it is being processed");
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        queue.close();
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn pauses_double_until_success() {
        let (env, clock) = Env::simulated(1);
        let queue = Queue::new("test-retry", env);
        for pause in [5, 10, 20] {
            queue.retry("a");
            assert!(queue.next().now_or_never().is_none());
            clock.advance(Duration::from_millis(pause - 1));
            assert!(queue.next().now_or_never().is_none(), "{pause}");
            clock.advance(Duration::from_millis(1));
            assert_eq!(queue.next().await, Some("a"));
            queue.done(&"a");
        }
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test]
    async fn the_earliest_pause_counts() {
        let (env, clock) = Env::simulated(1);
        let queue = Queue::new("test-after", env);
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        clock.advance(Duration::from_secs(2));
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        clock.advance(Duration::from_secs(20));
        assert!(queue.next().now_or_never().is_none());
        assert!(queue.is_idle());
    }
}
