//! Answers that are kept for a while, as many as there is room for.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

/// Values by key, each until its time is over. Not more than about `capacity` of them: when the younger half is full, the
/// older one is let go, and what was asked for meanwhile has moved to the younger.
#[derive(Debug)]
pub struct Kept<K, V> {
    halves: Mutex<[HashMap<K, (V, Duration)>; 2]>,
    capacity: usize,
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// Keeps at most `capacity` values.
    pub fn new(capacity: usize) -> Self {
        Kept { halves: Mutex::new([HashMap::new(), HashMap::new()]), capacity }
    }

    /// The value, if its time is not over at `now` of the clock that its end was told by.
    pub fn get(&self, key: &K, now: Duration) -> Option<V> {
        let mut halves = self.halves.lock();
        if let Some((value, end)) = halves[0].get(key) {
            return (now < *end).then(|| value.clone());
        }
        let (key, (value, end)) = halves[1].remove_entry(key)?;
        if now >= end {
            return None;
        }
        insert(&mut halves, self.capacity, key, (value.clone(), end));
        Some(value)
    }

    /// Keeps a value until `end`.
    pub fn insert(&self, key: K, value: V, end: Duration) {
        insert(&mut self.halves.lock(), self.capacity, key, (value, end));
    }
}

fn insert<K: Eq + Hash, V>(halves: &mut [HashMap<K, V>; 2], capacity: usize, key: K, value: V) {
    if halves[0].len() >= capacity.div_ceil(2) {
        halves.swap(0, 1);
        halves[0].clear();
    }
    halves[0].insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let kept = Kept::new(4);
        let end = Duration::from_secs(10);
        let now = Duration::from_secs(1);
        for key in 0..100 {
            kept.insert(key, key, end);
            assert_eq!(kept.get(&0, now), Some(0), "after {key}");
        }
        assert_eq!(kept.get(&99, now), Some(99));
        assert_eq!(kept.get(&50, now), None);
        assert_eq!(kept.get(&99, end), None);
        let halves = kept.halves.lock();
        assert!(halves[0].len() + halves[1].len() <= 4);
    }
}
