//! Recording events about objects, as client-go's recorder does.
//!
//! Recording never waits: notes go to a task that writes them. What is said often about one object is counted on one
//! event, similar messages are combined, and floods are dropped ([`correlate`]).

mod correlate;
mod series;

use std::fmt;

use bytes::Bytes;
use call::{PatchKind, WriteOptions};
use client::Client;
use env::Env;
use meta::{Object, Status, Str, Time};
use tokio::sync::mpsc;
use types::core::v1::{Event, EventSource, ObjectReference};

use correlate::{Correlated, Correlator};

/// Notes that wait to be written before further ones are dropped, as upstream.
const WAITING_MAX: usize = 1000;
/// Attempts at writing one event while the server cannot be reached, and the pause between them.
const ATTEMPTS: u32 = 12;
const PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// Whether an event tells of the normal course or of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The normal course.
    Normal,
    /// Trouble.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// An event to record.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The object that the event is about.
    pub regarding: ObjectReference,
    /// Normal or Warning.
    pub event_type: EventType,
    /// Short machine-readable reason in CamelCase.
    pub reason: Str,
    /// What happened, for people.
    pub message: Str,
    /// What was being done, in CamelCase; empty when the component does not say.
    pub action: Str,
}

impl Note {
    /// A note of the normal course.
    pub fn normal(regarding: &dyn Object, reason: &str, message: impl Into<Str>) -> Self {
        Note {
            regarding: reference(regarding),
            event_type: EventType::Normal,
            reason: reason.into(),
            message: message.into(),
            action: Str::default(),
        }
    }

    /// A note of trouble.
    pub fn warning(regarding: &dyn Object, reason: &str, message: impl Into<Str>) -> Self {
        Note {
            regarding: reference(regarding),
            event_type: EventType::Warning,
            reason: reason.into(),
            message: message.into(),
            action: Str::default(),
        }
    }

    /// The same, saying what was being done.
    pub fn doing(mut self, action: &str) -> Self {
        self.action = action.into();
        self
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.regarding;
        write!(
            f,
            "{} {} {} {}: {}",
            self.event_type.as_str(),
            about.kind,
            about.name,
            self.reason,
            self.message
        )
    }
}

/// The reference to `object` that events carry.
pub(crate) fn reference(object: &dyn Object) -> ObjectReference {
    let (meta, gvk) = (object.meta(), object.group_version_kind());
    ObjectReference {
        kind: gvk.kind.clone(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        api_version: gvk.api_version(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// Takes notes for one component. Cheap to clone; the last clone ends the task that writes.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
}

impl Recorder {
    /// A recorder whose events come from `component` and are written through `client`. Needs a tokio runtime.
    pub fn start(client: Client, component: &str, env: Env) -> Self {
        Recorder::start_on(client, component, "", env)
    }

    /// The same for a component of one node, `host`.
    pub fn start_on(client: Client, component: &str, host: &str, env: Env) -> Self {
        let (notes, waiting) = mpsc::channel(WAITING_MAX);
        let source = EventSource { component: component.into(), host: host.into() };
        env::spawn_detached("events", write_all(client, source, env, waiting));
        Recorder { notes }
    }

    /// The same with events of `events.k8s.io/v1`, for a component whose notes say what it was doing; `host` is where it
    /// runs.
    pub fn start_series(client: Client, component: &str, host: &str, env: Env) -> Self {
        let (notes, waiting) = mpsc::channel(WAITING_MAX);
        let instance = Str::from(format!("{component}-{host}"));
        let writer = series::Writer { client, controller: component.into(), instance, env };
        env::spawn_detached("events", writer.run(waiting));
        Recorder { notes }
    }

    /// Records `note`, or drops it when too many wait.
    pub fn record(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            tracing::debug!("too many events wait, one was dropped");
        }
    }
}

async fn write_all(client: Client, source: EventSource, env: Env, mut waiting: mpsc::Receiver<Note>) {
    let mut correlator = Correlator::new();
    while let Some(note) = waiting.recv().await {
        let event = event_of(note, &source, &env);
        let Some(correlated) = correlator.take(event, env.clock.monotonic(), unix_nanos(&env)) else {
            continue;
        };
        write(&client, &env, &mut correlator, correlated).await;
    }
}

fn unix_nanos(env: &Env) -> u128 {
    env.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn event_of(note: Note, source: &EventSource, env: &Env) -> Event {
    let mut event = Event::default();
    let namespace = &note.regarding.namespace;
    event.metadata.namespace = if namespace.is_empty() { "default".into() } else { namespace.clone() };
    event.metadata.name = correlate::name(&note.regarding.name, unix_nanos(env));
    let now = Time::from_unix(env.unix_ms().div_euclid(1000));
    event.first_timestamp = Some(now);
    event.last_timestamp = Some(now);
    event.involved_object = note.regarding;
    event.reason = note.reason;
    event.message = note.message;
    event.action = note.action;
    event.type_ = note.event_type.as_str().into();
    event.count = 1;
    event.reporting_component = source.component.clone();
    event.reporting_instance = source.host.clone();
    event.source = source.clone();
    event
}

async fn write(client: &Client, env: &Env, correlator: &mut Correlator, correlated: Correlated) {
    let Correlated { event, key, mut known } = correlated;
    let api = client.namespaced::<Event>(&event.metadata.namespace);
    for attempt in 0.. {
        let result = if known {
            let document = serde_json::json!({
                "count": event.count,
                "lastTimestamp": event.last_timestamp.map(|time| time.to_string()),
                "message": event.message.as_str(),
            });
            let document = Bytes::from(document.to_string());
            api.patch(&event.metadata.name, PatchKind::Strategic, document, &WriteOptions::default()).await
        } else {
            api.create(event.clone()).await
        };
        match result {
            Ok(_) => return correlator.written(key, &event),
            // It expired meanwhile: begin a new one.
            Err(status) if known && status.code == 404 => known = false,
            Err(status) if retry(env, attempt, &status).await == Retry::No => return,
            Err(_) => {}
        }
    }
}

/// Whether an event is to be sent once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Yes,
    No,
}

/// Waits before the next attempt where one makes sense.
async fn retry(env: &Env, attempt: u32, status: &Status) -> Retry {
    if !matches!(status.code, 503 | 504) || attempt + 1 >= ATTEMPTS {
        // The namespace ends, or the like: nothing that a retry would change.
        tracing::debug!(status = %status.message, "event was refused");
        return Retry::No;
    }
    let pause = if attempt == 0 { PAUSE.mul_f64(env.random.fraction()) } else { PAUSE };
    env.sleep(pause).await;
    Retry::Yes
}
