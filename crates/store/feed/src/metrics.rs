//! What feeds measure, under upstream's names for its watch cache.

use std::sync::LazyLock;
use telemetry::CounterFamily;

/// Events that reached a feed.
pub(crate) static EVENTS_RECEIVED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Events received by the watch cache, by resource prefix.";
    telemetry::counter("apiserver_watch_cache_events_received_total", help, &["resource_prefix"])
});

/// Watchers that were cut off.
pub(crate) static TERMINATED_WATCHERS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Watchers ended because they were too slow, by resource prefix.";
    telemetry::counter("apiserver_terminated_watchers_total", help, &["resource_prefix"])
});

/// Objects that could not be decoded.
pub(crate) static UNDECODABLE: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Stored objects that could not be decoded and are left out, by resource prefix.";
    telemetry::counter("ferrokube_feed_undecodable_objects_total", help, &["resource_prefix"])
});
