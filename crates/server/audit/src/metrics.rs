//! What the audit pipeline counts, under upstream's names.

use std::sync::LazyLock;

use telemetry::CounterFamily;

use crate::policy::Level;

static EVENTS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_audit_event_total",
        "Audit events that were generated and sent to backends.",
        &[],
    )
});
static ERRORS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_audit_error_total",
        "Audit events that a plugin did not deliver.",
        &["plugin"],
    )
});
static LEVELS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_audit_level_total",
        "Requests by the level that the policy gave them.",
        &["level"],
    )
});
static REJECTED: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_audit_requests_rejected_total",
        "Requests that were refused because their audit event was not delivered.",
        &[],
    )
});

/// Shows the counters that are there before anything is counted.
pub fn show() {
    EVENTS.with(&[]);
    REJECTED.with(&[]);
}

/// One event goes to the backends.
pub(crate) fn sent() {
    EVENTS.with(&[]).inc();
}

/// A request was refused.
pub(crate) fn rejected() {
    REJECTED.with(&[]).inc();
}

/// A request has this level.
pub(crate) fn judged(level: Level) {
    let name = match level {
        Level::None => "None",
        Level::Metadata => "Metadata",
        Level::Request => "Request",
        Level::RequestResponse => "RequestResponse",
    };
    LEVELS.with(&[name]).inc();
}

/// Events did not get where they should. What they hold is not for the log: they are the record of who sent which secret.
pub(crate) fn lost(plugin: &str, events: usize, error: &str) {
    ERRORS.with(&[plugin]).add(events as u64);
    tracing::error!(plugin, events, error, "audit events were lost");
}
