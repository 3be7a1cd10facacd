//! A backend of the audit pipeline: what it takes of an event, and when requests go on.

use std::sync::Arc;

use bytes::Bytes;
use env::Env;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::batch::{Batch, BatchOptions};
use crate::legacy;
use crate::log::Log;
use crate::metrics;
use crate::policy::Stage;
use crate::truncate::{Truncate, truncated};
use crate::webhook::Webhook;

/// Events of ended streams that may be under way at once in the blocking modes, where nobody waits for them.
const LOOSE_MAX: usize = 256;

/// Batches that may be under way to one server, however large the burst.
const AT_ONCE_MAX: usize = 64;

/// When a request goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// At once.
    Batch,
    /// When its event is delivered, or could not be.
    #[default]
    Blocking,
    /// When its event is delivered; a request whose first event cannot be delivered is refused.
    BlockingStrict,
}

impl Mode {
    const NAMES: [(&'static str, Mode); 3] =
        [("batch", Mode::Batch), ("blocking", Mode::Blocking), ("blocking-strict", Mode::BlockingStrict)];
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Mode::NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, mode)| *mode).ok_or_else(|| {
            format!("invalid audit mode {text}, allowed modes are \"batch,blocking,blocking-strict\"")
        })
    }
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON document a line.
    #[default]
    Json,
    /// One line of text.
    Legacy,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Format::Json),
            "legacy" => Ok(Format::Legacy),
            other => Err(format!("invalid audit log format {other}, allowed formats are \"legacy,json\"")),
        }
    }
}

/// The way to a backend.
pub(crate) enum Way {
    /// A file or standard output.
    Log(Log, Format),
    /// Another server.
    Webhook(Box<Webhook>),
}

impl Way {
    /// The name in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Way::Log(..) => "log",
            Way::Webhook(_) => "webhook",
        }
    }

    /// Delivers events together.
    pub async fn deliver(&self, events: &[Bytes]) -> Result<(), String> {
        match self {
            Way::Log(log, _) => log.write(events).await,
            Way::Webhook(webhook) => webhook.send(events).await,
        }
    }
}

/// A backend with its options.
pub struct Sink {
    mode: Mode,
    truncate: Option<Truncate>,
    way: Arc<Way>,
    batch: Option<Batch>,
    loose: Arc<Semaphore>,
}

/// How a backend is used.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// When requests go on.
    pub mode: Mode,
    /// How events are gathered in batch mode.
    pub batch: BatchOptions,
    /// Bounds of events and batches; `None` for none.
    pub truncate: Option<Truncate>,
}

impl Sink {
    /// A log.
    pub fn log(log: Log, format: Format, options: SinkOptions, env: &Env) -> Sink {
        // One writer at a time: lines stay in order.
        Sink::new(Way::Log(log, format), options, 1, env)
    }

    /// A webhook.
    pub fn webhook(webhook: Webhook, options: SinkOptions, env: &Env) -> Sink {
        let at_once = options.batch.throttle.map_or(1, |throttle| throttle.burst.clamp(1, AT_ONCE_MAX));
        Sink::new(Way::Webhook(Box::new(webhook)), options, at_once, env)
    }

    fn new(way: Way, options: SinkOptions, at_once: usize, env: &Env) -> Sink {
        let way = Arc::new(way);
        let bytes_max = options.truncate.map(|truncate| truncate.batch_bytes_max);
        let batch = (options.mode == Mode::Batch)
            .then(|| Batch::start(way.clone(), &options.batch, bytes_max, at_once, env));
        Sink {
            mode: options.mode,
            truncate: options.truncate,
            way,
            batch,
            loose: Arc::new(Semaphore::new(LOOSE_MAX)),
        }
    }

    /// The event as this backend takes it; `None` when it is too large. `json` is the whole event.
    pub(crate) fn take(&self, event: &Map<String, Value>, json: &Bytes) -> Option<Bytes> {
        if let Way::Log(_, Format::Legacy) = &*self.way {
            return Some(legacy::line(event).into());
        }
        let Some(limit) =
            self.truncate.map(|truncate| truncate.event_bytes_max).filter(|max| json.len() > *max)
        else {
            return Some(json.clone());
        };
        let smaller = truncated(event).and_then(|event| serde_json::to_vec(&event).ok());
        let smaller = smaller.filter(|smaller| smaller.len() <= limit);
        if smaller.is_none() {
            metrics::lost("truncate", 1, "event is too large even after truncating");
        }
        smaller.map(Bytes::from)
    }

    /// Delivers an event as the mode asks; `false` when the request is to be refused.
    pub(crate) async fn process(&self, event: Bytes, stage: Stage) -> bool {
        if let Some(batch) = &self.batch {
            batch.push(event);
            return true;
        }
        let delivered = self.way.deliver(&[event]).await;
        let failed = delivered.is_err();
        if let Err(error) = delivered {
            metrics::lost(self.way.name(), 1, &error);
        }
        !(failed && self.mode == Mode::BlockingStrict && stage == Stage::RequestReceived)
    }

    /// Like [`Sink::process`] from where nothing can wait.
    pub(crate) fn process_soon(&self, event: Bytes) {
        if let Some(batch) = &self.batch {
            return batch.push(event);
        }
        let Ok(permit) = self.loose.clone().try_acquire_owned() else {
            return metrics::lost(self.way.name(), 1, "too many events are under way");
        };
        let way = self.way.clone();
        env::spawn_detached("audit-event", async move {
            if let Err(error) = way.deliver(&[event]).await {
                metrics::lost(way.name(), 1, &error);
            }
            drop(permit);
        });
    }

    /// Waits until everything that was pushed is delivered or given up.
    pub(crate) async fn flush(&self) {
        if let Some(batch) = &self.batch {
            batch.flush().await;
        }
        // All permits are back when nothing is under way.
        let _all = self.loose.acquire_many(LOOSE_MAX as u32).await;
    }
}
