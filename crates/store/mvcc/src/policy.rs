//! When to compact: a pure decision over time, revisions and the memory that history takes.
//!
//! History is kept for five minutes, as upstream's API server keeps it in etcd, so that clients can continue lists and
//! watches. Under a storm of writes five minutes would be gigabytes; then the oldest history goes earlier, and its
//! clients start over as they would after the five minutes.

use crate::types::Revision;
use std::collections::VecDeque;
use std::time::Duration;

/// A point is noted at least this often while the store changes.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Decides on compaction. Owned by the commit thread.
#[derive(Debug)]
pub(crate) struct CompactionPolicy {
    keep: Duration,
    budget_bytes: u64,
    points: VecDeque<Point>,
    /// What all events so far have added to history.
    added_bytes: u64,
    /// The part of it that compaction has taken away.
    freed_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Duration,
    revision: Revision,
    added_bytes: u64,
}

impl CompactionPolicy {
    pub(crate) fn new(keep: Duration, budget_bytes: u64) -> CompactionPolicy {
        CompactionPolicy { keep, budget_bytes, points: VecDeque::new(), added_bytes: 0, freed_bytes: 0 }
    }

    /// Notes that history grew by `bytes` up to `revision`.
    pub(crate) fn note(&mut self, now: Duration, revision: Revision, bytes: u64) {
        self.added_bytes += bytes;
        let due = self.points.back().is_none_or(|last| {
            now.saturating_sub(last.at) >= NOTE_EVERY
                || self.added_bytes - last.added_bytes > self.budget_bytes / 64
        });
        if due {
            self.points.push_back(Point { at: now, revision, added_bytes: self.added_bytes });
        }
    }

    /// The revision up to which history has had its time, if there is any.
    pub(crate) fn expired(&mut self, now: Duration) -> Option<Revision> {
        let keep = self.keep;
        self.take(|point| now.saturating_sub(point.at) >= keep)
    }

    /// The revision at which to cut history because it has grown too large, if it has.
    pub(crate) fn over_budget(&mut self) -> Option<Revision> {
        if self.added_bytes - self.freed_bytes <= self.budget_bytes {
            return None;
        }
        // Half of the budget goes at once, so that a storm does not compact with every write.
        let (added_bytes, surplus) = (self.added_bytes, self.budget_bytes / 2);
        self.take(|point| added_bytes - point.added_bytes >= surplus)
    }

    fn take(&mut self, goes: impl Fn(&Point) -> bool) -> Option<Revision> {
        let count = self.points.iter().take_while(|point| goes(point)).count();
        let last = self.points.drain(..count).next_back()?;
        self.freed_bytes = self.freed_bytes.max(last.added_bytes);
        Some(last.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn history_goes_after_its_time() {
        let mut policy = CompactionPolicy::new(seconds(300), 1 << 30);
        (0..=40).for_each(|step| policy.note(seconds(step * 10), step as Revision + 2, 100));
        assert_eq!(policy.expired(seconds(299)), None);
        assert_eq!(policy.expired(seconds(400)), Some(12));
        assert_eq!(policy.expired(seconds(401)), None);
        assert_eq!(policy.expired(seconds(9999)), Some(42));
        assert_eq!(policy.expired(seconds(99999)), None, "an idle store has nothing to compact");
    }

    #[test]
    fn a_storm_is_cut_to_half_the_budget() {
        let mut policy = CompactionPolicy::new(seconds(300), 6400);
        let mut compacted = Vec::new();
        for revision in 1..=200 {
            policy.note(seconds(1), revision, 100);
            compacted.extend(policy.over_budget());
        }
        assert!(compacted.len() >= 3 && compacted.is_sorted(), "{compacted:?}");
        assert!((30..=34).contains(&compacted[0]), "{compacted:?}");
    }
}
