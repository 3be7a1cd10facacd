//! The door: a request gets a seat, waits for one, or is sent away.

use std::sync::Arc;
use std::time::Duration;

use meta::Str;
use parking_lot::{Mutex, RwLock};
use telemetry::InFlight;
use tokio::sync::oneshot;
use tokio::time::Instant;
use types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};

use crate::matching::{Digest, matches};
use crate::metrics::{Cells, Held, Metrics};
use crate::plan::Plan;
use crate::queues::{Arrival, Levels};
use crate::shuffle::hash;

/// Longest wait in a queue (a quarter of the default request timeout, as upstream's).
const WAIT_MAX: Duration = Duration::from_secs(15);

/// Why a request was sent away. All may be tried again after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The queues of its flow are full.
    QueueFull,
    /// The level has no free seat and no queues.
    ConcurrencyLimit,
    /// It waited too long.
    TimeOut,
}

impl Rejection {
    fn reason(self) -> &'static str {
        match self {
            Rejection::QueueFull => "queue-full",
            Rejection::ConcurrencyLimit => "concurrency-limit",
            Rejection::TimeOut => "time-out",
        }
    }
}

/// Flow control of one server.
pub struct Flow {
    seats: u32,
    plan: RwLock<Arc<Plan>>,
    levels: Arc<Mutex<Levels>>,
    metrics: Metrics,
}

/// A seat, given back when dropped.
pub struct Seat {
    levels: Arc<Mutex<Levels>>,
    level: Str,
    queue: Option<usize>,
    width: u32,
    /// Uid of the FlowSchema that sorted the request, for `X-Kubernetes-PF-FlowSchema-UID`.
    pub schema_uid: Str,
    /// Uid of its level, for `X-Kubernetes-PF-PriorityLevel-UID`.
    pub level_uid: Str,
    /// How long the request waited for it.
    pub waited: Duration,
    cells: Arc<Cells>,
    /// Whether it was for the beginning of a watch.
    watch: bool,
    since: Instant,
    _executing: Held,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.cells.ran[usize::from(self.watch)].observe_duration(self.since.elapsed());
        self.levels.lock().leave(&self.level, self.queue, self.width);
    }
}

/// Takes a request out of its queue when its client goes away while it waits.
struct Waiter<'a> {
    levels: &'a Mutex<Levels>,
    level: &'a str,
    at: usize,
    id: u64,
    width: u32,
    done: bool,
    _queued: (Held, InFlight),
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut levels = self.levels.lock();
        if !levels.give_up(self.level, self.at, self.id) {
            // It got its seat in the same moment.
            levels.leave(self.level, Some(self.at), self.width);
        }
    }
}

impl Flow {
    /// Flow control with this many seats and no configuration yet: everything runs.
    pub fn new(seats: u32) -> Self {
        let levels = Arc::default();
        let metrics = Metrics::new(&levels);
        Flow { seats, plan: RwLock::default(), levels, metrics }
    }

    /// Takes over the objects as they are now.
    pub fn configure(&self, schemas: Vec<Arc<FlowSchema>>, levels: &[Arc<PriorityLevelConfiguration>]) {
        let plan = Arc::new(Plan::new(self.seats, schemas, levels));
        let mut state = self.levels.lock();
        state.configure(&plan);
        self.metrics.plan(&plan, self.seats);
        *self.plan.write() = plan;
    }

    /// Whether the objects have a level of this name.
    pub fn has_level(&self, name: &str) -> bool {
        self.plan.read().levels.contains_key(name)
    }

    /// Gives a seat, at once or after a wait; `None` while there is no configuration.
    pub async fn enter(&self, request: &Digest<'_>, width: u32) -> Result<Option<Seat>, Rejection> {
        let plan = self.plan.read().clone();
        let Some(schema) = plan.schemas.iter().find(|schema| matches(schema, request)) else {
            return Ok(None);
        };
        let Some(level) = plan.level_of(schema) else { return Ok(None) };
        let flow = match schema.spec.distinguisher_method.as_ref().map(|method| method.type_.as_str()) {
            Some("ByUser") => request.user.name.as_str(),
            Some("ByNamespace") => request.namespace,
            _ => "",
        };
        let labels = [schema.metadata.name.as_str(), level.as_str()];
        let hash = hash([labels[0], flow]);
        let (ticket, called) = oneshot::channel();
        let width = width.max(1);
        let cells = self.metrics.of(labels[0], labels[1]);
        cells.wanted.observe(f64::from(width));
        let (arrival, length) = self.levels.lock().arrive(level, hash, width, ticket);
        if let Some(length) = length {
            cells.lengths.observe(length as f64);
        }
        let mut waited = Duration::ZERO;
        let queue = match arrival {
            Arrival::Runs(queue) => {
                // Who comes into a queue waits there, be it for no time.
                if queue.is_some() {
                    cells.waited.observe(0.0);
                }
                queue
            }
            Arrival::Waits(at, id) => {
                let waiter = Waiter {
                    levels: &self.levels,
                    level,
                    at,
                    id,
                    width,
                    done: false,
                    _queued: (cells.queue(width), self.metrics.wait(request.verb)),
                };
                waited = self.wait(waiter, called, &cells, labels).await?;
                Some(at)
            }
            Arrival::Full => return Err(self.reject(labels, Rejection::QueueFull)),
            Arrival::NoSeat => return Err(self.reject(labels, Rejection::ConcurrencyLimit)),
        };
        cells.dispatched.inc();
        let level_uid = plan.levels.get(level).map(|level| level.uid.clone()).unwrap_or_default();
        Ok(Some(Seat {
            levels: self.levels.clone(),
            level: level.clone(),
            queue,
            width,
            schema_uid: schema.metadata.uid.clone(),
            level_uid,
            waited,
            watch: request.verb == "watch",
            since: Instant::now(),
            _executing: cells.run(width),
            cells,
        }))
    }

    fn reject(&self, labels: [&str; 2], why: Rejection) -> Rejection {
        self.metrics.rejected.with(&[labels[0], labels[1], why.reason()]).inc();
        why
    }

    async fn wait(
        &self,
        mut waiter: Waiter<'_>,
        called: oneshot::Receiver<()>,
        cells: &Cells,
        labels: [&str; 2],
    ) -> Result<Duration, Rejection> {
        let started = Instant::now();
        let result = tokio::time::timeout(WAIT_MAX, called).await;
        let waited = started.elapsed();
        // A seat that came in the last moment is taken.
        let runs = matches!(result, Ok(Ok(())));
        if runs { &cells.waited } else { &cells.waited_in_vain }.observe_duration(waited);
        if !runs {
            return Err(self.reject(labels, Rejection::TimeOut));
        }
        waiter.done = true;
        Ok(waited)
    }
}
