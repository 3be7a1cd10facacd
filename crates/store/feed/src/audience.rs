//! Who wants to hear what: finds the watchers of an event by its key, namespace and index values.

use crate::entry::{Entry, Event};
use crate::queue::Queue;
use crate::scope::{self, Scope};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

type Queues<T> = Vec<Arc<Queue<T>>>;

/// The queues of a feed's watchers by what they want.
pub(crate) struct Audience<T: ?Sized> {
    all: Queues<T>,
    by_namespace: HashMap<String, Queues<T>>,
    by_key: HashMap<Bytes, Queues<T>>,
    by_index: HashMap<&'static str, HashMap<String, Queues<T>>>,
    count: usize,
}

impl<T: ?Sized> Default for Audience<T> {
    fn default() -> Audience<T> {
        Audience {
            all: Vec::new(),
            by_namespace: HashMap::new(),
            by_key: HashMap::new(),
            by_index: HashMap::new(),
            count: 0,
        }
    }
}

impl<T: ?Sized + Send + Sync + 'static> Audience<T> {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn add(&mut self, scope: &Scope, queue: Arc<Queue<T>>) {
        self.count += 1;
        match scope {
            Scope::All => &mut self.all,
            Scope::Namespace(name) => self.by_namespace.entry(name.clone()).or_default(),
            Scope::Key(key) => self.by_key.entry(key.clone()).or_default(),
            Scope::Index { index, value } => {
                self.by_index.entry(index).or_default().entry(value.clone()).or_default()
            }
        }
        .push(queue);
    }

    /// Forgets a queue; one that is not there (any more) is no error.
    pub(crate) fn remove(&mut self, scope: &Scope, queue: &Arc<Queue<T>>) {
        let count = &mut self.count;
        let mut forget = |queues: &mut Queues<T>| {
            if let Some(position) = queues.iter().position(|known| Arc::ptr_eq(known, queue)) {
                queues.swap_remove(position);
                *count -= 1;
            }
            queues.is_empty()
        };
        match scope {
            Scope::All => {
                forget(&mut self.all);
            }
            Scope::Namespace(name) => {
                if self.by_namespace.get_mut(name).is_some_and(&mut forget) {
                    self.by_namespace.remove(name);
                }
            }
            Scope::Key(key) => {
                if self.by_key.get_mut(key).is_some_and(&mut forget) {
                    self.by_key.remove(key);
                }
            }
            Scope::Index { index, value } => {
                if let Some(values) = self.by_index.get_mut(index)
                    && values.get_mut(value).is_some_and(forget)
                {
                    values.remove(value);
                }
            }
        }
    }

    /// Every queue, after which there is none any more.
    pub(crate) fn take_all(&mut self) -> Vec<Arc<Queue<T>>> {
        let Audience { all, by_namespace, by_key, by_index, .. } = std::mem::take(self);
        let by_index = by_index.into_values().flat_map(HashMap::into_values);
        let narrow = by_namespace.into_values().chain(by_key.into_values()).chain(by_index).flatten();
        all.into_iter().chain(narrow).collect()
    }

    /// Hands events to everybody concerned. Returns how many watchers were cut off for being too slow.
    pub(crate) fn tell(&mut self, prefix: &[u8], events: &[Arc<Event<T>>]) -> usize {
        let mut cut = 0;
        let mut keep = |queues: &mut Queues<T>, events: &[Arc<Event<T>>]| {
            let listeners = queues.len();
            queues.retain(|queue| {
                let open = queue.push(events, listeners);
                cut += usize::from(!open);
                open
            });
        };
        // The widest audience gets all at once; the narrow ones are looked up event by event.
        keep(&mut self.all, events);
        for event in events {
            let one = std::slice::from_ref(event);
            if let Some(queues) = self.by_key.get_mut(event.entry.key()) {
                keep(queues, one);
            }
            if !self.by_namespace.is_empty()
                && let Some(namespace) = scope::namespace(prefix, event.entry.key())
                && let Some(queues) = self.by_namespace.get_mut(namespace)
            {
                keep(queues, one);
            }
            for (index, values) in &mut self.by_index {
                let of = |entry: &Arc<Entry<T>>| entry.index_value(index).map(str::to_owned);
                let now = of(&event.entry);
                let before = event.prev.as_ref().and_then(of).filter(|before| Some(before) != now.as_ref());
                for value in now.iter().chain(&before) {
                    if let Some(queues) = values.get_mut(value) {
                        keep(queues, one);
                    }
                }
            }
        }
        self.count -= cut;
        cut
    }
}
