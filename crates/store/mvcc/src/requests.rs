//! What a resource's requests to the store take, under upstream's names for requests to etcd.
//!
//! Whoever keeps a resource in a [`crate::Store`] keeps one [`Requests`] for it and says of each request when it is done.
//! The store itself does not know resources.

use std::sync::{LazyLock, OnceLock};
use std::time::Instant;

use telemetry::{Counter, CounterFamily, Histogram, HistogramFamily};

/// Limits of the durations, in seconds (upstream's).
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

const LABELS: &[&str] = &["group", "operation", "resource"];

static DURATION: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "Seconds that requests to the store took, by operation and resource.";
    telemetry::histogram("etcd_request_duration_seconds", help, LABELS, &SECONDS)
});

static COUNT: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Requests to the store, by operation and resource.";
    telemetry::counter("etcd_requests_total", help, LABELS)
});

static ERRORS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Requests to the store that failed, by operation and resource.";
    telemetry::counter("etcd_request_errors_total", help, LABELS)
});

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A key that must not exist.
    Create,
    /// A key at a revision.
    Update,
    /// The end of a key.
    Delete,
    /// The keys of a range.
    List,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::List => "list",
        }
    }
}

/// The cells of one resource, each made when it is first needed.
#[derive(Debug)]
pub struct Requests {
    group: Box<str>,
    resource: Box<str>,
    cells: [OnceLock<(Histogram, Counter)>; 4],
}

impl Requests {
    /// Of a resource in its group.
    pub fn new(group: &str, resource: &str) -> Requests {
        Requests { group: group.into(), resource: resource.into(), cells: Default::default() }
    }

    /// A request that began at `started` has been answered, with an error or not. A transaction whose comparison failed
    /// is no error.
    pub fn done(&self, operation: Operation, started: Instant, failed: bool) {
        let labels = [&*self.group, operation.name(), &*self.resource];
        let (duration, count) =
            self.cells[operation as usize].get_or_init(|| (DURATION.with(&labels), COUNT.with(&labels)));
        duration.observe_since(started);
        count.inc();
        if failed {
            ERRORS.with(&labels).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_counted_for_itself() {
        let requests = Requests::new("example.com", "measured");
        for (operation, failed) in
            [(Operation::Create, false), (Operation::Delete, true), (Operation::Create, false)]
        {
            requests.done(operation, Instant::now(), failed);
        }
        let page = telemetry::render();
        let lines: Vec<&str> =
            page.lines().filter(|line| line.contains("\"measured\"") && !line.contains("duration")).collect();
        assert_eq!(
            lines,
            [
                "etcd_request_errors_total{group=\"example.com\",operation=\"delete\",resource=\"measured\"} 1",
                "etcd_requests_total{group=\"example.com\",operation=\"create\",resource=\"measured\"} 2",
                "etcd_requests_total{group=\"example.com\",operation=\"delete\",resource=\"measured\"} 1",
            ]
        );
        assert!(page.contains(
            "etcd_request_duration_seconds_count{group=\"example.com\",operation=\"create\",resource=\"measured\"} 2"
        ));
    }
}
