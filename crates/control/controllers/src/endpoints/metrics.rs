//! What the controllers of EndpointSlices do, under upstream's names.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Instant;

use informer::Key;
use parking_lot::Mutex;
use reconcile::Write;
use telemetry::{Counter, CounterFamily, Gauge, Histogram, HistogramFamily};

use super::slicing::Changes;

static CHANGED: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "EndpointSlices that were to be written in one look at a Service.";
    let labels = &["topology", "traffic_distribution"];
    // The usual limits of Prometheus' clients, which upstream takes here.
    let limits = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    telemetry::histogram("endpoint_slice_controller_endpointslices_changed_per_sync", help, labels, &limits)
});

static SYNCS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Looks at Services, by how they ended.";
    telemetry::counter("endpoint_slice_controller_syncs", help, &["result"])
});

static MIRROR_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.001, 2.0, 15);
    let help = "Seconds that looks at Endpoints take.";
    telemetry::histogram("endpoint_slice_mirroring_controller_endpoints_sync_duration", help, &[], &limits)
        .with(&[])
});

/// A look at a Service is over.
pub(super) fn synced(good: bool) {
    SYNCS.with(&[if good { "success" } else { "error" }]).inc();
}

static MIRROR_UPDATED: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(2.0, 2.0, 15);
    let help = "Endpoints that changed in one look.";
    telemetry::histogram("endpoint_slice_mirroring_controller_endpoints_updated_per_sync", help, &[], &limits)
        .with(&[])
});

static MIRROR_SKIPPED: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(2.0, 2.0, 15);
    let help = "Addresses that were left out in one look, as there are too many in a subset.";
    telemetry::histogram("endpoint_slice_mirroring_controller_addresses_skipped_per_sync", help, &[], &limits)
        .with(&[])
});

/// A look at Endpoints comes to `changes`, and leaves out so many addresses.
pub(super) fn mirrors(changes: &Changes, skipped: usize) {
    MIRROR_UPDATED.observe(changes.updated as f64);
    MIRROR_SKIPPED.observe(skipped as f64);
}

/// A look at Endpoints is over that began at `begun`.
pub(super) fn mirrored(begun: Instant) {
    MIRROR_SECONDS.observe_since(begun);
}

/// A look at a Service comes to so many writes; `distribution` is what it says about nearness.
pub(super) fn changed(distribution: Option<&str>, changes: &Changes) {
    let count = changes.create.len() + changes.update.len() + changes.delete.len();
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"].into_iter();
    let distribution = known.into_iter().find(|known| Some(*known) == distribution).unwrap_or_default();
    CHANGED.with(&["Disabled", distribution]).observe(count as f64);
}

/// What belongs to one key: endpoints, slices, and how many slices there would be if all were full.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    endpoints: usize,
    slices: usize,
    slices_least: usize,
}

/// The measures of one controller.
pub(super) struct Measures {
    added: Histogram,
    removed: Histogram,
    endpoints: Gauge,
    slices: Gauge,
    slices_least: Gauge,
    /// Creates, updates and deletes that succeeded.
    changes: [Counter; 3],
    sizes: Mutex<HashMap<Key, Size>>,
}

macro_rules! measures {
    ($prefix:literal) => {{
        let limits = telemetry::exponential_buckets(2.0, 2.0, 15);
        let histogram = |name, help| telemetry::histogram(name, help, &[], &limits).with(&[]);
        let gauge = |name, help| telemetry::gauge(name, help, &[]).with(&[]);
        let changes = telemetry::counter(
            concat!($prefix, "_changes"),
            "EndpointSlices that were written, by what was done.",
            &["operation"],
        );
        Measures {
            added: histogram(
                concat!($prefix, "_endpoints_added_per_sync"),
                "Endpoints that came in one look.",
            ),
            removed: histogram(
                concat!($prefix, "_endpoints_removed_per_sync"),
                "Endpoints that went in one look.",
            ),
            endpoints: gauge(concat!($prefix, "_endpoints_desired"), "Endpoints that there should be."),
            slices: gauge(concat!($prefix, "_num_endpoint_slices"), "EndpointSlices."),
            slices_least: gauge(
                concat!($prefix, "_desired_endpoint_slices"),
                "EndpointSlices that there would be if all of them were full.",
            ),
            changes: ["create", "update", "delete"].map(|operation| changes.with(&[operation])),
            sizes: Mutex::default(),
        }
    }};
}

impl Measures {
    /// Of the slices of Services.
    pub(super) fn of_services() -> Measures {
        measures!("endpoint_slice_controller")
    }

    /// Of the slices of Endpoints.
    pub(super) fn of_mirrors() -> Measures {
        measures!("endpoint_slice_mirroring_controller")
    }

    /// A look at `key`, which has `slices` now, comes to `changes`.
    pub(super) fn look(&self, key: &Key, slices: usize, changes: &Changes) {
        self.added.observe(changes.added as f64);
        self.removed.observe(changes.removed as f64);
        let size = Size {
            endpoints: changes.endpoints,
            slices: (slices + changes.create.len()).saturating_sub(changes.delete.len()),
            slices_least: changes.slices_least.max(1),
        };
        let before = self.sizes.lock().insert(key.clone(), size);
        self.turn(before.unwrap_or_default(), size);
    }

    /// The key is gone.
    pub(super) fn forget(&self, key: &Key) {
        if let Some(before) = self.sizes.lock().remove(key) {
            self.turn(before, Size::default());
        }
    }

    fn turn(&self, before: Size, now: Size) {
        let difference = |now: usize, before: usize| now as f64 - before as f64;
        self.endpoints.add(difference(now.endpoints, before.endpoints));
        self.slices.add(difference(now.slices, before.slices));
        self.slices_least.add(difference(now.slices_least, before.slices_least));
    }

    /// Counts what of the writes succeeds.
    pub(super) fn counted(&self, operation: usize, write: Write) -> Write {
        let done = self.changes[operation].clone();
        write.measured(move |refusal| {
            if refusal.is_none() {
                done.inc();
            }
        })
    }
}
