//! Answers of upstream servers, remembered for as long as they allow. Time is handed in, so that tests need not wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::wire::{self, Question, Scan};

/// Longest time for which an answer is remembered, whatever it allows, in seconds.
const TTL_MAX_SECS: u32 = 3600;
/// The same for "there is no such name".
const NEGATIVE_TTL_MAX_SECS: u32 = 30;

/// What makes two queries the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The question.
    pub question: Question,
    /// Whether the answer may use EDNS.
    pub edns: bool,
    /// Whether it has DNSSEC records.
    pub dnssec: bool,
    /// Whether upstream was told not to check signatures.
    pub checking_disabled: bool,
}

#[derive(Debug)]
struct Entry {
    bytes: Vec<u8>,
    ttl_offsets: Vec<usize>,
    stored: Instant,
    expires: Instant,
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    capacity: usize,
}

impl Cache {
    /// A cache for at most `capacity` answers.
    pub fn new(capacity: usize) -> Cache {
        Cache { entries: HashMap::new(), capacity: capacity.max(1) }
    }

    /// The answer to a query, its times to live lowered by its age.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Vec<u8>> {
        let entry = self.entries.get(key).filter(|entry| now < entry.expires)?;
        let mut bytes = entry.bytes.clone();
        let age = now.saturating_duration_since(entry.stored).as_secs();
        wire::age(&mut bytes, &entry.ttl_offsets, u32::try_from(age).unwrap_or(u32::MAX));
        Some(bytes)
    }

    /// Remembers an answer, if it may be: failures and answers without any time to live are not.
    pub fn put(&mut self, key: Key, bytes: &[u8], scan: &Scan, now: Instant) {
        const NO_ERROR: u8 = 0;
        const NX_DOMAIN: u8 = 3;
        let most = match scan.code {
            NO_ERROR if !scan.answers_empty() => TTL_MAX_SECS,
            NO_ERROR | NX_DOMAIN => NEGATIVE_TTL_MAX_SECS,
            _ => return,
        };
        let Some(ttl) = scan.ttl.map(|ttl| ttl.min(most)).filter(|ttl| *ttl > 0 && !scan.truncated) else {
            return;
        };
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        let expires = now + Duration::from_secs(u64::from(ttl));
        let entry =
            Entry { bytes: bytes.to_vec(), ttl_offsets: scan.ttl_offsets.clone(), stored: now, expires };
        self.entries.insert(key, entry);
    }

    /// Drops what has expired, and if that is little, some of the rest: whatever the map lists first, which is random.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.expires);
        let keep = self.capacity - self.capacity.div_ceil(8);
        let mut seen = 0;
        self.entries.retain(|_, _| {
            seen += 1;
            seen <= keep
        });
    }

    /// How many answers are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::wire::{Answer, CLASS_IN, Code, Data, Record, kind};

    fn key(name: &str) -> Key {
        let name = Name::parse(name).expect("a name");
        Key {
            question: Question { name, kind: kind::A, class: CLASS_IN },
            edns: false,
            dnssec: false,
            checking_disabled: false,
        }
    }

    fn message(key: &Key, code: Code, ttl: u32) -> Vec<u8> {
        let query =
            wire::read_query(&wire::write_query(1, &key.question, false, false, false)).expect("a query");
        let record = Record { name: key.question.name.clone(), ttl, data: Data::A([192, 0, 2, 1].into()) };
        let answers = if code == Code::NoError { vec![record] } else { vec![] };
        wire::write_answer(&query, &Answer { code, answers, ..Answer::default() }, 512)
    }

    #[test]
    fn answers_age_and_expire() {
        let (mut cache, start) = (Cache::new(10), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let ttl = |bytes: Vec<u8>| wire::scan(&bytes).and_then(|scan| scan.ttl);
        let good = message(&key("a.example"), Code::NoError, 60);
        cache.put(key("a.example"), &good, &wire::scan(&good).expect("an answer"), start);
        assert_eq!(cache.get(&key("a.example"), at(0)).and_then(ttl), Some(60));
        assert_eq!(cache.get(&key("a.example"), at(59)).and_then(ttl), Some(1));
        assert_eq!(cache.get(&key("a.example"), at(60)), None);
        assert_eq!(cache.get(&key("b.example"), at(0)), None);
        // Failures, and answers that may not be remembered at all.
        for (code, ttl) in [(Code::ServFail, 60), (Code::NoError, 0)] {
            let bytes = message(&key("c.example"), code, ttl);
            cache.put(key("c.example"), &bytes, &wire::scan(&bytes).expect("an answer"), start);
        }
        assert_eq!(cache.get(&key("c.example"), start), None);
    }

    #[test]
    fn room_is_limited() {
        let (mut cache, now) = (Cache::new(16), Instant::now());
        for i in 0..100 {
            let key = key(&format!("n{i}.example"));
            let bytes = message(&key, Code::NoError, 60);
            cache.put(key, &bytes, &wire::scan(&bytes).expect("an answer"), now);
        }
        assert!(cache.len() <= 16 && cache.len() >= 14);
        assert!(cache.get(&key("n99.example"), now).is_some());
    }
}
