//! Events of `events.k8s.io/v1`, for components that say what they were doing (KEP-383).
//!
//! What is said again about an object in the same state becomes a series: the second time is written, further ones are
//! counted here and written when the series ends or has gone on for long, so that a flood costs nothing.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use call::{PatchKind, WriteOptions};
use client::Client;
use env::Env;
use meta::{MicroTime, Str};
use tokio::sync::mpsc;
use types::core::v1::ObjectReference;
use types::events::v1::{Event, EventSeries};

use super::{Note, Retry, correlate, retry, unix_nanos};

/// An event that is not repeated for so long is over.
const OVER: Duration = Duration::from_secs(360);
/// A series is written again after so many times [`OVER`], before the server forgets it.
const REFRESH: u32 = 5;
/// Events remembered; beyond that all are forgotten.
const KEYS_MAX: usize = 4096;

/// What repeats: everything but the note, which follows from the object's state.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    event_type: &'static str,
    reason: Str,
    action: Str,
    regarding: [Str; 7],
}

impl Key {
    fn new(note: &Note) -> Self {
        let ObjectReference { kind, namespace, name, uid, api_version, resource_version, field_path } =
            note.regarding.clone();
        Key {
            event_type: note.event_type.as_str(),
            reason: note.reason.clone(),
            action: note.action.clone(),
            regarding: [kind, namespace, name, uid, api_version, resource_version, field_path],
        }
    }
}

struct Known {
    event: Event,
    last: Duration,
}

/// Writes notes of one component as they come.
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) controller: Str,
    pub(super) instance: Str,
    pub(super) env: Env,
}

impl Writer {
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Note>) {
        let mut known: HashMap<Key, Known> = HashMap::new();
        let (mut sweep, mut sweeps) = (None::<Duration>, 0);
        loop {
            let now = self.env.clock.monotonic();
            let pause = sweep.map(|at| at.saturating_sub(now));
            let sleep = async {
                match pause {
                    Some(pause) => self.env.sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                note = waiting.recv() => {
                    let Some(note) = note else { return };
                    self.take(note, &mut known).await;
                }
                () = sleep => {
                    sweeps += 1;
                    sweep = None;
                    self.sweep(&mut known, sweeps % REFRESH == 0).await;
                }
            }
            if sweep.is_none() && !known.is_empty() {
                sweep = Some(self.env.clock.monotonic() + OVER);
            }
        }
    }

    async fn take(&self, note: Note, known: &mut HashMap<Key, Known>) {
        let (key, now, time) = (Key::new(&note), self.env.clock.monotonic(), self.time());
        if let Some(same) = known.get_mut(&key) {
            same.last = now;
            if let Some(series) = &mut same.event.series {
                series.count = series.count.saturating_add(1);
                series.last_observed_time = Some(time);
                return;
            }
            same.event.series = Some(Box::new(EventSeries { count: 2, last_observed_time: Some(time) }));
            let event = same.event.clone();
            return self.write(event).await;
        }
        let event = self.event(note, time);
        if known.len() >= KEYS_MAX {
            known.clear();
        }
        known.insert(key, Known { event: event.clone(), last: now });
        self.write(event).await;
    }

    /// Forgets what is over, and writes the counts of series that ended or, where `all`, of every one.
    async fn sweep(&self, known: &mut HashMap<Key, Known>, all: bool) {
        let now = self.env.clock.monotonic();
        let mut written = Vec::new();
        known.retain(|_, one| {
            let over = one.last + OVER <= now;
            if one.event.series.is_some() && (over || all) {
                written.push(one.event.clone());
            }
            !over
        });
        for event in written {
            self.write(event).await;
        }
    }

    fn time(&self) -> MicroTime {
        let micros = unix_nanos(&self.env) / 1000;
        MicroTime::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn event(&self, note: Note, time: MicroTime) -> Event {
        let mut event = Event::default();
        let namespace = &note.regarding.namespace;
        event.metadata.namespace = if namespace.is_empty() { "default".into() } else { namespace.clone() };
        event.metadata.name = correlate::name(&note.regarding.name, unix_nanos(&self.env));
        event.event_time = Some(time);
        event.reporting_controller = self.controller.clone();
        event.reporting_instance = self.instance.clone();
        event.action = note.action;
        event.reason = note.reason;
        event.regarding = note.regarding;
        event.note = note.message;
        event.type_ = note.event_type.as_str().into();
        event
    }

    /// A new event is created; one of a series changes the one that is there.
    async fn write(&self, event: Event) {
        let api = self.client.namespaced::<Event>(&event.metadata.namespace);
        let mut series = event.series.clone();
        for attempt in 0.. {
            let result = match &series {
                Some(series) => {
                    let document = serde_json::json!({"series": meta::to_value(&**series)});
                    let document = Bytes::from(document.to_string());
                    let kind = PatchKind::Strategic;
                    api.patch(&event.metadata.name, kind, document, &WriteOptions::default()).await
                }
                None => api.create(event.clone()).await,
            };
            let Err(status) = result else { return };
            // It expired meanwhile: begin a new one.
            if series.is_some() && status.code == 404 {
                series = None;
                continue;
            }
            if retry(&self.env, attempt, &status).await == Retry::No {
                return;
            }
        }
    }
}
