//! Watch streams: events as JSON lines or length-delimited protobuf frames, also over WebSocket.
//!
//! An event's line is made once and shared by every watcher of the object; a batch of events is one frame of the body,
//! so that a burst costs few writes. Where many watch the same, a stream that was just written to rests for some
//! milliseconds: what comes meanwhile goes out together.

use std::pin::Pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use call::EventType;
use futures::stream;
use http::Response;
use http::header::{self, HeaderValue};
use meta::{Codec as _, Status};
use registry::{Change, Changes, Served, Stored, Watching};
use serde_json::json;
use tokio::time::{Instant, Sleep};

use crate::answer::proto_envelope;
use crate::encode;
use crate::http::body::Body;
use crate::http::media::{Accepted, Format, Shape};
use crate::metrics::WatchMetrics;
use crate::serve::listen::stopped;
use crate::server::Shared;
use crate::table::{self, Include};

/// Ids under which feed entries keep their event lines, by event type.
const LINE_IDS: [(EventType, u64); 3] =
    [(EventType::Added, 0x6c_01), (EventType::Modified, 0x6c_02), (EventType::Deleted, 0x6c_03)];

/// Rest after a write to one of many streams with the same events, for each of them: about four times the CPU time that
/// waking and writing to a stream takes.
const REST_PER_LISTENER: Duration = Duration::from_micros(40);
/// Shortest rest: below it a timer costs more than it saves, so fifty watchers are told at once.
const REST_MIN: Duration = Duration::from_millis(2);
/// Longest rest.
const REST_MAX: Duration = Duration::from_millis(20);

/// Answers a watch with its stream.
pub(crate) fn respond(
    watching: Watching,
    accepted: Accepted,
    include: Include,
    measured: WatchMetrics,
    shared: &Shared,
) -> Response<Body> {
    let stop = shared.stopping.clone();
    let changes = watching.changes;
    let state = State { changes, accepted, include, measured, first: true, done: false, rest: None, stop };
    let body = Body::stream(stream::unfold(state, step));
    let mut response = Response::new(body);
    let kind = match accepted.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

struct State {
    changes: Changes,
    accepted: Accepted,
    include: Include,
    measured: WatchMetrics,
    /// The first row of a Table carries the columns.
    first: bool,
    done: bool,
    /// Until then nothing is written.
    rest: Option<Pin<Box<Sleep>>>,
    stop: tokio::sync::watch::Receiver<bool>,
}

async fn step(mut state: State) -> Option<(Bytes, State)> {
    if state.done {
        return None;
    }
    let next = async {
        if let Some(rest) = state.rest.as_mut().filter(|rest| !rest.is_elapsed()) {
            rest.await;
        }
        state.changes.next().await
    };
    let next = tokio::select! {
        next = next => next,
        () = stopped(&mut state.stop) => None,
    };
    state.rest();
    let mut frame = BytesMut::new();
    match next {
        None => return None,
        Some(Err(status)) => {
            state.done = true;
            error_event(&mut frame, &status, state.accepted.format);
        }
        Some(Ok(changes)) => {
            if let [Change::Object(kind, stored)] = &changes[..]
                && state.accepted == plain()
            {
                // The usual case: one event, whose line exists already.
                let line = line(*kind, stored);
                state.measured.sent(line.len());
                return Some((line, state));
            }
            for change in &changes {
                let before = frame.len();
                event(&mut frame, change, &mut state);
                state.measured.sent(frame.len() - before);
                if matches!(change, Change::Bookmark(_, true)) {
                    state.measured.listed(state.changes.served());
                }
            }
        }
    }
    Some((frame.freeze(), state))
}

impl State {
    /// The columns are told with the first row only.
    fn columns_once(&mut self, table: &mut serde_json::Value) {
        if !std::mem::take(&mut self.first) {
            table["columnDefinitions"] = serde_json::Value::Null;
        }
    }

    /// Begins the rest after a write.
    fn rest(&mut self) {
        let Some(pause) = rest_among(self.changes.listeners()) else { return };
        let until = Instant::now() + pause;
        match &mut self.rest {
            Some(rest) => rest.as_mut().reset(until),
            None => self.rest = Some(Box::pin(tokio::time::sleep_until(until))),
        }
    }
}

/// How long a stream rests after a write, when so many get the same events.
fn rest_among(listeners: usize) -> Option<Duration> {
    let rest = REST_PER_LISTENER.saturating_mul(u32::try_from(listeners).unwrap_or(u32::MAX)).min(REST_MAX);
    (rest >= REST_MIN).then_some(rest)
}

fn plain() -> Accepted {
    Accepted { format: Format::Json, shape: Shape::Object, beta: false, pretty: false }
}

/// The JSON line of an event.
fn line(kind: EventType, stored: &Stored) -> Bytes {
    let make = || {
        let json = stored.json();
        let mut out = BytesMut::with_capacity(json.len() + 40);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(name(kind).as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(json.strip_suffix(b"\n").unwrap_or(&json));
        out.put_slice(b"}\n");
        out.freeze()
    };
    let id = LINE_IDS.iter().find(|(k, _)| *k == kind).map(|(_, id)| *id);
    match (stored.feed_entry(), id) {
        (Some(entry), Some(id)) => entry.encoding(id, |_| make()),
        _ => make(),
    }
}

fn name(kind: EventType) -> &'static str {
    match kind {
        EventType::Added => "ADDED",
        EventType::Modified => "MODIFIED",
        EventType::Deleted => "DELETED",
        EventType::Bookmark => "BOOKMARK",
    }
}

fn event(frame: &mut BytesMut, change: &Change, state: &mut State) {
    let served = state.changes.served().clone();
    match (change, state.accepted.shape, state.accepted.format) {
        (Change::Object(kind, stored), Shape::Object, Format::Protobuf) => {
            let object = proto_envelope(&served.api_version(), &served.resource().kind, &stored.protobuf());
            proto_event(frame, name(*kind), &object);
        }
        (Change::Object(kind, stored), Shape::Object, _) => frame.put_slice(&line(*kind, stored)),
        (Change::Object(kind, stored), Shape::Table, _) => {
            let objects = [&**stored.object()];
            let version = &stored.object().meta().resource_version;
            let mut made = table::of_objects(Some(&served), &objects, state.include, version, "", None);
            state.columns_once(&mut made);
            encode::in_version(&mut made, state.accepted.beta);
            json_event(frame, name(*kind), &made);
        }
        (Change::Object(kind, stored), Shape::Metadata, format) => {
            let object = &**stored.object();
            if format == Format::Protobuf {
                let bytes = encode::shaped(None, object, state.accepted, state.include);
                return proto_event(frame, name(*kind), &bytes);
            }
            let mut made = encode::metadata(object);
            made["kind"] = json!("PartialObjectMetadata");
            made["apiVersion"] = json!("meta.k8s.io/v1");
            encode::in_version(&mut made, state.accepted.beta);
            json_event(frame, name(*kind), &made);
        }
        // An event is about one object: it has no metadata of a list.
        (_, Shape::MetadataList, _) => {}
        (Change::Bookmark(revision, initial_end), ..) => {
            bookmark(frame, &served, *revision, *initial_end, state);
        }
    }
}

fn json_event(frame: &mut BytesMut, kind: &str, object: &serde_json::Value) {
    frame.put_slice(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").as_bytes());
}

/// A `WatchEvent` message behind its length: type is field 1, object (a RawExtension whose field 1 is raw) field 2.
fn proto_event(frame: &mut BytesMut, kind: &str, object: &[u8]) {
    let mut raw = Vec::with_capacity(object.len() + 8);
    encode::field(&mut raw, 1, object);
    let mut message = Vec::with_capacity(raw.len() + 24);
    encode::field(&mut message, 1, kind.as_bytes());
    encode::field(&mut message, 2, &raw);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
}

fn bookmark(frame: &mut BytesMut, served: &Served, revision: u64, initial_end: bool, state: &mut State) {
    let accepted = state.accepted;
    let mut object = served.resource().object.new_object();
    object.meta_mut().resource_version = revision.to_string().into();
    if initial_end {
        object.meta_mut().annotations.insert("k8s.io/initial-events-end", "true".into());
    }
    match (accepted.shape, accepted.format) {
        (Shape::Object, Format::Protobuf) => {
            let mut raw = Vec::new();
            object.encode_proto(&mut raw);
            let object = proto_envelope(&served.api_version(), &served.resource().kind, &raw);
            proto_event(frame, "BOOKMARK", &object);
        }
        (Shape::Object, _) => {
            let mut json = Vec::new();
            object.encode_json(&mut json);
            frame.put_slice(b"{\"type\":\"BOOKMARK\",\"object\":");
            frame.put_slice(&json);
            frame.put_slice(b"}\n");
        }
        (Shape::Metadata, Format::Protobuf) => {
            let bytes = encode::shaped(None, &*object, accepted, Include::Metadata);
            proto_event(frame, "BOOKMARK", &bytes);
        }
        (Shape::Metadata, _) => {
            let mut made = encode::metadata(&*object);
            made["kind"] = json!("PartialObjectMetadata");
            made["apiVersion"] = json!("meta.k8s.io/v1");
            encode::in_version(&mut made, accepted.beta);
            json_event(frame, "BOOKMARK", &made);
        }
        (Shape::Table, _) => {
            // The annotation that it is about is told even to those who want no objects.
            let include = match state.include {
                Include::Object => Include::Object,
                _ => Include::Metadata,
            };
            let version = revision.to_string();
            let mut made = table::of_objects(Some(served), &[&*object], include, &version, "", None);
            state.columns_once(&mut made);
            encode::in_version(&mut made, accepted.beta);
            json_event(frame, "BOOKMARK", &made);
        }
        (Shape::MetadataList, _) => {}
    }
}

fn error_event(frame: &mut BytesMut, status: &Status, format: Format) {
    if format == Format::Protobuf {
        return proto_event(frame, "ERROR", &proto_envelope("v1", "Status", &status.to_proto()));
    }
    frame.put_slice(b"{\"type\":\"ERROR\",\"object\":");
    frame.put_slice(&status.to_json());
    frame.put_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crowd_waits() {
        let waits = |listeners, millis| {
            assert_eq!(rest_among(listeners), Some(Duration::from_millis(millis)), "{listeners}");
        };
        assert_eq!(rest_among(1), None);
        assert_eq!(rest_among(49), None);
        waits(50, 2);
        waits(250, 10);
        waits(500, 20);
        waits(100_000, 20);
        waits(usize::MAX, 20);
    }
}
