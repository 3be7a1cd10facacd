//! Watches: from a revision on, or from the present state.

use std::collections::VecDeque;
use std::sync::Arc;

use call::{EventType, ListOptions, WatchEvent, WatchStream};
use futures::{StreamExt, stream};
use meta::{ObjectMeta, Status, Str};

use super::Fake;
use crate::Resource;

struct Reader {
    fake: Arc<Fake>,
    resource: Resource,
    namespace: Str,
    from: u64,
    ready: VecDeque<WatchEvent>,
    progress: tokio::sync::watch::Receiver<u64>,
    ended: bool,
}

pub(super) fn start(
    fake: Arc<Fake>,
    resource: Resource,
    namespace: &str,
    options: &ListOptions,
) -> WatchStream {
    let progress = fake.progress.subscribe();
    let mut ready = VecDeque::new();
    let mut from = options.resource_version.parse().unwrap_or(0);
    if options.send_initial_events == Some(true) {
        let (items, revision) = fake.state.lock().list(&resource, namespace);
        ready.extend(items.into_iter().map(|object| WatchEvent { event_type: EventType::Added, object }));
        ready.extend(bookmark(&resource, revision));
        from = revision;
    }
    let reader = Reader { fake, resource, namespace: namespace.into(), from, ready, progress, ended: false };
    stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some(event) = reader.ready.pop_front() {
                return Some((Ok(event), reader));
            }
            if reader.ended {
                return None;
            }
            reader.progress.borrow_and_update();
            if let Err(status) = reader.fill() {
                reader.ended = true;
                return Some((Err(status), reader));
            }
            if reader.ready.is_empty() && reader.progress.changed().await.is_err() {
                return None;
            }
        }
    })
    .boxed()
}

impl Reader {
    fn fill(&mut self) -> Result<(), Status> {
        let state = self.fake.state.lock();
        if self.from < state.compacted {
            let (from, oldest) = (self.from, state.compacted);
            return Err(Status::resource_expired(format!("too old resource version: {from} ({oldest})")));
        }
        let visible = state.visible();
        let start = state.history.partition_point(|(revision, ..)| *revision <= self.from);
        for (revision, resource, event) in &state.history[start..] {
            if *revision > visible {
                break;
            }
            let within = self.namespace.is_empty() || event.object.meta().namespace == self.namespace;
            if *resource == self.resource && within {
                self.ready.push_back(event.clone());
            }
            self.from = *revision;
        }
        Ok(())
    }
}

fn bookmark(resource: &Resource, revision: u64) -> Option<WatchEvent> {
    let entry = scheme::lookup(&resource.group, &resource.version, &resource.plural)?;
    let mut object = entry.object.new_object();
    let mut meta = ObjectMeta { resource_version: Str::from(revision.to_string()), ..ObjectMeta::default() };
    meta.annotations.insert("k8s.io/initial-events-end", "true".into());
    *object.meta_mut() = meta;
    Some(WatchEvent { event_type: EventType::Bookmark, object: Arc::from(object) })
}
