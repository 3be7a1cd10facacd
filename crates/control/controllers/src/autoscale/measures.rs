//! How looks at autoscalers end, under upstream's names.

use std::sync::LazyLock;
use std::time::Instant;

use informer::Change;
use telemetry::{CounterFamily, Gauge, HistogramFamily};
use types::autoscaling::v2::HorizontalPodAutoscaler;

use super::propose::{Failure, Proposal};

fn seconds() -> Vec<f64> {
    telemetry::exponential_buckets(0.001, 2.0, 15)
}

static LOOKS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Looks at autoscalers, by what was done and what went wrong.";
    let name = "horizontal_pod_autoscaler_controller_reconciliations_total";
    telemetry::counter(name, help, &["action", "error"])
});
static LOOK_SECONDS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "Seconds from the beginning of a look at an autoscaler until it is known how it ends.";
    let name = "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds";
    telemetry::histogram(name, help, &["action", "error"], &seconds())
});
static METRICS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Metrics that were weighed, by what they ask for and what went wrong.";
    let name = "horizontal_pod_autoscaler_controller_metric_computation_total";
    telemetry::counter(name, help, &["action", "error", "metric_type"])
});
static METRIC_SECONDS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "Seconds from the question for a metric until it is known what it asks for.";
    let name = "horizontal_pod_autoscaler_controller_metric_computation_duration_seconds";
    telemetry::histogram(name, help, &["action", "error", "metric_type"], &seconds())
});
static AUTOSCALERS: LazyLock<Gauge> = LazyLock::new(|| {
    let name = "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers";
    telemetry::gauge(name, "Autoscalers that are looked at.", &[]).with(&[])
});

/// Whose fault it is that a look ends without a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody's.
    #[default]
    None,
    /// What the autoscaler says makes no sense.
    Spec,
    /// Something else could not be asked or written.
    Internal,
}

impl Fault {
    /// Of a metric that asks for nothing.
    pub(super) fn of(failure: &Failure) -> Fault {
        if failure.reason == "InvalidMetricSourceType" { Fault::Spec } else { Fault::Internal }
    }

    fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Spec => "spec",
            Fault::Internal => "internal",
        }
    }
}

fn action(before: i32, after: i32) -> &'static str {
    match after.cmp(&before) {
        std::cmp::Ordering::Greater => "scale_up",
        std::cmp::Ordering::Less => "scale_down",
        std::cmp::Ordering::Equal => "none",
    }
}

/// A look that began at `begun` made `after` out of `before` replicas.
pub(super) fn looked(begun: Instant, (before, after): (i32, i32), fault: Fault) {
    let labels = [action(before, after), fault.name()];
    LOOKS.with(&labels).inc();
    LOOK_SECONDS.with(&labels).observe_since(begun);
}

/// A metric of this type was asked for at `begun`, where there are so many replicas.
pub(super) fn weighed(begun: Instant, type_: &str, replicas: i32, proposal: &Result<Proposal, Failure>) {
    const TYPES: [&str; 5] = ["Resource", "ContainerResource", "Pods", "Object", "External"];
    // Validation lets no other type pass, but what is stored may be older than it.
    let type_ = TYPES.into_iter().find(|known| *known == type_).unwrap_or("unknown");
    let (action, fault) = match proposal {
        Ok(proposal) => (action(replicas, proposal.replicas), Fault::None),
        Err(failure) => ("none", Fault::of(failure)),
    };
    let labels = [action, fault.name(), type_];
    METRICS.with(&labels).inc();
    METRIC_SECONDS.with(&labels).observe_since(begun);
}

/// The controller begins, and knows no autoscaler yet.
pub(super) fn begin() {
    AUTOSCALERS.set(0.0);
}

/// An autoscaler came, changed or went.
pub(super) fn follow(change: &Change<HorizontalPodAutoscaler>) {
    match change {
        Change::Added(_) => AUTOSCALERS.add(1.0),
        Change::Updated { .. } => {}
        Change::Deleted(_) => AUTOSCALERS.add(-1.0),
    }
}
