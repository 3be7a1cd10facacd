//! When the change happened that an update of endpoints passes on, so that the delay of the whole way can be measured.

use std::collections::HashMap;

use informer::Key;
use meta::{Map, Str, Time};
use parking_lot::Mutex;
use types::core::v1::{Pod, Service};

use crate::common::pods;

/// Annotation of endpoints with the time.
pub(super) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The times that the last look at each Service saw.
#[derive(Default)]
pub(super) struct Triggers {
    seen: Mutex<HashMap<Key, Seen>>,
}

#[derive(Default)]
struct Seen {
    service: Option<Time>,
    pods: HashMap<Str, Time>,
}

impl Triggers {
    /// The earliest of the changes since the last look; `None` when nothing with a time changed. The first look at a
    /// Service is about its creation.
    pub(super) fn look<'a>(
        &self,
        key: &Key,
        service: &Service,
        of_service: impl Iterator<Item = &'a Pod>,
    ) -> Option<Time> {
        let created = service.metadata.creation_timestamp;
        let ready = |pod: &Pod| {
            let since = pods::condition(pod, "Ready")?.last_transition_time?;
            Some((pod.metadata.name.clone(), since))
        };
        let now = Seen { service: created, pods: of_service.filter_map(ready).collect() };
        let mut seen = self.seen.lock();
        let Some(before) = seen.get(key) else {
            seen.insert(key.clone(), now);
            return created;
        };
        let changed =
            now.pods.iter().filter(|(name, since)| before.pods.get(*name).is_none_or(|known| *since > known));
        let recreated = created.filter(|created| before.service.is_none_or(|known| *created > known));
        let earliest = changed.map(|(_, since)| *since).chain(recreated).min();
        seen.insert(key.clone(), now);
        earliest
    }

    /// Forgets a Service that is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.seen.lock().remove(key);
    }
}

/// Puts the time on what is to be written, or takes an old one off.
pub(super) fn annotate(annotations: &mut Map<Str>, trigger: Option<Time>) {
    match trigger {
        Some(time) => {
            annotations.insert(TRIGGER_TIME, Str::from(time.to_string()));
        }
        None => {
            annotations.remove(TRIGGER_TIME);
        }
    }
}
