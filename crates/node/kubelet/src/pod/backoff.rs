//! Exponential back-off as Kubernetes counts it: doubling from an initial delay to a cap, forgotten after twice the cap
//! without a failure.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Delays by key. Time is handed in.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: SystemTime,
}

impl Backoff {
    /// Doubling from `initial` up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Backoff {
        Backoff { initial, max, entries: HashMap::new() }
    }

    /// 10 s to 5 min: restarts of containers and pulls of images.
    pub fn kubelet() -> Backoff {
        Backoff::new(Duration::from_secs(10), Duration::from_secs(300))
    }

    fn live(&self, key: &str, event: SystemTime) -> Option<&Entry> {
        let entry = self.entries.get(key)?;
        let idle = event.duration_since(entry.updated).unwrap_or_default();
        (idle <= self.max * 2).then_some(entry)
    }

    /// What remains at `now` of the delay that began with `event`; `None` when it is over.
    pub fn remaining(&self, key: &str, event: SystemTime, now: SystemTime) -> Option<Duration> {
        let delay = self.live(key, event)?.delay;
        delay.checked_sub(now.duration_since(event).unwrap_or_default()).filter(|d| !d.is_zero())
    }

    /// What remains of the delay since the last [`Backoff::next`].
    pub fn remaining_since_update(&self, key: &str, now: SystemTime) -> Option<Duration> {
        let updated = self.entries.get(key)?.updated;
        self.remaining(key, updated, now)
    }

    /// Counts a failure that happened at `event`.
    pub fn next(&mut self, key: &str, event: SystemTime, now: SystemTime) {
        let delay = match self.live(key, event) {
            Some(entry) => (entry.delay * 2).min(self.max),
            None => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// The current delay of a key.
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |e| e.delay)
    }

    /// Forgets a key.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn doubles_caps_and_forgets() {
        let mut b = Backoff::kubelet();
        let at = |s: u64| UNIX_EPOCH + Duration::from_secs(s);
        assert_eq!(b.remaining("c", at(0), at(0)), None, "the first failure is retried at once");
        let mut delays = vec![];
        let mut t = 0;
        for _ in 0..7 {
            b.next("c", at(t), at(t));
            delays.push(b.delay("c").as_secs());
            t += b.delay("c").as_secs();
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(b.remaining("c", at(t), at(t + 100)), Some(Duration::from_secs(200)));
        assert_eq!(b.remaining("c", at(t), at(t + 300)), None);
        assert_eq!(b.remaining("c", at(t + 601), at(t + 601)), None, "ten quiet minutes clear it");
        b.next("c", at(t + 601), at(t + 601));
        assert_eq!(b.delay("c").as_secs(), 10);
    }
}
