//! Watch streams of both encodings, as events.
//!
//! JSON: one document after another, `{"type": ..., "object": ...}`. Protobuf: each frame is a 32-bit big-endian length
//! and a bare `WatchEvent` message whose object is wrapped in the usual envelope.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use call::{EventType, WatchEvent, WatchStream};
use futures::StreamExt;
use futures::stream;
use http_body_util::BodyExt;
use meta::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::codec;
use outbound::Answer;

/// Longest frame that is taken, so that a broken stream cannot ask for unbounded memory.
const FRAME_MAX: usize = 64 << 20;

struct Reader {
    body: Answer,
    protobuf: bool,
    buffer: BytesMut,
    /// How much of the buffer was already searched for a line end.
    searched: usize,
    ready: VecDeque<Result<WatchEvent, Status>>,
    ended: bool,
}

/// The events that `body` carries. A stream that the server ends in order ends; a broken one ends with an error.
pub(crate) fn events(body: Answer, protobuf: bool) -> WatchStream {
    let reader =
        Reader { body, protobuf, buffer: BytesMut::new(), searched: 0, ready: VecDeque::new(), ended: false };
    stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some(event) = reader.ready.pop_front() {
                reader.ended |= event.is_err();
                if event.is_err() {
                    reader.ready.clear();
                }
                return Some((event, reader));
            }
            if reader.ended {
                return None;
            }
            match reader.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        reader.buffer.extend_from_slice(&data);
                        reader.split();
                    }
                }
                Some(Err(error)) => {
                    reader.ready.push_back(Err(Status::service_unavailable(format!("watch broke: {error}"))));
                }
                None => reader.ended = true,
            }
        }
    })
    .boxed()
}

impl Reader {
    fn split(&mut self) {
        while let Some(frame) = self.frame() {
            let event = if self.protobuf { protobuf_event(&frame) } else { json_event(&frame) };
            self.ready.push_back(event);
        }
    }

    fn frame(&mut self) -> Option<Bytes> {
        if self.protobuf {
            let length = u32::from_be_bytes(self.buffer.get(..4)?.try_into().ok()?) as usize;
            if length > FRAME_MAX {
                self.ready.push_back(Err(Status::internal_error(format!("watch frame of {length} bytes"))));
                return None;
            }
            if self.buffer.len() < 4 + length {
                return None;
            }
            self.buffer.advance(4);
            return Some(self.buffer.split_to(length).freeze());
        }
        loop {
            let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return None;
            };
            let line = self.buffer.split_to(self.searched + end + 1).freeze();
            self.searched = 0;
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Some(line);
            }
        }
    }
}

fn json_event(line: &[u8]) -> Result<WatchEvent, Status> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(rename = "type")]
        event_type: String,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let line: Line<'_> = serde_json::from_slice(line)
        .map_err(|error| Status::internal_error(format!("decode watch event: {error}")))?;
    event(&line.event_type, false, &Bytes::copy_from_slice(line.object.get().as_bytes()))
}

fn protobuf_event(message: &Bytes) -> Result<WatchEvent, Status> {
    let broken = || Status::internal_error("decode watch event: malformed protobuf");
    let mut kind = String::new();
    let mut object = Bytes::new();
    for (field, value) in codec::fields(message).ok_or_else(broken)? {
        match field {
            1 => kind = String::from_utf8_lossy(&value).into_owned(),
            // RawExtension, whose first field holds the bytes.
            2 => {
                for (inner, value) in codec::fields(&value).ok_or_else(broken)? {
                    if inner == 1 {
                        object = value;
                    }
                }
            }
            _ => {}
        }
    }
    event(&kind, true, &object)
}

fn event(kind: &str, protobuf: bool, object: &Bytes) -> Result<WatchEvent, Status> {
    let event_type = match kind {
        "ADDED" => EventType::Added,
        "MODIFIED" => EventType::Modified,
        "DELETED" => EventType::Deleted,
        "BOOKMARK" => EventType::Bookmark,
        "ERROR" => return Err(codec::status(protobuf, object)),
        other => return Err(Status::internal_error(format!("unknown watch event type {other:?}"))),
    };
    Ok(WatchEvent { event_type, object: codec::decode(protobuf, object)? })
}
