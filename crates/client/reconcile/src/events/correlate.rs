//! Which events are written, counted, combined or dropped: client-go's correlator.
//!
//! The same event again raises its count. From the tenth different message of one reason about one object within ten
//! minutes on, they are combined into one event. One source may write 25 events of one type about one object, and one more every
//! five minutes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use meta::{Str, Time};
use types::core::v1::Event;

/// Remembered keys of each kind, the oldest is forgotten first.
const KEYS_MAX: usize = 4096;
const SIMILAR_MAX: usize = 10;
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

pub(crate) type EventKey = Vec<Str>;

/// An event to write.
#[derive(Debug)]
pub(crate) struct Correlated {
    pub(crate) event: Event,
    pub(crate) key: EventKey,
    /// Whether the server has this event already and only its count changes.
    pub(crate) known: bool,
}

#[derive(Default)]
pub(crate) struct Correlator {
    buckets: Recent<(f64, Duration)>,
    similar: Recent<(HashSet<Str>, Duration)>,
    written: Recent<Written>,
}

#[derive(Clone)]
struct Written {
    name: Str,
    count: i32,
    first: Option<Time>,
}

/// The name of an event about `object` that happened `nanos` after 1970.
pub(crate) fn name(object: &str, nanos: u128) -> Str {
    Str::from(format!("{object}.{nanos:x}"))
}

impl Correlator {
    pub(crate) fn new() -> Self {
        Correlator::default()
    }

    /// What to write for `event`, nothing when there were too many.
    pub(crate) fn take(&mut self, event: Event, now: Duration, nanos: u128) -> Option<Correlated> {
        let (mut event, key) = self.combine(event, now, nanos);
        let mut known = false;
        if let Some(before) = self.written.get(&key) {
            event.metadata.name = before.name.clone();
            event.first_timestamp = before.first;
            event.count = before.count + 1;
            known = true;
        }
        // One that is dropped counts nonetheless: the next one that is written tells of it.
        self.written(key.clone(), &event);
        self.accept(&event, now).then_some(Correlated { event, key, known })
    }

    /// Remembers that `event` is stored.
    pub(crate) fn written(&mut self, key: EventKey, event: &Event) {
        let written =
            Written { name: event.metadata.name.clone(), count: event.count, first: event.first_timestamp };
        self.written.put(key, written);
    }

    fn combine(&mut self, event: Event, now: Duration, nanos: u128) -> (Event, EventKey) {
        let mut class = subject(&event);
        class.push(event.reason.clone());
        let (mut messages, last) = self.similar.get(&class).cloned().unwrap_or_default();
        if now.saturating_sub(last) > SIMILAR_WITHIN {
            messages.clear();
        }
        messages.insert(event.message.clone());
        let combined = messages.len() >= SIMILAR_MAX;
        if combined {
            // Room for the next one, so that the set does not grow.
            let any = messages.iter().next().cloned();
            any.iter().for_each(|message| {
                messages.remove(message);
            });
        }
        self.similar.put(class.clone(), (messages, now));
        if !combined {
            class.push(event.message.clone());
            class.push(event.involved_object.field_path.clone());
            return (event, class);
        }
        let mut event = event;
        event.metadata.name = name(&event.involved_object.name, nanos);
        event.message = Str::from(format!("(combined from similar events): {}", event.message));
        // Upstream's combination carries over the source alone.
        event.reporting_component = Str::default();
        event.reporting_instance = Str::default();
        event.action = Str::default();
        (event, class)
    }

    fn accept(&mut self, event: &Event, now: Duration) -> bool {
        let key = subject(event);
        let (tokens, at) = self.buckets.get(&key).copied().unwrap_or((BURST, now));
        let tokens = (tokens + now.saturating_sub(at).as_secs_f64() * REFILL_PER_SECOND).min(BURST);
        let accepted = tokens >= 1.0;
        self.buckets.put(key, (if accepted { tokens - 1.0 } else { tokens }, now));
        accepted
    }
}

/// Source, object and type of an event.
fn subject(event: &Event) -> EventKey {
    let about = &event.involved_object;
    [
        &event.source.component,
        &event.source.host,
        &about.kind,
        &about.namespace,
        &about.name,
        &about.uid,
        &about.api_version,
        &event.type_,
    ]
    .into_iter()
    .cloned()
    .collect()
}

/// A map that forgets the key that was added first.
struct Recent<V> {
    values: HashMap<EventKey, V>,
    order: VecDeque<EventKey>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Recent { values: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V> Recent<V> {
    fn get(&self, key: &EventKey) -> Option<&V> {
        self.values.get(key)
    }

    fn put(&mut self, key: EventKey, value: V) {
        if self.values.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
            if self.order.len() > KEYS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str) -> Event {
        let mut event =
            Event { reason: "FailedCreate".into(), message: message.into(), count: 1, ..Event::default() };
        event.involved_object.name = "web".into();
        event.metadata.name = name("web", 1);
        event
    }

    fn write(correlator: &mut Correlator, message: &str) -> Option<(i32, bool, Str)> {
        let correlated = correlator.take(event(message), Duration::from_secs(1), 255)?;
        correlator.written(correlated.key.clone(), &correlated.event);
        Some((correlated.event.count, correlated.known, correlated.event.message))
    }

    #[test]
    fn the_same_again_is_counted() {
        let mut correlator = Correlator::new();
        assert_eq!(write(&mut correlator, "a"), Some((1, false, "a".into())));
        assert_eq!(write(&mut correlator, "a"), Some((2, true, "a".into())));
    }

    #[test]
    fn similar_ones_are_combined_and_floods_dropped() {
        let mut correlator = Correlator::new();
        let written: Vec<_> = (0..40).filter_map(|i| write(&mut correlator, &format!("m{i}"))).collect();
        assert_eq!(written.len(), 25);
        assert_eq!(written[8], (1, false, "m8".into()));
        assert_eq!(written[9], (1, false, "(combined from similar events): m9".into()));
        assert_eq!(written[10], (2, true, "(combined from similar events): m10".into()));
        // Long after, what was dropped has been counted.
        let later = correlator.take(event("m40"), Duration::from_secs(301), 255).unwrap();
        assert_eq!((later.event.count, later.known), (32, true));
    }
}
