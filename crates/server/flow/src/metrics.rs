//! What flow control does, under upstream's names.
//!
//! Upstream's samples of ratios over time, its virtual clocks and the demand by which it moves seats every ten seconds have
//! no counterpart: seats are lent here in the moment in which they are wanted.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use telemetry::{Bundles, Counter, CounterFamily, Gauge, GaugeFamily, Histogram, InFlight};

use crate::plan::Plan;
use crate::queues::Levels;

/// Limits of the times, in seconds (upstream's).
const TIME_S: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
/// Limits of the queues' lengths (upstream's).
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
/// Limits of the widths (upstream's).
const SEATS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];

const FLOW: &[&str] = &["flow_schema", "priority_level"];

const LIMIT_NOW: (&str, &str) = (
    "apiserver_flowcontrol_current_limit_seats",
    "Seats that the level may use now: its own, and what others have to lend.",
);

/// The cells of one schema and its level.
pub(crate) struct Cells {
    /// Requests that got a seat.
    pub dispatched: Counter,
    executing: Gauge,
    executing_seats: Gauge,
    in_use: Gauge,
    queued: Gauge,
    queued_seats: Gauge,
    /// Seats that requests want.
    pub wanted: Histogram,
    /// Time spent waiting before a seat was free.
    pub waited: Histogram,
    /// The same of those that got none.
    pub waited_in_vain: Histogram,
    /// Lengths of queues after one more request came.
    pub lengths: Histogram,
    /// Time with a seat, of watches only their beginning.
    pub ran: [Histogram; 2],
}

/// Adds to some gauges for as long as it is kept.
pub(crate) struct Held {
    seats: [Option<Gauge>; 2],
    width: f64,
    _request: InFlight,
}

impl Held {
    fn new(request: &Gauge, seats: [Option<&Gauge>; 2], width: u32) -> Held {
        let width = f64::from(width);
        seats.iter().flatten().for_each(|gauge| gauge.add(width));
        Held { seats: seats.map(|gauge| gauge.cloned()), width, _request: request.track() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seats.iter().flatten().for_each(|gauge| gauge.add(-self.width));
    }
}

impl Cells {
    /// A request has `width` seats.
    pub(crate) fn run(&self, width: u32) -> Held {
        Held::new(&self.executing, [Some(&self.executing_seats), Some(&self.in_use)], width)
    }

    /// A request waits for `width` seats.
    pub(crate) fn queue(&self, width: u32) -> Held {
        Held::new(&self.queued, [Some(&self.queued_seats), None], width)
    }
}

/// See the module.
pub(crate) struct Metrics {
    cells: Bundles<Cells>,
    /// Requests that were sent away.
    pub rejected: CounterFamily,
    nominal: [GaugeFamily; 2],
    lower: GaugeFamily,
    upper: GaugeFamily,
    reading: Gauge,
    mutating: Gauge,
}

impl Metrics {
    /// The metrics of the levels whose state this is.
    pub(crate) fn new(levels: &Arc<Mutex<Levels>>) -> Self {
        let gauge = |name, help| telemetry::gauge(name, help, FLOW);
        let limit = |name, help| telemetry::gauge(name, help, &["priority_level"]);
        let dispatched = telemetry::counter(
            "apiserver_flowcontrol_dispatched_requests_total",
            "Requests that were given a seat.",
            FLOW,
        );
        let executing =
            gauge("apiserver_flowcontrol_current_executing_requests", "Requests that have a seat.");
        let executing_seats =
            gauge("apiserver_flowcontrol_current_executing_seats", "Seats that requests have.");
        let in_use = gauge(
            "apiserver_flowcontrol_request_concurrency_in_use",
            "Older name of apiserver_flowcontrol_current_executing_seats.",
        );
        let queued =
            gauge("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait for a seat.");
        let queued_seats =
            gauge("apiserver_flowcontrol_current_inqueue_seats", "Seats that requests wait for.");
        let histogram = |name, help, limits: &[f64]| telemetry::histogram(name, help, FLOW, limits);
        let wanted =
            histogram("apiserver_flowcontrol_work_estimated_seats", "Seats that requests want.", &SEATS);
        let lengths = histogram(
            "apiserver_flowcontrol_request_queue_length_after_enqueue",
            "Length of the queue that a request came into, with it.",
            &LENGTHS,
        );
        let waited = telemetry::histogram(
            "apiserver_flowcontrol_request_wait_duration_seconds",
            "Time that requests waited for a seat.",
            &["execute", "flow_schema", "priority_level"],
            &TIME_S,
        );
        let ran = telemetry::histogram(
            "apiserver_flowcontrol_request_execution_seconds",
            "Time that requests had a seat; watches have one only while they begin.",
            &["flow_schema", "priority_level", "type"],
            &TIME_S,
        );
        let cells = move |values: &[&str]| {
            let (schema, level) =
                (values.first().copied().unwrap_or(""), values.get(1).copied().unwrap_or(""));
            let flow = [schema, level];
            Cells {
                dispatched: dispatched.with(&flow),
                executing: executing.with(&flow),
                executing_seats: executing_seats.with(&flow),
                in_use: in_use.with(&flow),
                queued: queued.with(&flow),
                queued_seats: queued_seats.with(&flow),
                wanted: wanted.with(&flow),
                waited: waited.with(&["true", schema, level]),
                waited_in_vain: waited.with(&["false", schema, level]),
                lengths: lengths.with(&flow),
                ran: ["regular", "watch"].map(|sort| ran.with(&[schema, level, sort])),
            }
        };
        let waiting = telemetry::gauge(
            "apiserver_current_inqueue_requests",
            "Requests that wait for a seat, by kind.",
            &["request_kind"],
        );
        show_limits(Arc::downgrade(levels));
        Metrics {
            cells: Bundles::new(FLOW, cells),
            rejected: telemetry::counter(
                "apiserver_flowcontrol_rejected_requests_total",
                "Requests that flow control sent away.",
                &["flow_schema", "priority_level", "reason"],
            ),
            nominal: [
                limit("apiserver_flowcontrol_nominal_limit_seats", "Seats that are the level's own."),
                limit(
                    "apiserver_flowcontrol_request_concurrency_limit",
                    "Older name of apiserver_flowcontrol_nominal_limit_seats.",
                ),
            ],
            lower: limit(
                "apiserver_flowcontrol_lower_limit_seats",
                "Seats of the level that no other may use.",
            ),
            upper: limit("apiserver_flowcontrol_upper_limit_seats", "Seats that the level may ever use."),
            reading: waiting.with(&["readOnly"]),
            mutating: waiting.with(&["mutating"]),
        }
    }

    /// The cells of a schema and its level.
    pub(crate) fn of(&self, schema: &str, level: &str) -> Arc<Cells> {
        self.cells.with(&[schema, level])
    }

    /// A request of this verb waits, for as long as the answer is kept.
    pub(crate) fn wait(&self, verb: &str) -> InFlight {
        let reads = matches!(verb, "get" | "list" | "watch");
        if reads { self.reading.track() } else { self.mutating.track() }
    }

    /// The limits of a plan for a server of so many seats.
    pub(crate) fn plan(&self, plan: &Plan, seats: u32) {
        for (name, level) in &plan.levels {
            let labels = [name.as_str()];
            self.nominal.iter().for_each(|nominal| nominal.with(&labels).set(f64::from(level.nominal)));
            self.lower.with(&labels).set(f64::from(level.nominal.saturating_sub(level.lendable)));
            let upper = f64::from(level.nominal) + f64::from(level.borrowing.min(seats));
            self.upper.with(&labels).set(upper);
        }
    }
}

/// Shows what each level may use at the moment in which somebody looks.
fn show_limits(levels: Weak<Mutex<Levels>>) {
    telemetry::collector(move |page| {
        let Some(levels) = levels.upgrade() else { return };
        let limits = levels.lock().limits();
        page.header(LIMIT_NOW.0, LIMIT_NOW.1, "gauge");
        for (name, limit) in limits {
            page.sample(LIMIT_NOW.0, &[("priority_level", name.as_str().into())], f64::from(limit));
        }
    });
}
