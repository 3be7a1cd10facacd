//! List and watch of one resource, kept going: the protocol that every informer speaks.
//!
//! It starts with a streamed list (KEP-3157: a watch whose first events are the present state, up to a bookmark), or with
//! a plain list where the server refuses that. A watch that ends is resumed from the last revision seen; one whose
//! revision is gone (410) starts over. Pauses between failures grow; a server that ends watches in order is resumed at
//! once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use call::{Action, Call, EventType, ListOptions, Reply, Target, VersionMatch, WatchEvent, WatchStream};
use client::Client;
use env::Env;
use futures::StreamExt;
use meta::{Object, Status, Str};

use crate::{Backoff, Key, revision};

/// Set to `true` on the bookmark that ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// Objects per page of a plain list.
const PAGE: i64 = 500;
/// The server ends a watch after between one and two times this long, so that watches spread over servers.
const WATCH_MIN: Duration = Duration::from_secs(300);
/// A watch that ends sooner than this without an event is treated as a failure.
const WATCH_SHORT: Duration = Duration::from_secs(1);

/// Receives the state of a resource and then its changes.
pub trait Sink: Send + Sync {
    /// The whole state at `revision`, asked for at the monotonic time `asked`: on the first and on every later list.
    fn replace(&self, objects: Vec<Arc<dyn Object>>, revision: u64, asked: Duration);
    /// One change.
    fn apply(&self, event: WatchEvent);
    /// Nothing changed up to `revision`.
    fn progress(&self, revision: u64);
}

/// What to follow.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// The collection.
    pub target: Target,
    /// Label selector, empty for everything.
    pub label_selector: Str,
    /// Field selector, empty for everything.
    pub field_selector: Str,
}

impl Reflection {
    /// Everything in `target`.
    pub fn of(target: Target) -> Self {
        Reflection { target, label_selector: Str::new(), field_selector: Str::new() }
    }
}

/// Where the protocol stands.
enum Step {
    /// Ask for the whole state as a stream of events.
    Stream,
    /// Ask for the whole state as a list.
    List,
    /// Follow changes from this revision.
    Watch(u64),
}

/// How an attempt ended.
enum Ended {
    /// In order: go on with this step at once.
    Next(Step),
    /// Badly: pause, then go on with this step.
    Failed(Step, Status),
}

/// Follows `what` for as long as the returned future is polled.
pub async fn reflect(client: Client, what: Reflection, env: Env, sink: Arc<dyn Sink>) {
    let mut backoff =
        Backoff::new(Duration::from_millis(100), Duration::from_secs(30), Duration::from_secs(120));
    let mut step = Step::Stream;
    loop {
        let run = Run { client: &client, what: &what, env: &env, sink: &*sink };
        let ended = match step {
            Step::Stream => run.stream().await,
            Step::List => run.list().await,
            Step::Watch(from) => run.watch(from).await,
        };
        step = match ended {
            Ended::Next(next) => next,
            Ended::Failed(next, status) => {
                let pause = backoff.pause(&env);
                tracing::debug!(resource = %what.target.path(), status = %status.message, ?pause, "watch failed");
                env.sleep(pause).await;
                next
            }
        };
    }
}

struct Run<'a> {
    client: &'a Client,
    what: &'a Reflection,
    env: &'a Env,
    sink: &'a dyn Sink,
}

impl Run<'_> {
    fn options(&self) -> ListOptions {
        ListOptions {
            label_selector: self.what.label_selector.clone(),
            field_selector: self.what.field_selector.clone(),
            ..ListOptions::default()
        }
    }

    fn watch_options(&self) -> ListOptions {
        let timeout = self.env.random.jitter(WATCH_MIN, 1.0);
        ListOptions {
            timeout_seconds: Some(timeout.as_secs() as i64),
            allow_watch_bookmarks: true,
            ..self.options()
        }
    }

    async fn open(&self, options: ListOptions) -> Result<WatchStream, Status> {
        match self
            .client
            .call(Call { target: self.what.target.clone(), action: Action::Watch(options) })
            .await?
        {
            Reply::Watch(events) => Ok(events),
            _ => Err(Status::internal_error("the server's answer is no watch")),
        }
    }

    async fn stream(&self) -> Ended {
        let asked = self.env.clock.monotonic();
        let options = ListOptions {
            send_initial_events: Some(true),
            resource_version_match: Some(VersionMatch::NotOlderThan),
            ..self.watch_options()
        };
        let mut events = match self.open(options).await {
            Ok(events) => events,
            // The server does not know streamed lists, or not for this resource.
            Err(status) if matches!(status.code, 400 | 405 | 422) => return Ended::Next(Step::List),
            Err(status) => return Ended::Failed(Step::Stream, status),
        };
        let mut initial: BTreeMap<Key, Arc<dyn Object>> = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Err(status) if matches!(status.code, 400 | 405 | 422) => return Ended::Next(Step::List),
                Err(status) => return Ended::Failed(Step::Stream, status),
                Ok(WatchEvent { event_type: EventType::Bookmark, object }) => {
                    let meta = object.meta();
                    if meta.annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true") {
                        let at = revision(meta);
                        self.sink.replace(initial.into_values().collect(), at, asked);
                        return self.follow(events, at).await;
                    }
                }
                Ok(WatchEvent { event_type: EventType::Deleted, object }) => {
                    initial.remove(&Key::of(&*object));
                }
                Ok(WatchEvent { object, .. }) => {
                    initial.insert(Key::of(&*object), object);
                }
            }
        }
        Ended::Failed(
            Step::Stream,
            Status::service_unavailable("the watch ended before the initial state was complete"),
        )
    }

    async fn list(&self) -> Ended {
        let asked = self.env.clock.monotonic();
        let options = ListOptions { limit: PAGE, ..self.options() };
        match client::list_all(self.client, &self.what.target, options).await {
            Ok(list) => {
                self.sink.replace(list.items, list.resource_version, asked);
                Ended::Next(Step::Watch(list.resource_version))
            }
            Err(status) => Ended::Failed(Step::List, status),
        }
    }

    async fn watch(&self, from: u64) -> Ended {
        let options = ListOptions { resource_version: Str::from(from.to_string()), ..self.watch_options() };
        match self.open(options).await {
            Ok(events) => self.follow(events, from).await,
            Err(status) => self.lost(from, status),
        }
    }

    /// Passes events on until the stream ends.
    async fn follow(&self, mut events: WatchStream, mut from: u64) -> Ended {
        let started = self.env.clock.monotonic();
        let mut any = false;
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(status) => return self.lost(from, status),
            };
            any = true;
            let at = revision(event.object.meta());
            from = from.max(at);
            match event.event_type {
                EventType::Bookmark => self.sink.progress(at),
                _ => self.sink.apply(event),
            }
        }
        if any || self.env.clock.monotonic().saturating_sub(started) > WATCH_SHORT {
            Ended::Next(Step::Watch(from))
        } else {
            Ended::Failed(Step::Watch(from), Status::service_unavailable("the watch ended at once"))
        }
    }

    /// A watch that began at `from` was refused or broke.
    fn lost(&self, from: u64, status: Status) -> Ended {
        match status.code {
            // The revision is gone: what happened since can only be learned from a new list.
            410 => Ended::Next(Step::Stream),
            504 if status.reason == "Timeout" => Ended::Failed(Step::Stream, status),
            _ => Ended::Failed(Step::Watch(from), status),
        }
    }
}
