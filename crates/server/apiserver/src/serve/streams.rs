//! The streams of one HTTP/2 connection, polled together with it.
//!
//! hyper hands each stream to an executor. As tasks of their own, a stream that has something to say would wake the
//! connection, which another thread then writes out while the stream is still adding to it: two switches and two writes
//! for an answer's head and body. Polled here, what all streams said since the last poll leaves in one write.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// Where hyper leaves new streams. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Shared>);

#[derive(Default)]
struct Shared {
    new: Mutex<Vec<BoxFuture<'static, ()>>>,
    running: AtomicUsize,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        self.0.new.lock().push(Box::pin(stream));
    }
}

impl Streams {
    /// How many streams are open.
    pub(super) fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// Polls a connection and its streams until the connection ends. Streams that are still open then are dropped.
    pub(super) fn with<C: Future + Unpin>(self, connection: C) -> Together<C> {
        Together { connection, streams: self, open: FuturesUnordered::new(), bell: Arc::default() }
    }
}

/// A connection and its streams as one future.
pub(super) struct Together<C> {
    pub(super) connection: C,
    streams: Streams,
    open: FuturesUnordered<BoxFuture<'static, ()>>,
    bell: Arc<Bell>,
}

/// Rounds in one poll, after which other connections get their turn.
const ROUNDS_MAX: usize = 16;

impl<C: Future + Unpin> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        this.bell.answer(context.waker());
        let waker = Waker::from(this.bell.clone());
        let mut inner = Context::from_waker(&waker);
        for _ in 0..ROUNDS_MAX {
            this.bell.rung.store(false, Ordering::Release);
            while let Poll::Ready(Some(())) = this.open.poll_next_unpin(&mut inner) {
                this.streams.0.running.fetch_sub(1, Ordering::Relaxed);
            }
            if let Poll::Ready(output) = Pin::new(&mut this.connection).poll(&mut inner) {
                return Poll::Ready(output);
            }
            let mut new = this.streams.0.new.lock();
            if new.is_empty() {
                drop(new);
                if this.bell.rest() {
                    return Poll::Pending;
                }
            } else {
                this.open.extend(new.drain(..));
            }
        }
        this.bell.rest();
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Wakes the task, but not while it is at work: then it only remembers to look once more.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    working: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// The task is at work from here on.
    fn answer(&self, task: &Waker) {
        self.task.register(task);
        self.working.store(true, Ordering::SeqCst);
    }

    /// The task wants to rest: false when somebody has rung since it last looked.
    fn rest(&self) -> bool {
        self.working.store(false, Ordering::SeqCst);
        if self.rung.load(Ordering::SeqCst) {
            self.working.store(true, Ordering::SeqCst);
            return false;
        }
        true
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.working.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::rt::Executor;

    #[tokio::test]
    async fn a_connection_sees_what_its_streams_said_in_the_same_poll() {
        let streams = Streams::default();
        let said = Arc::new(AtomicUsize::new(0));
        let (executor, heard) = (streams.clone(), said.clone());
        let mut polls = 0;
        let connection = std::future::poll_fn(move |_| {
            polls += 1;
            if polls == 1 {
                for _ in 0..3 {
                    let said = said.clone();
                    executor.execute(async move {
                        said.fetch_add(1, Ordering::Relaxed);
                    });
                }
                return Poll::Pending;
            }
            Poll::Ready((polls, said.load(Ordering::Relaxed)))
        });
        assert_eq!(streams.clone().with(connection).await, (2, 3));
        assert_eq!((streams.running(), heard.load(Ordering::Relaxed)), (0, 3));
    }

    #[tokio::test]
    async fn a_stream_that_is_woken_from_elsewhere_goes_on() {
        let streams = Streams::default();
        let (send, receive) = tokio::sync::oneshot::channel::<u32>();
        let (tell, told) = tokio::sync::oneshot::channel();
        streams.execute(async move {
            let _ = tell.send(receive.await);
        });
        assert_eq!(streams.running(), 1);
        let together = tokio::spawn(streams.with(told));
        tokio::task::yield_now().await;
        send.send(7).expect("the stream waits");
        assert_eq!(together.await.expect("no panic").expect("told"), Ok(7));
    }

    #[tokio::test]
    async fn a_busy_stream_lets_others_have_their_turn() {
        let streams = Streams::default();
        streams.execute(std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        let together = streams.with(std::future::pending::<()>());
        tokio::select! {
            biased;
            () = together => {}
            () = tokio::task::yield_now() => {}
        }
    }
}
