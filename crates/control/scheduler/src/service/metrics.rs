//! Metrics under upstream's names.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use telemetry::{CounterFamily, Exposition, HistogramFamily, exponential_buckets};

use super::{Next, Reserved, Scheduler, State};
use crate::core::Core;
use crate::plugins::Point;

struct Metrics {
    attempts: CounterFamily,
    attempt_seconds: HistogramFamily,
    algorithm_seconds: HistogramFamily,
    attempts_per_pod: HistogramFamily,
    sli_seconds: HistogramFamily,
    preemptions: CounterFamily,
    victims: HistogramFamily,
    evictions: CounterFamily,
    eviction_seconds: HistogramFamily,
    plugins: HistogramFamily,
    hints: HistogramFamily,
    points: HistogramFamily,
    handling: HistogramFamily,
    flushed: CounterFamily,
    claims: CounterFamily,
    permits: HistogramFamily,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    attempts: telemetry::counter(
        "scheduler_schedule_attempts_total",
        "Tries to place a pod, by how they ended: scheduled, unschedulable or error.",
        &["profile", "result"],
    ),
    attempt_seconds: telemetry::histogram(
        "scheduler_scheduling_attempt_duration_seconds",
        "Seconds that a try to place a pod takes, its binding included.",
        &["profile", "result"],
        &exponential_buckets(0.001, 2.0, 15),
    ),
    algorithm_seconds: telemetry::histogram(
        "scheduler_scheduling_algorithm_duration_seconds",
        "Seconds that it takes to choose a node.",
        &[],
        &exponential_buckets(0.001, 2.0, 15),
    ),
    attempts_per_pod: telemetry::histogram(
        "scheduler_pod_scheduling_attempts",
        "Tries that pods needed until they were placed.",
        &[],
        &exponential_buckets(1.0, 2.0, 5),
    ),
    sli_seconds: telemetry::histogram(
        "scheduler_pod_scheduling_sli_duration_seconds",
        "Seconds from a pod's first entry into the queue until it was placed, over all its tries.",
        &["attempts"],
        &exponential_buckets(0.01, 2.0, 20),
    ),
    preemptions: telemetry::counter(
        "scheduler_preemption_attempts_total",
        "Tries to make room for a pod by evicting others.",
        &[],
    ),
    victims: telemetry::histogram(
        "scheduler_preemption_victims",
        "Pods that were chosen to make room, by try.",
        &[],
        &exponential_buckets(1.0, 2.0, 7),
    ),
    evictions: telemetry::counter(
        "scheduler_preemption_goroutines_execution_total",
        "Tasks that evicted pods, by how they ended.",
        &["result"],
    ),
    eviction_seconds: telemetry::histogram(
        "scheduler_preemption_goroutines_duration_seconds",
        "Seconds that tasks which evict pods take, by how they ended.",
        &["result"],
        &exponential_buckets(0.01, 2.0, 20),
    ),
    plugins: telemetry::histogram(
        "scheduler_plugin_execution_duration_seconds",
        "Seconds that a plugin takes at an extension point.",
        &["plugin", "extension_point", "status"],
        &exponential_buckets(0.00001, 1.5, 20),
    ),
    hints: telemetry::histogram(
        "scheduler_queueing_hint_execution_duration_seconds",
        "Seconds that a plugin takes to say whether an event may help.",
        &["plugin", "event", "hint"],
        &exponential_buckets(0.00001, 1.5, 20),
    ),
    points: telemetry::histogram(
        "scheduler_framework_extension_point_duration_seconds",
        "Seconds that all plugins of an extension point take.",
        &["extension_point", "status", "profile"],
        &exponential_buckets(0.0001, 2.0, 12),
    ),
    handling: telemetry::histogram(
        "scheduler_event_handling_duration_seconds",
        "Seconds that the queue takes to handle an event.",
        &["event"],
        &exponential_buckets(0.0001, 2.0, 15),
    ),
    flushed: telemetry::counter(
        "scheduler_pod_scheduled_after_flush_total",
        "Pods that were placed only because they had waited too long: no event was taken to help them.",
        &[],
    ),
    claims: telemetry::counter(
        "scheduler_resourceclaim_creates_total",
        "ResourceClaims that the scheduler asked for, by the answer's status.",
        &["status"],
    ),
    permits: telemetry::histogram(
        "scheduler_permit_wait_duration_seconds",
        "Seconds that pods waited to be permitted.",
        &["result"],
        &exponential_buckets(0.001, 2.0, 15),
    ),
});

/// A pod waited for the word of Permit plugins. The result is the code of what they said.
pub(super) fn permit_awaited(result: &str, took: Duration) {
    METRICS.permits.with(&[result]).observe_duration(took);
}

/// A claim for extended resources was to be created.
pub(super) fn claim_created(good: bool) {
    METRICS.claims.with(&[if good { "success" } else { "failure" }]).inc();
}

/// An extension point was run for a pod of the profile.
pub(super) fn ran(profile: &str, point: &str, good: bool, took: Duration) {
    let status = if good { "Success" } else { "Unschedulable" };
    METRICS.points.with(&[point, status, profile]).observe_duration(took);
}

/// The same, told by the core about what it runs itself.
pub(super) fn observe(profile: &str, point: Point, good: bool, took: Duration) {
    ran(profile, point.name(), good, took);
}

/// A change of the cluster was taken in.
pub(super) fn handled(event: &str, took: Duration) {
    METRICS.handling.with(&[event]).observe_duration(took);
}

/// A plugin was run.
pub(super) fn plugin_ran(plugin: &'static str, point: Point, good: bool, took: Duration) {
    let status = if good { "Success" } else { "Unschedulable" };
    METRICS.plugins.with(&[plugin, point.name(), status]).observe_duration(took);
}

/// A queueing hint was asked for.
pub(super) fn hinted(plugin: &'static str, event: &'static str, helps: bool, took: Duration) {
    METRICS.hints.with(&[plugin, event, if helps { "Queue" } else { "QueueSkip" }]).observe_duration(took);
}

/// An attempt was decided.
pub(super) fn attempted(next: &Next, core: &Core, took: Duration) {
    METRICS.algorithm_seconds.with(&[]).observe_duration(took);
    let (profile, result) = match next {
        // Counted when it is bound.
        Next::Bind(_) => return,
        Next::Refuse { profile, .. } | Next::Preempt { profile, .. } => (*profile, "unschedulable"),
        Next::Fail { profile, .. } => (*profile, "error"),
    };
    let name = &core.profiles[profile].scheduler_name;
    METRICS.attempts.with(&[name, result]).inc();
    METRICS.attempt_seconds.with(&[name, result]).observe_duration(took);
}

/// A pod is bound.
pub(super) fn scheduled(reserved: &Reserved, now: Duration) {
    let profile = &reserved.pod.pod.spec.scheduler_name;
    METRICS.attempts.with(&[profile, "scheduled"]).inc();
    let waited = now.saturating_sub(reserved.added);
    METRICS
        .attempt_seconds
        .with(&[profile, "scheduled"])
        .observe_duration(now.saturating_sub(reserved.started));
    METRICS.attempts_per_pod.with(&[]).observe(f64::from(reserved.attempts));
    let attempts = if reserved.attempts > 15 { "16+".to_owned() } else { reserved.attempts.to_string() };
    METRICS.sli_seconds.with(&[&attempts]).observe_duration(waited);
    if reserved.flushed {
        METRICS.flushed.with(&[]).inc();
    }
}

/// A decision could not be carried out.
pub(super) fn failed(reserved: &Reserved, now: Duration) {
    let profile = &reserved.pod.pod.spec.scheduler_name;
    METRICS.attempts.with(&[profile, "error"]).inc();
    METRICS.attempt_seconds.with(&[profile, "error"]).observe_duration(now.saturating_sub(reserved.started));
}

/// A plugin took a decision back.
pub(super) fn denied(reserved: &Reserved, now: Duration) {
    let profile = &reserved.pod.pod.spec.scheduler_name;
    METRICS.attempts.with(&[profile, "unschedulable"]).inc();
    METRICS
        .attempt_seconds
        .with(&[profile, "unschedulable"])
        .observe_duration(now.saturating_sub(reserved.started));
}

/// The victims of one preemption were told to go, which took so long.
pub(super) fn evicted(failed: bool, took: Duration) {
    let result = if failed { "error" } else { "success" };
    METRICS.evictions.with(&[result]).inc();
    METRICS.eviction_seconds.with(&[result]).observe_duration(took);
}

/// Preemption chose so many victims.
pub(super) fn victims(count: usize) {
    METRICS.preemptions.with(&[]).inc();
    METRICS.victims.with(&[]).observe(count as f64);
}

/// Shows the queue's lengths and the cache's sizes whenever metrics are read.
pub(super) fn watch_queue(scheduler: &Arc<Scheduler>) {
    let scheduler: Weak<Scheduler> = Arc::downgrade(scheduler);
    telemetry::collector(move |out| {
        let Some(scheduler) = scheduler.upgrade() else { return };
        show_counts(&scheduler, out);
        let (pending, refused, nodes, pods, assumed) = {
            let state = scheduler.state.lock();
            let snapshot = &state.core.snapshot;
            let refused = state.queue.refused_by();
            (state.queue.pending(), refused, snapshot.count(), snapshot.pods().len(), state.queue.binding())
        };
        out.header(
            "scheduler_pending_pods",
            "Pods that wait: active ones for their turn, those in backoff for their pause, unschedulable ones for a change, gated ones for their gates.",
            "gauge",
        );
        for (queue, count) in [
            ("active", pending.active),
            ("backoff", pending.backoff),
            ("gated", pending.gated),
            ("unschedulable", pending.unschedulable),
        ] {
            out.sample("scheduler_pending_pods", &[("queue", queue.into())], count as f64);
        }
        out.header(
            "scheduler_cache_size",
            "Nodes, pods, and pods that are being bound, as the scheduler knows them.",
            "gauge",
        );
        for (what, count) in [("assumed_pods", assumed), ("nodes", nodes), ("pods", pods)] {
            out.sample("scheduler_cache_size", &[("type", what.into())], count as f64);
        }
        out.header("scheduler_goroutines", "Tasks under way, by what they do.", "gauge");
        out.sample("scheduler_goroutines", &[("operation", "binding".into())], assumed as f64);
        out.header(
            "scheduler_unschedulable_pods",
            "Pods that fit nowhere, by the plugins that say so; a pod counts for each of them.",
            "gauge",
        );
        for ((profile, plugin), count) in refused {
            let profile = scheduler.profiles.get(profile).map(|name| name.to_string()).unwrap_or_default();
            let labels = [("plugin", plugin.into()), ("profile", profile.into())];
            out.sample("scheduler_unschedulable_pods", &labels, count as f64);
        }
    });
}

/// What queue and core count themselves.
fn show_counts(scheduler: &Scheduler, out: &mut Exposition) {
    let (incoming, events, evaluations) = {
        let State { queue, core } = &*scheduler.state.lock();
        let incoming: Vec<_> = queue.incoming.all().collect();
        let evaluations = core.evaluations().into_iter();
        let evaluations: Vec<_> = evaluations
            .map(|(plugin, point, profile, count)| (plugin, point, profile.clone(), count))
            .collect();
        (incoming, queue.events_in_flight(), evaluations)
    };
    out.header(
        "scheduler_queue_incoming_pods_total",
        "Pods that came into a queue, by what brought them and by queue.",
        "counter",
    );
    for (event, queue, pods) in incoming {
        let labels = [("event", event.into()), ("queue", queue.into())];
        out.sample("scheduler_queue_incoming_pods_total", &labels, pods as f64);
    }
    out.header("scheduler_inflight_events", "Events that pods under way may have missed.", "gauge");
    for (event, count) in events {
        out.sample("scheduler_inflight_events", &[("event", event.into())], count as f64);
    }
    out.header(
        "scheduler_plugin_evaluation_total",
        "Answers of plugins by extension point and result.",
        "counter",
    );
    for (plugin, point, profile, count) in evaluations {
        let labels = [
            ("extension_point", point.name().into()),
            ("plugin", plugin.into()),
            ("profile", profile.as_str().into()),
        ];
        out.sample("scheduler_plugin_evaluation_total", &labels, count as f64);
    }
}
