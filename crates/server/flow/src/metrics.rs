//! What flow control does, under upstream's names.

use telemetry::{CounterFamily, GaugeFamily, HistogramFamily};

/// Limits of the waiting times, in seconds.
const WAIT_S: [f64; 10] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 15.0];

/// See the module.
pub(crate) struct Metrics {
    /// Requests that got a seat.
    pub dispatched: CounterFamily,
    /// Requests that were sent away.
    pub rejected: CounterFamily,
    /// Requests that run.
    pub executing: GaugeFamily,
    /// Requests that wait.
    pub queued: GaugeFamily,
    /// Seats of each level.
    pub nominal: GaugeFamily,
    /// Time spent waiting.
    pub waited: HistogramFamily,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let flow = &["flow_schema", "priority_level"];
        Metrics {
            dispatched: telemetry::counter(
                "apiserver_flowcontrol_dispatched_requests_total",
                "Requests that were given a seat.",
                flow,
            ),
            rejected: telemetry::counter(
                "apiserver_flowcontrol_rejected_requests_total",
                "Requests that flow control sent away.",
                &["flow_schema", "priority_level", "reason"],
            ),
            executing: telemetry::gauge(
                "apiserver_flowcontrol_current_executing_requests",
                "Requests that have a seat.",
                flow,
            ),
            queued: telemetry::gauge(
                "apiserver_flowcontrol_current_inqueue_requests",
                "Requests that wait for a seat.",
                flow,
            ),
            nominal: telemetry::gauge(
                "apiserver_flowcontrol_nominal_limit_seats",
                "Seats that are the level's own.",
                &["priority_level"],
            ),
            waited: telemetry::histogram(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "Time that requests waited for a seat.",
                &["execute", "flow_schema", "priority_level"],
                &WAIT_S,
            ),
        }
    }
}
