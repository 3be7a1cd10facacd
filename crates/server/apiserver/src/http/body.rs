//! Response bodies: shared bytes that are gathered, or a stream.
//!
//! A list answer is a sequence of slices of the cache's encodings. Handing each to the connection by itself would cost
//! more than copying it, so [`Body::parts`] copies them into frames of up to 128 KiB as the connection asks for them:
//! a slow reader holds one frame, not the whole answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, Stream, StreamExt};
use http_body::{Frame, SizeHint};

/// Size of gathered frames, in bytes.
const FRAME_BYTES: usize = 128 << 10;

/// A response body.
pub enum Body {
    /// Known bytes.
    Full(Option<Bytes>),
    /// Many slices, gathered on the way out, and their total length.
    Parts(VecDeque<Bytes>, usize),
    /// Bytes as they come; ends the connection's message when the stream ends.
    Stream(BoxStream<'static, Bytes>),
    /// Bytes as they come from another server; a break over there is one here, or a torn answer would look whole.
    Relay(BoxStream<'static, Result<Bytes, Broken>>),
}

/// The server behind this one broke off its answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct Broken;

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Body::Full(None)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Body::Full(Some(bytes.into()))
    }

    /// These slices, one after the other.
    pub fn parts(parts: VecDeque<Bytes>) -> Self {
        let length = parts.iter().map(Bytes::len).sum();
        Body::Parts(parts, length)
    }

    /// These bytes as they come.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Body::Stream(stream.boxed())
    }

    /// The bytes as they come, whatever sort of body it is.
    pub fn into_stream(self) -> BoxStream<'static, Bytes> {
        match self {
            Body::Stream(stream) => stream,
            Body::Relay(stream) => stream
                .take_while(|part| std::future::ready(part.is_ok()))
                .filter_map(|part| async { part.ok() })
                .boxed(),
            known => {
                let bytes = known.gather();
                futures::stream::iter((!bytes.is_empty()).then_some(bytes)).boxed()
            }
        }
    }

    /// The bytes as they come, and where another server broke them off.
    pub fn into_relay(self) -> BoxStream<'static, Result<Bytes, Broken>> {
        match self {
            Body::Relay(stream) => stream,
            known => known.into_stream().map(Ok).boxed(),
        }
    }

    /// The same body, which keeps something for as long as it streams.
    pub fn keeping(self, kept: impl Send + 'static) -> Self {
        match self {
            Body::Stream(stream) => Body::Stream(
                stream
                    .map(move |part| {
                        let _ = &kept;
                        part
                    })
                    .boxed(),
            ),
            Body::Relay(stream) => Body::Relay(
                stream
                    .map(move |part| {
                        let _ = &kept;
                        part
                    })
                    .boxed(),
            ),
            known => known,
        }
    }

    /// Length in bytes, unless it streams.
    pub fn length(&self) -> Option<usize> {
        match self {
            Body::Full(bytes) => Some(bytes.as_ref().map_or(0, Bytes::len)),
            Body::Parts(_, length) => Some(*length),
            Body::Stream(_) | Body::Relay(_) => None,
        }
    }

    /// All bytes in one piece; empty for a stream.
    pub fn gather(self) -> Bytes {
        match self {
            Body::Full(bytes) => bytes.unwrap_or_default(),
            Body::Parts(parts, length) => {
                let mut out = BytesMut::with_capacity(length);
                parts.iter().for_each(|part| out.extend_from_slice(part));
                out.freeze()
            }
            Body::Stream(_) | Body::Relay(_) => Bytes::new(),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let next = match &mut *self {
            Body::Full(bytes) => bytes.take(),
            Body::Parts(parts, left) => {
                let next = gather_frame(parts, *left);
                *left -= next.as_ref().map_or(0, Bytes::len);
                next
            }
            Body::Stream(stream) => match stream.poll_next_unpin(context) {
                Poll::Ready(next) => next,
                Poll::Pending => return Poll::Pending,
            },
            Body::Relay(stream) => return stream.poll_next_unpin(context).map_ok(Frame::data),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Parts(parts, _) => parts.is_empty(),
            Body::Stream(_) | Body::Relay(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, |length| SizeHint::with_exact(length as u64))
    }
}

fn gather_frame(parts: &mut VecDeque<Bytes>, left: usize) -> Option<Bytes> {
    let first = parts.pop_front()?;
    if first.len() >= FRAME_BYTES || parts.is_empty() {
        return Some(first);
    }
    let mut frame = BytesMut::with_capacity(left.min(FRAME_BYTES));
    frame.extend_from_slice(&first);
    while let Some(next) = parts.front() {
        if frame.len() + next.len() > FRAME_BYTES {
            break;
        }
        frame.extend_from_slice(next);
        parts.pop_front();
    }
    Some(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_gathered_into_frames() {
        let mut parts: VecDeque<Bytes> = (0..100).map(|_| Bytes::from(vec![1; 4 << 10])).collect();
        let mut sizes = Vec::new();
        while let Some(frame) = gather_frame(&mut parts, FRAME_BYTES) {
            sizes.push(frame.len());
        }
        assert_eq!(sizes, [128 << 10, 128 << 10, 128 << 10, 16 << 10]);
    }
}
